"""The buffer's statements on a bare connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from z4j_otel.buffer import statements
from z4j_otel.buffer.base import COMMAND_AGE_S, EntryKind, KnownCommand
from z4j_otel.buffer.database import open_database
from z4j_otel.buffer.eviction import Totals
from z4j_otel.buffer.records import Row
from z4j_otel.buffer.state import State
from z4j_otel.buffer.unsaved import Unsaved

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
ROWS = [Row(1, 0, 7, b"a"), Row(2, 1, 8, b"bb"), Row(3, 0, 9, b"ccc"), Row(5, 0, 9, b"")]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection to a database with four entries."""
    connection = open_database(tmp_path / "b.sqlite")
    statements.insert_entries(connection, ROWS)
    yield connection
    connection.close()


def test_a_state_is_replaced(db: sqlite3.Connection) -> None:
    """There is none at first, and one afterwards."""
    assert statements.read_state(db) is None
    state = State.begin()
    for state.generation in (1, 2):
        statements.store_state(db, state.encode())
    read = statements.read_state(db)
    assert read is not None
    assert (read.generation, read.passed) == (2, state.passed)


def test_deletion_takes_only_those_named(db: sqlite3.Connection) -> None:
    """Sizes are told of those that exist."""
    assert statements.sizes_of(db, [3, 2, 4, 9]) == Totals(
        {EVENT: 1, RESULT: 1, EntryKind.SCHEDULE: 0}, 5
    )
    statements.delete_entries(db, [3, 2, 4, 9])
    assert [row.sequence for row in statements.visible_entries(db, 0)] == [1, 5]
    assert (statements.oldest_ns(db, ()), statements.oldest_ns(db, {1})) == (7, 9)
    statements.delete_entries(db, [1, 5])
    assert statements.oldest_ns(db, ()) is None
    assert not statements.has_entries(db)


def test_entries_are_found_by_place_and_kind(db: sqlite3.Connection) -> None:
    """Both in order of sequence."""
    assert list(statements.visible_entries(db, 2)) == ROWS[2:]
    assert list(statements.oldest_first(db, EVENT)) == [(1, 1), (3, 3), (5, 0)]


def test_a_damaged_entry_is_found(db: sqlite3.Connection) -> None:
    """Where entries are used it ends the use; where they are saved it is left out."""
    cut = "CAST(substr(record, 1, 28) || x'00' AS BLOB)"
    db.execute(f"UPDATE entries SET record = {cut} WHERE sequence = 3")
    db.execute("UPDATE entries SET kind = 0 WHERE sequence = 2")
    db.execute("UPDATE entries SET record = 'text' WHERE sequence = 5")
    with pytest.raises(sqlite3.DatabaseError, match="damaged"):
        list(statements.visible_entries(db, 2))
    assert list(statements.all_rows(db)) == [ROWS[0], None, None, None]
    assert list(statements.intact_rows(db)) == ROWS[:1]


def test_commands_are_forgotten_by_age(db: sqlite3.Connection) -> None:
    """A new command sweeps out the old ones."""
    first = KnownCommand("a", 0, b"r")
    statements.store_beside(db, Unsaved(commands={"a": first}))
    assert statements.read_command(db, "a") == first
    assert statements.read_command(db, "b") is None
    second = KnownCommand("b", int(COMMAND_AGE_S + 1) * 10**9, None)
    statements.store_beside(db, Unsaved(commands={"b": second}))
    assert statements.read_commands(db) == [second]


def test_stories_are_forgotten_before_new_ones_are_stored(db: sqlite3.Connection) -> None:
    """The new ones stay."""
    statements.store_beside(db, Unsaved(stories={"a": b"1"}))
    statements.store_beside(db, Unsaved(stories={"b": b"2"}, forgets_stories=True))
    assert db.execute("SELECT task FROM stories").fetchall() == [("b",)]
