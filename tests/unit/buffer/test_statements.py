"""The buffer's statements on a bare connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from z4j_otel.buffer import statements
from z4j_otel.buffer.base import COMMAND_AGE_S, DropReason, EntryKind
from z4j_otel.buffer.database import open_database
from z4j_otel.buffer.eviction import Totals

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Return a connection to a database with four entries."""
    connection = open_database(tmp_path / "b.sqlite")
    rows = [(1, 0, 7, b"a"), (2, 1, 8, b"bb"), (3, 0, 9, b"ccc"), (5, 0, 9, b"")]
    statements.insert_entries(connection, rows)
    yield connection
    connection.close()


def test_totals_and_highest_sequence_are_read(db: sqlite3.Connection) -> None:
    """Entries by kind, bytes of all."""
    assert statements.read_totals(db) == (Totals({EVENT: 3, RESULT: 1}, 6), 5)
    assert statements.oldest_ns(db) == 7


def test_deletion_tells_what_was_there(db: sqlite3.Connection) -> None:
    """Only the entries named are deleted, and only those that exist are counted."""
    deleted = statements.delete_entries(db, [3, 2, 4, 9])
    assert deleted == Totals({EVENT: 1, RESULT: 1}, 5)
    assert [row[0] for row in statements.visible_entries(db, 0)] == [1, 5]
    statements.delete_entries(db, [1, 5])
    assert statements.oldest_ns(db) is None
    assert statements.read_totals(db) == (Totals(), 0)


def test_entries_are_found_by_place_and_kind(db: sqlite3.Connection) -> None:
    """Both in order of sequence."""
    assert list(statements.visible_entries(db, 2)) == [(3, 0, b"ccc"), (5, 0, b"")]
    assert list(statements.oldest_first(db, EVENT)) == [(1, 1), (3, 3), (5, 0)]


def test_counters_add_up(db: sqlite3.Connection) -> None:
    """A count of nothing leaves no row."""
    for count in (1, 2, 0):
        statements.count_dropped(db, RESULT, DropReason.REJECTED, count)
    statements.count_dropped(db, EVENT, DropReason.REJECTED, 0)
    assert statements.read_dropped(db) == {(RESULT, DropReason.REJECTED): 3}


def test_positions_are_replaced_and_deleted(db: sqlite3.Connection) -> None:
    """An empty text deletes."""
    statements.store_positions(db, {"a": "1", "b": "2"})
    statements.store_positions(db, {"a": "3", "b": ""})
    assert db.execute("SELECT * FROM positions").fetchall() == [("a", "3")]


def test_commands_are_forgotten_by_age(db: sqlite3.Connection) -> None:
    """A new command sweeps out the old ones."""
    assert statements.begin_command(db, "a", 0)
    assert not statements.begin_command(db, "a", 0)
    assert statements.recall_result(db, "b") is None
    statements.remember_result(db, "a", b"r", 1)
    assert statements.recall_result(db, "a") == b"r"
    assert statements.begin_command(db, "b", int(COMMAND_AGE_S + 1) * 10**9)
    assert statements.recall_result(db, "a") is None
