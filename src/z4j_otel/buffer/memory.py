"""The buffer in memory: for tests, and for an agent whose disk cannot be written.

Behaves as :mod:`z4j_otel.buffer.sqlite` does, except that nothing outlives the object.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from z4j_otel.buffer.accounts import Passed
from z4j_otel.buffer.base import (
    COMMAND_AGE_S,
    COMMANDS_KEPT,
    BufferStats,
    DropReason,
    Entry,
    EntryKind,
    KnownCommand,
    Legacy,
)
from z4j_otel.buffer.eviction import Caps, Totals, choose_victims
from z4j_otel.buffer.leases import Leases
from z4j_otel.buffer.stories import STORIES_KEPT
from z4j_otel.errors import BufferError_

__all__ = ["MemoryBuffer"]


class _Held(NamedTuple):
    entry: Entry
    created_ns: int


class _Command(NamedTuple):
    noted_ns: int
    result: bytes | None


class MemoryBuffer:
    """Implements :class:`z4j_otel.buffer.base.EventBuffer` without a file."""

    def __init__(self, *, max_events: int = 100_000, max_bytes: int = 256 * 1024 * 1024) -> None:
        """Make an empty buffer; the caps are those of ``SqliteBuffer``.

        Raises:
            ValueError: A cap is below 1.
        """
        self._caps = Caps(max_events, max_bytes)
        self._lock = threading.RLock()
        self._held: dict[int, _Held] = {}
        self._totals = Totals()
        self._last_sequence = 0
        self._leases = Leases()
        self._positions: dict[str, str] = {}
        self._stories: dict[str, bytes] = {}
        self._dropped: dict[tuple[EntryKind, DropReason], int] = {}
        self._passed = Passed.begin()
        self._accounts: dict[str, bytes] = {}
        self._commands: dict[str, _Command] = {}
        self._is_closed = False

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
        stories: Mapping[str, bytes] | None = None,
        accounts: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Store entries and what comes with them. See the port."""
        with self._opened():
            for owner, body in (accounts or {}).items():
                self._accounts.pop(owner, None)
                if body:
                    self._accounts[owner] = body
            for kind, body in entries:
                if len(body) > self._caps.max_bytes:
                    self.count_dropped(kind, DropReason.TOO_LARGE, 1)
                    continue
                self._passed = self._passed.plus(stored={kind: 1})
                self._last_sequence += 1
                entry = Entry(self._last_sequence, kind, body)
                self._held[self._last_sequence] = _Held(entry, now_ns)
                self._totals.add(kind, 1, len(body))
            self._positions.update(positions or {})
            self._positions = {key: text for key, text in self._positions.items() if text}
            for key, story in (stories or {}).items():
                self._stories.pop(key, None)
                self._stories[key] = story
            while len(self._stories) > STORIES_KEPT:
                del self._stories[next(iter(self._stories))]
            victims = choose_victims(
                self._caps, self._totals, self._oldest_first, self._leases.__contains__
            )
            self.drop([victim.sequence for victim in victims], DropReason.BUFFER_FULL)
            return True

    def lease(
        self, limit: int, *, max_bytes: int, now_ns: int, hold_s: float = 90.0
    ) -> list[Entry]:
        """Take the oldest visible entries. See the port."""
        if limit < 1:
            raise ValueError("limit must be at least 1")
        with self._opened():
            self._leases.expire(now_ns)
            taken: list[Entry] = []
            for sequence, held in self._held.items():
                if sequence in self._leases:
                    continue
                max_bytes -= len(held.entry.body)
                if len(taken) == limit or (taken and max_bytes < 0):
                    break
                taken.append(held.entry)
            sequences = [entry.sequence for entry in taken]
            self._leases.take(sequences, now_ns=now_ns, hold_s=hold_s)
            return taken

    def ack(self, sequences: Iterable[int]) -> None:
        """Forget entries that the brain has. See the port."""
        with self._opened():
            self._passed = self._passed.plus(acked=self._delete(sequences).entries)

    def release(self, sequences: Iterable[int]) -> None:
        """Make leased entries visible again. See the port."""
        with self._opened():
            self._leases.give_back(sequences)

    def drop(self, sequences: Iterable[int], reason: DropReason) -> None:
        """Forget entries that can never be delivered, and count them. See the port."""
        with self._opened():
            for kind, count in self._delete(sequences).entries.items():
                self._count(kind, reason, count)

    def count_dropped(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        """Add losses from before the buffer. See the port."""
        with self._opened():
            self._passed = self._passed.plus(stored={kind: count})
            self._count(kind, reason, count)

    def _count(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        if count:
            self._dropped[kind, reason] = self._dropped.get((kind, reason), 0) + count

    def stats(self) -> BufferStats:
        """Return what is held and what was lost. See the port."""
        with self._opened():
            oldest = next(iter(self._held.values()), None)
            return BufferStats(
                entries=self._totals.all_entries,
                bytes=self._totals.bytes,
                oldest_ns=None if oldest is None else oldest.created_ns,
                dropped=dict(self._dropped),
                held=dict(self._totals.entries),
                stored=dict(zip(EntryKind, self._passed.stored, strict=True)),
                acked=dict(zip(EntryKind, self._passed.acked, strict=True)),
            )

    def positions(self) -> dict[str, str]:
        """Return the stored position of every journal. See the port."""
        with self._opened():
            return dict(self._positions)

    @property
    def buffer_id(self) -> str:
        """The name of this life of the buffer. See the port."""
        return self._passed.buffer_id

    def accounts(self) -> dict[str, bytes]:
        """Return all accounts. See the port."""
        with self._opened():
            return dict(self._accounts)

    def take_counts(self, legacy: Legacy) -> None:
        """Add the counts of another buffer. See the port."""
        self.append([], now_ns=0, accounts=legacy.accounts, positions=legacy.positions)
        for (kind, reason), count in legacy.counted.dropped.items():
            self._count(kind, reason, count)
        self._passed = self._passed.plus_legacy(legacy)

    def begin_account(self, accounts: Mapping[str, bytes]) -> None:
        """Forget all counts and take a new name. See the port."""
        with self._opened():
            self._accounts = dict(accounts)
            self._dropped.clear()
            self._passed = Passed.begin().plus(stored=self._totals.entries)

    def recall_story(self, key: str) -> bytes | None:
        """Return what the arbiter knew of a task. See the port."""
        with self._opened():
            return self._stories.get(key)

    def stories(self) -> dict[str, bytes]:
        """Return all that is known of tasks. See the port."""
        with self._opened():
            return dict(self._stories)

    def begin_command(self, command_key: str, now_ns: int, *, answer: bytes | None = None) -> bool:
        """Note that a command is about to run. See the port."""
        with self._opened():
            if command_key in self._commands:
                return False
            self._note_command(command_key, _Command(now_ns, answer))
            return True

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a command's result. See the port."""
        with self._opened():
            self._commands.pop(command_key, None)
            self._note_command(command_key, _Command(now_ns, result))

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept for a command. See the port."""
        with self._opened():
            command = self._commands.get(command_key)
            return None if command is None else command.result

    def commands(self, prefix: bytes = b"") -> list[KnownCommand]:
        """Return the commands that are remembered. See the port."""
        with self._opened():
            return [
                KnownCommand(key, *known)
                for key, known in self._commands.items()
                if not prefix or (known.result or b"").startswith(prefix)
            ]

    def take_commands(self, commands: Sequence[KnownCommand]) -> None:
        """Remember another buffer's commands too. See the port."""
        with self._opened():
            for key, noted_ns, result in commands:
                known = self._commands.get(key)
                if known is None or known.result is None:
                    self._note_command(key, _Command(noted_ns, result))

    def close(self) -> None:
        """Forget everything. Idempotent."""
        with self._lock:
            self._is_closed = True
            self._held.clear()

    def _opened(self) -> threading.RLock:
        if self._is_closed:
            raise BufferError_("buffer is closed")
        return self._lock

    def _delete(self, sequences: Iterable[int]) -> Totals:
        deleted = Totals()
        for sequence in sequences:
            held = self._held.pop(sequence, None)
            if held is not None:
                deleted.add(held.entry.kind, 1, len(held.entry.body))
                self._leases.forget((sequence,))
        self._totals.subtract(deleted)
        return deleted

    def _oldest_first(self, kind: EntryKind) -> Iterator[tuple[int, int]]:
        for sequence, held in self._held.items():
            if held.entry.kind is kind:
                yield sequence, len(held.entry.body)

    def _note_command(self, command_key: str, command: _Command) -> None:
        self._commands[command_key] = command
        oldest_ns = command.noted_ns - int(COMMAND_AGE_S * 1_000_000_000)
        for key, known in list(self._commands.items()):
            if known.noted_ns < oldest_ns or len(self._commands) > COMMANDS_KEPT:
                del self._commands[key]
