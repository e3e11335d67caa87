"""The buffer's statements, as functions of a connection.

Those on commands are transactions of their own; all others leave that to the caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping

from z4j_otel.buffer.base import COMMAND_AGE_S, COMMANDS_KEPT, DropReason, EntryKind
from z4j_otel.buffer.database import transaction
from z4j_otel.buffer.eviction import Totals
from z4j_otel.buffer.leases import runs

__all__ = [
    "KINDS",
    "begin_command",
    "count_dropped",
    "delete_entries",
    "insert_entries",
    "oldest_first",
    "oldest_ns",
    "read_dropped",
    "read_totals",
    "recall_result",
    "remember_result",
    "store_positions",
    "visible_entries",
]

KINDS = tuple(EntryKind)
"""Kinds by their stored number."""


def read_totals(connection: sqlite3.Connection) -> tuple[Totals, int]:
    """Return the totals and the highest sequence; touches every page with an entry."""
    totals = Totals()
    highest = 0
    for kind, entries, size_bytes, last in connection.execute(
        "SELECT kind, count(*), sum(length(body)), max(sequence) FROM entries GROUP BY kind"
    ):
        totals.add(KINDS[kind], entries, size_bytes)
        highest = max(highest, last)
    return totals, highest


def insert_entries(
    connection: sqlite3.Connection, rows: Iterable[tuple[int, int, int, bytes]]
) -> None:
    """Insert rows of sequence, kind, time and body."""
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)


def delete_entries(connection: sqlite3.Connection, sequences: Iterable[int]) -> Totals:
    """Delete entries and return the totals of those that were there."""
    deleted = Totals()
    for run in runs(sequences):
        for kind, entries, size_bytes in connection.execute(
            "SELECT kind, count(*), sum(length(body)) FROM entries"
            " WHERE sequence BETWEEN ? AND ? GROUP BY kind",
            run,
        ):
            deleted.add(KINDS[kind], entries, size_bytes)
        connection.execute("DELETE FROM entries WHERE sequence BETWEEN ? AND ?", run)
    return deleted


def visible_entries(connection: sqlite3.Connection, after: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield sequence, kind and body of the entries after a sequence, as they are asked for."""
    return connection.execute(
        "SELECT sequence, kind, body FROM entries WHERE sequence > ? ORDER BY sequence", (after,)
    )


def oldest_ns(connection: sqlite3.Connection) -> int | None:
    """Return when the oldest entry was appended, or None."""
    row = connection.execute("SELECT created_ns FROM entries ORDER BY sequence LIMIT 1").fetchone()
    return None if row is None else int(row[0])


def oldest_first(connection: sqlite3.Connection, kind: EntryKind) -> Iterator[tuple[int, int]]:
    """Yield sequence and size of the entries of a kind."""
    return connection.execute(
        "SELECT sequence, length(body) FROM entries WHERE kind = ? ORDER BY sequence",
        (int(kind),),
    )


def count_dropped(
    connection: sqlite3.Connection, kind: EntryKind, reason: DropReason, count: int
) -> None:
    """Add to a persistent counter."""
    if not count:
        return
    connection.execute(
        "INSERT INTO dropped VALUES (?, ?, ?)"
        " ON CONFLICT (kind, reason) DO UPDATE SET count = count + excluded.count",
        (int(kind), reason.value, count),
    )


def read_dropped(connection: sqlite3.Connection) -> dict[tuple[EntryKind, DropReason], int]:
    """Return the persistent counters."""
    rows = connection.execute("SELECT kind, reason, count FROM dropped")
    return {(KINDS[kind], DropReason(reason)): count for kind, reason, count in rows}


def store_positions(connection: sqlite3.Connection, positions: Mapping[str, str]) -> None:
    """Replace positions; an empty text deletes."""
    for journal, position in positions.items():
        if position:
            connection.execute("REPLACE INTO positions VALUES (?, ?)", (journal, position))
        else:
            connection.execute("DELETE FROM positions WHERE journal = ?", (journal,))


def begin_command(connection: sqlite3.Connection, command_key: str, now_ns: int) -> bool:
    """Note a new command and forget old ones; False when the key is known."""
    with transaction(connection):
        added = connection.execute(
            "INSERT OR IGNORE INTO commands VALUES (?, ?, NULL)", (command_key, now_ns)
        )
        if added.rowcount:
            _forget_old_commands(connection, now_ns)
        return bool(added.rowcount)


def remember_result(
    connection: sqlite3.Connection, command_key: str, result: bytes, now_ns: int
) -> None:
    """Note a command's result, whether it was begun here or not, and forget old ones."""
    with transaction(connection):
        connection.execute("REPLACE INTO commands VALUES (?, ?, ?)", (command_key, now_ns, result))
        _forget_old_commands(connection, now_ns)


def recall_result(connection: sqlite3.Connection, command_key: str) -> bytes | None:
    """Return a command's result, or None."""
    row = connection.execute(
        "SELECT result FROM commands WHERE command_key = ?", (command_key,)
    ).fetchone()
    return None if row is None else row[0]


def _forget_old_commands(connection: sqlite3.Connection, now_ns: int) -> None:
    oldest_ns = now_ns - int(COMMAND_AGE_S * 1_000_000_000)
    connection.execute("DELETE FROM commands WHERE noted_ns < ?", (oldest_ns,))
    connection.execute(
        "DELETE FROM commands WHERE rowid IN"
        " (SELECT rowid FROM commands ORDER BY noted_ns DESC, rowid DESC LIMIT -1 OFFSET ?)",
        (COMMANDS_KEPT,),
    )
