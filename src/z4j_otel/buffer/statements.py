"""The buffer's statements, as functions of a connection; the transaction is the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from z4j_otel.buffer import accounts, stories
from z4j_otel.buffer.base import COMMAND_AGE_S, COMMANDS_KEPT, EntryKind, KnownCommand
from z4j_otel.buffer.eviction import Totals
from z4j_otel.buffer.leases import runs
from z4j_otel.buffer.records import OVERHEAD_BYTES, Row, created_ns_of, read_row, write_row
from z4j_otel.buffer.state import State
from z4j_otel.buffer.unsaved import Unsaved

__all__ = [
    "KINDS",
    "all_rows",
    "delete_entries",
    "has_entries",
    "insert_entries",
    "intact_rows",
    "oldest_first",
    "oldest_ns",
    "read_command",
    "read_commands",
    "read_state",
    "sizes_of",
    "store_beside",
    "store_state",
    "visible_entries",
]

KINDS = tuple(EntryKind)
"""Kinds by their stored number."""


def read_state(connection: sqlite3.Connection) -> State | None:
    """Return the state, or None when there is none that can be read."""
    row = connection.execute("SELECT record FROM state WHERE sequence = 1").fetchone()
    return None if row is None else State.read(row[0])


def store_state(connection: sqlite3.Connection, record: bytes) -> None:
    """Replace the state."""
    connection.execute("REPLACE INTO state VALUES (1, ?, 0)", (record,))


def has_entries(connection: sqlite3.Connection) -> bool:
    """Whether there is any entry."""
    return connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is not None


def insert_entries(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Insert entries."""
    connection.executemany(
        "INSERT INTO entries VALUES (?, ?, ?)",
        [(row.sequence, write_row(*row), row.kind) for row in rows],
    )


def delete_entries(connection: sqlite3.Connection, sequences: Iterable[int]) -> None:
    """Delete entries; unknown ones are ignored."""
    for run in runs(sequences):
        connection.execute("DELETE FROM entries WHERE sequence BETWEEN ? AND ?", run)


def sizes_of(connection: sqlite3.Connection, sequences: Iterable[int]) -> Totals:
    """Return how many of some entries there are, and how large."""
    found = Totals()
    for run in runs(sequences):
        for kind, entries, size_bytes in connection.execute(
            f"SELECT kind, count(*), sum(length(record) - {OVERHEAD_BYTES}) FROM entries"  # noqa: S608 -- a number
            " WHERE sequence BETWEEN ? AND ? GROUP BY kind",
            run,
        ):
            found.add(KINDS[kind], entries, size_bytes)
    return found


def visible_entries(connection: sqlite3.Connection, after: int) -> Iterator[Row]:
    """Yield the entries after a sequence, in order, as they are asked for.

    Raises:
        sqlite3.DatabaseError: One of them is damaged.
    """
    for sequence, record in connection.execute(
        "SELECT sequence, record FROM entries WHERE sequence > ? ORDER BY sequence", (after,)
    ):
        row = read_row(record) if type(record) is bytes else None
        if row is None or row.sequence != sequence:
            raise sqlite3.DatabaseError("an entry is damaged")
        yield row


def all_rows(connection: sqlite3.Connection) -> Iterator[Row | None]:
    """Yield every entry in the order of the file; None for a damaged one."""
    for sequence, record, kind in connection.execute("SELECT * FROM entries ORDER BY sequence"):
        row = read_row(record) if type(record) is bytes else None
        is_sound = row is not None and (row.sequence, row.kind) == (sequence, kind)
        yield row if is_sound else None


def intact_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Yield every entry that is intact, in order."""
    return (row for row in all_rows(connection) if row is not None)


def oldest_ns(connection: sqlite3.Connection, gone: Iterable[int]) -> int | None:
    """Return when the oldest entry was appended, or None."""
    hidden = set(gone)
    for sequence, header in connection.execute(
        f"SELECT sequence, substr(record, 1, {OVERHEAD_BYTES}) FROM entries ORDER BY sequence"  # noqa: S608 -- a number
    ):
        if sequence not in hidden:
            return created_ns_of(header)
    return None


def oldest_first(connection: sqlite3.Connection, kind: EntryKind) -> Iterator[tuple[int, int]]:
    """Yield sequence and size of the entries of a kind."""
    return connection.execute(
        f"SELECT sequence, length(record) - {OVERHEAD_BYTES} FROM entries"  # noqa: S608 -- a number
        " WHERE kind = ? ORDER BY sequence",
        (int(kind),),
    )


def store_beside(connection: sqlite3.Connection, unsaved: Unsaved) -> None:
    """Store stories, accounts and commands, and forget old commands."""
    if unsaved.forgets_stories:
        stories.forget_all(connection)
    accounts.store(connection, unsaved.accounts)
    stories.store(connection, unsaved.stories)
    if unsaved.commands:
        connection.executemany("REPLACE INTO commands VALUES (?, ?, ?)", unsaved.commands.values())
        newest_ns = max(command.noted_ns for command in unsaved.commands.values())
        _forget_old_commands(connection, newest_ns)


def read_command(connection: sqlite3.Connection, command_key: str) -> KnownCommand | None:
    """Return a command, or None."""
    row = connection.execute(
        "SELECT command_key, noted_ns, result FROM commands WHERE command_key = ?", (command_key,)
    ).fetchone()
    return None if row is None else KnownCommand(*row)


def read_commands(connection: sqlite3.Connection, prefix: bytes = b"") -> list[KnownCommand]:
    """Return the commands whose answer begins with a prefix, the oldest first; all for none."""
    rows = connection.execute(
        "SELECT command_key, noted_ns, result FROM commands"
        " WHERE ?1 = x'' OR substr(result, 1, length(?1)) = ?1 ORDER BY noted_ns, rowid",
        (prefix,),
    )
    return [KnownCommand(*row) for row in rows]


def _forget_old_commands(connection: sqlite3.Connection, now_ns: int) -> None:
    oldest_ns = now_ns - int(COMMAND_AGE_S * 1_000_000_000)
    connection.execute("DELETE FROM commands WHERE noted_ns < ?", (oldest_ns,))
    connection.execute(
        "DELETE FROM commands WHERE rowid IN"
        " (SELECT rowid FROM commands ORDER BY noted_ns DESC, rowid DESC LIMIT -1 OFFSET ?)",
        (COMMANDS_KEPT,),
    )
