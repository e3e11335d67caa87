"""The buffer in an SQLite database: theory of operation.

Constraints
    One process owns the file (see :mod:`z4j_otel.buffer.files`) and is the only one to open
    it; within it, one thread works and others ask for numbers. A stored entry survives the
    death of the process, but its latest transactions may not survive the machine's.

Format
    ``schema.sql``, in WAL mode. Bodies are stored as they came and never looked into.

Operation
    Each append is one transaction: entries, journal positions, evictions and drop counters
    stand or fall together, so that a record of the journal is counted exactly once. Totals
    per kind and bytes are kept in memory and change only after the commit. Leases are in
    memory only. One re-entrant lock guards every method; it is held for as long as SQLite
    works, at most a batch.

    Eviction frees the excess and, of events, at least 1 % of the exceeded cap (at most 500
    entries), so that a full buffer does not pay on every append. The order is: oldest event not on
    lease, event on lease, command result not on lease, command result on lease.

Recovery
    A damaged file or another schema version: set aside, a new file made, the operation
    repeated on it. Entries known to be lost are counted as ``buffer_corrupt``. A full disk
    raises ``BufferFull`` and changes nothing. After a fork the child's object is closed.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from z4j_otel.buffer import statements
from z4j_otel.buffer.base import BufferStats, DropReason, Entry, EntryKind
from z4j_otel.buffer.database import is_damage, open_database, set_aside, transaction, translate
from z4j_otel.buffer.eviction import Caps, Totals, choose_victims
from z4j_otel.buffer.leases import Leases
from z4j_otel.errors import BufferCorrupt, BufferError_
from z4j_otel.forks import call_in_child

__all__ = ["SqliteBuffer"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

# Connections that a child inherited. SQLite forbids to use or close them there; held here,
# they are not closed by garbage collection either.
_inherited: list[sqlite3.Connection | None] = []


class SqliteBuffer:
    """Implements :class:`z4j_otel.buffer.base.EventBuffer` in one database file."""

    def __init__(
        self, path: Path, *, max_events: int = 100_000, max_bytes: int = 256 * 1024 * 1024
    ) -> None:
        """Open or make the database; one that cannot be read is set aside.

        Args:
            path: The file; its directory must exist, and this process must own the name.
            max_events: Most entries, of both kinds together.
            max_bytes: Most bytes of bodies; the file is larger by about a tenth.

        Raises:
            BufferError_: The file cannot be opened or made.
            ValueError: A cap is below 1.
        """
        self._path = path
        self._caps = Caps(max_events, max_bytes)
        self._lock = threading.RLock()
        self._files_set_aside = 0
        self._last_sequence = 0
        self._connection: sqlite3.Connection | None = None
        try:
            self._open()
        except BufferCorrupt as error:
            self._start_over(error.reason)
        call_in_child(self._leave_to_parent)

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
    ) -> None:
        """Store entries and journal positions in one transaction. See the port."""
        self._run(lambda connection: self._append(connection, entries, now_ns, positions or {}))

    def lease(
        self, limit: int, *, max_bytes: int, now_ns: int, hold_s: float = 90.0
    ) -> list[Entry]:
        """Take the oldest visible entries. See the port."""
        if limit < 1:
            raise ValueError("limit must be at least 1")
        return self._run(
            lambda connection: self._lease(connection, limit, max_bytes, now_ns, hold_s)
        )

    def ack(self, sequences: Iterable[int]) -> None:
        """Forget entries that the brain has. See the port."""
        gone = tuple(sequences)
        self._run(lambda connection: self._delete(connection, gone, None))

    def release(self, sequences: Iterable[int]) -> None:
        """Make leased entries visible again. See the port."""
        self._run(lambda _: self._leases.give_back(tuple(sequences)))

    def drop(self, sequences: Iterable[int], reason: DropReason) -> None:
        """Forget entries that can never be delivered, and count them. See the port."""
        gone = tuple(sequences)
        self._run(lambda connection: self._delete(connection, gone, reason))

    def count_dropped(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        """Add losses from before the buffer. See the port."""
        self._run(lambda connection: statements.count_dropped(connection, kind, reason, count))

    def stats(self) -> BufferStats:
        """Return what is held and what was lost. See the port."""
        return self._run(self._stats)

    def positions(self) -> dict[str, str]:
        """Return the stored position of every journal. See the port."""
        return self._run(
            lambda connection: dict(connection.execute("SELECT journal, position FROM positions"))
        )

    def begin_command(self, command_key: str, now_ns: int) -> bool:
        """Note that a command is about to run. See the port."""
        return self._run(lambda db: statements.begin_command(db, command_key, now_ns))

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a command's result. See the port."""
        self._run(lambda db: statements.remember_result(db, command_key, result, now_ns))

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept for a command. See the port."""
        return self._run(lambda connection: statements.recall_result(connection, command_key))

    def close(self) -> None:
        """Close the database. Idempotent."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _leave_to_parent(self) -> None:
        """Close this object, in a forked child, without closing the parent's connection."""
        _inherited.append(self._connection)
        self._connection = None
        self._lock = threading.RLock()

    def _open(self) -> None:
        connection = open_database(self._path)
        try:
            self._totals, highest = statements.read_totals(connection)
        except sqlite3.Error as error:
            connection.close()
            raise translate(error, self._path) from error
        self._connection = connection
        # Never lower: an ack that is under way must not hit a newer entry.
        self._last_sequence = max(self._last_sequence, highest)
        self._leases = Leases()

    def _start_over(self, reason: str) -> None:
        """Set the file aside and begin a new one."""
        target = set_aside(self._path)
        self._files_set_aside += 1
        _log.error(
            "buffer cannot be read (%s); set aside as %s",
            reason,
            target,
            extra={"action": "buffer_set_aside"},
        )
        self._open()

    def _run(self, operation: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._lock:
            if self._connection is None:
                raise BufferError_(f"buffer {self._path} is closed")
            try:
                return operation(self._connection)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise translate(error, self._path) from error
                return operation(self._replace_damaged(str(error)))

    def _replace_damaged(self, reason: str) -> sqlite3.Connection:
        lost = self._totals.entries
        with contextlib.suppress(sqlite3.Error):
            self.close()
        self._start_over(reason)
        connection = self._connection
        assert connection is not None  # _open sets it or raises
        for kind, count in lost.items():
            statements.count_dropped(connection, kind, DropReason.BUFFER_CORRUPT, count)
        return connection

    def _append(
        self,
        connection: sqlite3.Connection,
        entries: Sequence[tuple[EntryKind, bytes]],
        now_ns: int,
        positions: Mapping[str, str],
    ) -> None:
        totals = self._totals.copy()
        sequence = self._last_sequence
        rows: list[tuple[int, int, int, bytes]] = []
        too_large: list[EntryKind] = []
        for kind, body in entries:
            if len(body) > self._caps.max_bytes:
                too_large.append(kind)
                continue
            sequence += 1
            rows.append((sequence, int(kind), now_ns, body))
            totals.add(kind, 1, len(body))
        with transaction(connection):
            statements.insert_entries(connection, rows)
            statements.store_positions(connection, positions)
            for kind in too_large:
                statements.count_dropped(connection, kind, DropReason.TOO_LARGE, 1)
            evicted = self._evict(connection, totals)
        self._totals, self._last_sequence = totals, sequence
        self._leases.forget(evicted)

    def _evict(self, connection: sqlite3.Connection, totals: Totals) -> list[int]:
        """Make room within the caller's transaction, and count the loss in ``totals``."""
        victims = choose_victims(
            self._caps,
            totals,
            lambda kind: statements.oldest_first(connection, kind),
            self._leases.__contains__,
        )
        sequences = [victim.sequence for victim in victims]
        self._count_out(connection, sequences, totals, DropReason.BUFFER_FULL)
        return sequences

    def _delete(
        self,
        connection: sqlite3.Connection,
        sequences: Sequence[int],
        reason: DropReason | None,
    ) -> None:
        totals = self._totals.copy()
        with transaction(connection):
            self._count_out(connection, sequences, totals, reason)
        self._totals = totals
        self._leases.forget(sequences)

    def _count_out(
        self,
        connection: sqlite3.Connection,
        sequences: Sequence[int],
        totals: Totals,
        reason: DropReason | None,
    ) -> None:
        deleted = statements.delete_entries(connection, sequences)
        totals.subtract(deleted)
        if reason is not None:
            for kind, count in deleted.entries.items():
                statements.count_dropped(connection, kind, reason, count)

    def _lease(
        self,
        connection: sqlite3.Connection,
        limit: int,
        max_bytes: int,
        now_ns: int,
        hold_s: float,
    ) -> list[Entry]:
        leases = self._leases
        leases.expire(now_ns)
        taken: list[Entry] = []
        cursor = leases.cursor
        for sequence, kind, body in statements.visible_entries(connection, cursor):
            if sequence not in leases:
                max_bytes -= len(body)
                if taken and max_bytes < 0:
                    break
                taken.append(Entry(sequence, statements.KINDS[kind], body))
            cursor = sequence
            if len(taken) == limit:
                break
        leases.cursor = cursor
        leases.take((entry.sequence for entry in taken), now_ns=now_ns, hold_s=hold_s)
        return taken

    def _stats(self, connection: sqlite3.Connection) -> BufferStats:
        return BufferStats(
            entries=self._totals.all_entries,
            bytes=self._totals.bytes,
            oldest_ns=statements.oldest_ns(connection),
            dropped=statements.read_dropped(connection),
            files_set_aside=self._files_set_aside,
        )
