"""What an SQLite buffer holds: decided in memory, stored as soon as the disk takes it.

The theory of operation is in :mod:`z4j_otel.buffer.sqlite`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from z4j_otel.buffer import accounts as accounting
from z4j_otel.buffer import statements
from z4j_otel.buffer.base import DropReason, Entry, EntryKind
from z4j_otel.buffer.database import (
    UNREADABLE,
    is_busy,
    is_damage,
    is_full,
    is_read_only,
    reason_of,
    translate,
)
from z4j_otel.buffer.eviction import Caps, Totals, choose_victims
from z4j_otel.buffer.leases import Leases
from z4j_otel.buffer.records import Row
from z4j_otel.buffer.state import State
from z4j_otel.buffer.store import Store
from z4j_otel.buffer.unsaved import Unsaved
from z4j_otel.errors import BufferError_, BufferFull

__all__ = ["Contents"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_RETRY_S = 5.0
_MOST_ATTEMPTS = 300


class Contents:
    """Entries and what lies beside them, on disk or on their way there. Its user has a lock."""

    def __init__(self, store: Store, caps: Caps, monotonic_s: Callable[[], float]) -> None:
        """Open the store.

        Raises:
            BufferError_: There is no way to have a file.
        """
        self.unsaved = Unsaved()
        self.leases = Leases()
        self._caps = caps
        self._store = store
        self._monotonic_s = monotonic_s
        self._retry_s: float | None = None
        self.accounts: dict[str, bytes] = {}
        """All accounts by owner, the one touched last at the end."""
        self.state = store.open()
        self.accounts = self.read(accounting.read_all, self.accounts)

    @property
    def is_waiting(self) -> bool:
        """Whether the disk took nothing when it was last tried."""
        return self._retry_s is not None

    def add(self, entries: Sequence[tuple[EntryKind, bytes]], now_ns: int) -> None:
        """Hold entries; one that is larger than all may be is dropped."""
        state, most_bytes = self.state, self._caps.max_bytes
        state.passed = state.passed.plus(stored=Counter([kind for kind, _ in entries]))
        rows: list[Row] = []
        sequence = state.last_sequence
        for kind, body in entries:
            if len(body) > most_bytes:
                state.count_dropped(kind, DropReason.TOO_LARGE, 1)
            else:
                sequence += 1
                rows.append(Row(sequence, kind, now_ns, body))
        state.add_all(rows)
        self.unsaved.add_all(rows)

    def note_accounts(self, bodies: Mapping[str, bytes]) -> None:
        """Replace accounts; empty bytes forget one."""
        for owner, body in bodies.items():
            self.accounts.pop(owner, None)
            self.unsaved.accounts.pop(owner, None)
            self.unsaved.accounts[owner] = body
            if body:
                self.accounts[owner] = body

    def lease(self, limit: int, *, max_bytes: int, now_ns: int, hold_s: float) -> list[Entry]:
        """Take the oldest visible entries."""
        self.leases.expire(now_ns)
        taken, cursor = self.read(lambda _: self._look(limit, max_bytes), None) or self._look(
            limit, max_bytes, is_in_memory_only=True
        )
        self.leases.cursor = cursor
        self.leases.take((entry.sequence for entry in taken), now_ns=now_ns, hold_s=hold_s)
        return taken

    def _look(
        self, limit: int, max_bytes: int, *, is_in_memory_only: bool = False
    ) -> tuple[list[Entry], int]:
        """Return the next visible entries, and up to where there are no others."""
        leases, gone = self.leases, self.unsaved.gone
        taken: list[Entry] = []
        cursor = leases.cursor
        for row in self._rows_after(cursor, is_in_memory_only=is_in_memory_only):
            sequence = row.sequence
            if sequence not in leases and sequence not in gone:
                max_bytes -= len(row.body)
                if taken and max_bytes < 0:
                    break
                taken.append(Entry(sequence, statements.KINDS[row.kind], row.body))
            cursor = sequence
            if len(taken) == limit:
                break
        return taken, leases.cursor if is_in_memory_only else cursor

    def _rows_after(self, cursor: int, *, is_in_memory_only: bool) -> Iterator[Row]:
        connection = self._store.connection
        if connection is not None and not is_in_memory_only:
            yield from statements.visible_entries(connection, cursor)
        for sequence, row in self.unsaved.rows.items():
            if sequence > cursor:
                yield row

    def oldest_ns(self) -> int | None:
        """Return when the oldest entry was added, or None."""
        gone = self.unsaved.gone
        on_disk = self.read(lambda connection: statements.oldest_ns(connection, gone), None)
        if on_disk is not None:
            return on_disk
        return next((row.created_ns for row in self.unsaved.rows.values()), None)

    def forget(self, sequences: Iterable[int], reason: DropReason | None = None) -> Totals:
        """Take entries out, and return those that were held."""
        held = [each for each in set(sequences) if each in self.state.runs]
        in_memory, found = self.unsaved.take_out(held)
        self._take_out(in_memory, found)
        on_disk = [each for each in held if each not in in_memory] if in_memory else held
        # Where the disk cannot be read they stay, to be delivered again.
        sizes = self.read(lambda each: statements.sizes_of(each, on_disk), None)
        if sizes is not None and on_disk:
            self._take_out(on_disk, sizes)
            self.unsaved.gone.update(on_disk)
            found.include(sizes)
        if reason is not None:
            for kind, count in found.entries.items():
                self.state.count_dropped(kind, reason, count)
        return found

    def _take_out(self, sequences: Collection[int], sizes: Totals) -> None:
        self.state.remove(sequences)
        self.state.totals.subtract(sizes)
        self.leases.forget(sequences)

    def evict(self, caps: Caps | None = None) -> int:
        """Make room within the caps, and count the loss; return how many entries left."""
        victims = choose_victims(
            caps or self._caps, self.state.totals, self._oldest_first, self.leases.__contains__
        )
        if not victims:
            return 0
        return self.forget(
            (victim.sequence for victim in victims), DropReason.BUFFER_FULL
        ).all_entries

    def _oldest_first(self, kind: EntryKind) -> Iterator[tuple[int, int]]:
        connection, gone = self._store.connection, self.unsaved.gone
        if connection is not None:
            try:
                for found in statements.oldest_first(connection, kind):
                    if found[0] not in gone:
                        yield found
            except UNREADABLE:
                # Whoever uses these entries next will find out, and repair.
                return
        for row in list(self.unsaved.rows.values()):
            if row.kind == kind:
                yield row.sequence, len(row.body)

    def read(self, operation: Callable[[sqlite3.Connection], _T], default: _T) -> _T:
        """Return what the disk says; the default where it says nothing."""
        for _ in range(2):
            connection = self._store.connection
            if connection is None:
                return default
            try:
                return operation(connection)
            except UNREADABLE as error:
                if is_busy(error):
                    raise translate(error, self._store.path) from error
                self._repair(error)
        return default

    def save(self, *, is_last: bool = False) -> bool:
        """Store all that is unsaved; False while the disk does not take it.

        Args:
            is_last: Whether to try even if it was tried a moment ago.
        """
        if not is_last and self._retry_s is not None and self._monotonic_s() < self._retry_s:
            return False
        try:
            self._save_now()
        except (*UNREADABLE, BufferError_) as error:
            self._wait(error)
            return False
        self.unsaved.clear()
        if self._retry_s is not None:
            self._retry_s = None
            _log.info(
                "buffer %s is on disk again", self._store.path, extra={"action": "buffer_saved"}
            )
        return True

    def _save_now(self) -> None:
        self._make_sure()
        for _ in range(_MOST_ATTEMPTS):
            try:
                self._store.save(self.state, self.unsaved, self.accounts)
            except UNREADABLE as error:
                # A file that only says of itself that it must not be written is damaged, too.
                if is_damage(error) or (is_read_only(error) and self._retry_s is None):
                    self._replace(error)
                elif not (is_full(error) and self._evict_for_pages()):
                    raise
            else:
                return
        raise BufferFull(f"buffer {self._store.path}: no room can be made")

    def _evict_for_pages(self) -> bool:
        """Make room where the file is as large as it may become; False where it is not."""
        size_bytes = self.unsaved.row_bytes
        if self._store.has_room_for(size_bytes):
            return False
        totals = self.state.totals
        fewer = max(self._caps.max_bytes // 100, size_bytes // 4, 1)
        return bool(self.evict(Caps(self._caps.max_events, max(1, totals.bytes - fewer))))

    def _wait(self, error: Exception) -> None:
        if self._retry_s is None:
            _log.warning(
                "buffer %s cannot be written (%s): make room on its disk, or let this user "
                "write there; until then delivery goes on from memory and the journal keeps "
                "what comes, as long as it can be written",
                self._store.path,
                reason_of(error),
                extra={"action": "buffer_unsaved"},
            )
        self._retry_s = self._monotonic_s() + _RETRY_S

    def _make_sure(self) -> None:
        """Have a file at the path: the one in use may have been removed, or be beyond use."""
        store = self._store
        if store.connection is None:
            self._take_state(lambda known: store.replace(known, BufferError_("no file")))
        elif not store.is_in_place():
            self._take_state(store.put_back)

    def _repair(self, error: Exception) -> None:
        try:
            self._replace(error)
        except BufferError_ as another:
            self._wait(another)

    def _replace(self, error: Exception) -> None:
        self._take_state(lambda known: self._store.replace(known, error))

    def _take_state(self, renew: Callable[[State], State]) -> None:
        """Put a new file in place, and hold what it holds and what is unsaved."""
        known = self.state.copy()
        unsaved = self.unsaved
        for row in unsaved.rows.values():
            known.remove((row.sequence,))
            known.totals.add(EntryKind(row.kind), -1, -len(row.body))
        state = renew(known)
        for row in unsaved.rows.values():
            state.add(row.sequence, EntryKind(row.kind), len(row.body))
        state.last_sequence = max(state.last_sequence, self.state.last_sequence)
        self.state = state
        unsaved.gone.clear()
        unsaved.accounts = dict(self.accounts)
