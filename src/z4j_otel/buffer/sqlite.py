"""The buffer in an SQLite database: theory of operation.

Constraints
    One process owns the file (see :mod:`z4j_otel.buffer.files`) and is the only one to write
    it; within it, one thread works and others ask for numbers. A stored entry survives the
    death of the process, but its latest transactions may not survive the machine's. The disk
    may fill, turn read-only, rot or vanish at any time, and the agent goes on.

Format
    ``schema.sql``, in WAL mode. A row of ``entries`` is a record with a checksum of its own;
    so is the one row of ``state``, which says what is held, where the journals were read to
    and what was lost. A copy of the latter, and of the accounts, is written to
    ``<name>-state`` after each commit; see :mod:`z4j_otel.buffer.mirror`.

Operation
    Memory decides what is held. Each change is noted as unsaved, and one transaction stores
    all that is unsaved, with the state: it stands or falls together, so that a record of the
    journal is counted exactly once. Leases are in memory only. One re-entrant lock guards
    every method; it is held for as long as SQLite works, at most a batch.

    Eviction frees the excess and, of events, at least 1 % of the exceeded cap (at most 500
    entries), so that a full buffer does not pay on every append. The order is: oldest event
    not on lease, event on lease, then schedules and command results in the same way. The
    file has a cap of its own, a quarter and 4 MiB above that of the bodies: rows of an
    awkward size waste up to half of each page. When it is reached, more is evicted. With the
    log, which SQLite takes back after 4 MiB and a batch, this bounds what is on disk.

Recovery
    *The disk takes nothing.* What is unsaved waits, is leased from memory and may be acked
    there; one warning tells. Every 5 s it is tried again. At 10 000 entries or 32 MiB an
    append raises ``BufferFull``, and the journal keeps what comes. :meth:`SqliteBuffer.append`
    tells whether everything is on disk: until then the journal must not be deleted.

    *Damage*, another schema version, a file that cannot be opened: see
    :mod:`z4j_otel.buffer.rebuilding`. Every entry is verified when a file is opened, and
    again when it is leased.

    *The file is removed while it is in use.* It is written anew at its path.

    *Fork.* The child's object is closed.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from z4j_otel.buffer import statements, stories
from z4j_otel.buffer.accounts import Passed
from z4j_otel.buffer.base import (
    BufferStats,
    DropReason,
    Entry,
    EntryKind,
    KnownCommand,
    Legacy,
)
from z4j_otel.buffer.contents import Contents
from z4j_otel.buffer.database import Connect
from z4j_otel.buffer.eviction import Caps
from z4j_otel.buffer.known import KnownKeys
from z4j_otel.buffer.store import TRIM_EVERY, Store
from z4j_otel.disk import DISK, Disk
from z4j_otel.errors import BufferError_, BufferFull
from z4j_otel.forks import call_in_child

__all__ = ["SqliteBuffer", "file_cap_bytes"]

_MIB = 1024 * 1024


def file_cap_bytes(max_bytes: int) -> int:
    """Return how large the database file may become, for bodies of ``max_bytes`` together."""
    return max_bytes + max_bytes // 4 + 4 * _MIB


class SqliteBuffer:
    """Implements :class:`z4j_otel.buffer.base.EventBuffer` in one database file."""

    def __init__(
        self,
        path: Path,
        *,
        max_events: int = 100_000,
        max_bytes: int = 256 * _MIB,
        disk: Disk = DISK,
        connect: Connect = sqlite3.connect,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open or make the database; of one that cannot be used, all that is intact is kept.

        Args:
            path: The file; its directory must exist, and this process must own the name.
            max_events: Most entries, of both kinds together.
            max_bytes: Most bytes of bodies; see :func:`file_cap_bytes` for the file.
            disk: The system calls to use.
            connect: Opens databases.
            monotonic_s: Tells when a disk that took nothing is tried again.

        Raises:
            BufferError_: The file cannot be opened or made.
            ValueError: A cap is below 1.
        """
        self._lock = threading.RLock()
        self._is_closed = False
        self._store = Store(
            path, max_file_bytes=file_cap_bytes(max_bytes), disk=disk, connect=connect
        )
        self._contents = Contents(self._store, Caps(max_events, max_bytes), monotonic_s)
        self._story_keys: KnownKeys | None = None
        call_in_child(self._leave_to_parent)

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
        stories: Mapping[str, bytes] | None = None,
        accounts: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Store entries and what comes with them in one transaction. See the port."""
        with self._opened():
            contents = self._contents
            if contents.unsaved.is_at_limit and not contents.save():
                raise BufferFull(f"buffer {self._store.path}: the disk takes nothing")
            # Before anything is changed: it may have to be read.
            known = self._known_stories() if stories else None
            if stories and known is not None:
                known.add(stories)
            contents.add(entries, now_ns)
            contents.state.store_positions(positions or {})
            contents.unsaved.stories.update(stories or {})
            contents.note_accounts(accounts or {})
            contents.evict()
            return contents.save()

    def lease(
        self, limit: int, *, max_bytes: int, now_ns: int, hold_s: float = 90.0
    ) -> list[Entry]:
        """Take the oldest visible entries. See the port."""
        if limit < 1:
            raise ValueError("limit must be at least 1")
        with self._opened():
            return self._contents.lease(limit, max_bytes=max_bytes, now_ns=now_ns, hold_s=hold_s)

    def ack(self, sequences: Iterable[int]) -> None:
        """Forget entries that the brain has. See the port."""
        with self._opened():
            gone = self._contents.forget(sequences)
            if gone.all_entries:
                self._contents.state.passed = self._contents.state.passed.plus(acked=gone.entries)
                self._contents.save()

    def release(self, sequences: Iterable[int]) -> None:
        """Make leased entries visible again. See the port."""
        with self._opened():
            self._contents.leases.give_back(tuple(sequences))

    def drop(self, sequences: Iterable[int], reason: DropReason) -> None:
        """Forget entries that can never be delivered, and count them. See the port."""
        with self._opened():
            if self._contents.forget(sequences, reason).all_entries:
                self._contents.save()

    def count_dropped(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        """Add losses from before the buffer. See the port."""
        with self._opened():
            if count:
                self._contents.state.passed = self._contents.state.passed.plus(stored={kind: count})
                self._contents.state.count_dropped(kind, reason, count)
                self._contents.save()

    def stats(self) -> BufferStats:
        """Return what is held and what was lost. See the port."""
        with self._opened():
            if self._contents.is_waiting:
                self._contents.save()  # somebody asks every few seconds
            state = self._contents.state
            return BufferStats(
                entries=state.totals.all_entries,
                bytes=state.totals.bytes,
                oldest_ns=self._contents.oldest_ns(),
                dropped=dict(state.dropped),
                files_set_aside=self._store.rebuilt,
                held=dict(state.totals.entries),
                stored=dict(zip(EntryKind, state.passed.stored, strict=True)),
                acked=dict(zip(EntryKind, state.passed.acked, strict=True)),
                unsaved=len(self._contents.unsaved.rows),
            )

    def positions(self) -> dict[str, str]:
        """Return the position of every journal. See the port."""
        with self._opened():
            return dict(self._contents.state.positions)

    @property
    def buffer_id(self) -> str:
        """The name of this database. See the port."""
        return self._contents.state.passed.buffer_id

    def accounts(self) -> dict[str, bytes]:
        """Return all accounts. See the port."""
        with self._opened():
            return dict(self._contents.accounts)

    def take_counts(self, legacy: Legacy) -> None:
        """Add the counts of another buffer. See the port."""
        with self._opened():
            state = self._contents.state
            for (kind, reason), count in legacy.counted.dropped.items():
                state.count_dropped(kind, reason, count)
            state.passed = state.passed.plus_legacy(legacy)
            state.store_positions(legacy.positions)
            self._contents.note_accounts(legacy.accounts)
            self._contents.save()

    def begin_account(self, accounts: Mapping[str, bytes]) -> None:
        """Forget all counts and take a new name. See the port."""
        with self._opened():
            self._contents.note_accounts(
                {**dict.fromkeys(self._contents.accounts, b""), **accounts}
            )
            self._contents.state.dropped.clear()
            self._contents.state.passed = Passed.begin().plus(
                stored=self._contents.state.totals.entries
            )
            self._contents.save()

    def recall_story(self, key: str) -> bytes | None:
        """Return what the arbiter knew of a task. See the port."""
        with self._opened():
            story = self._contents.unsaved.stories.get(key)
            if story is not None or self._contents.unsaved.forgets_stories:
                return story
            known = self._known_stories()
            if known is not None and key not in known:
                return None
            return self._contents.read(lambda connection: stories.recall(connection, key), None)

    def stories(self) -> dict[str, bytes]:
        """Return all that is known of tasks. See the port."""
        with self._opened():
            known = (
                {}
                if self._contents.unsaved.forgets_stories
                else self._contents.read(stories.read_all, dict[str, bytes]())
            )
            for key, story in self._contents.unsaved.stories.items():
                known.pop(key, None)
                known[key] = story
            return known

    def forget_stories(self) -> None:
        """Forget all that is known of tasks: another buffer has it."""
        with self._opened():
            self._contents.unsaved.stories.clear()
            self._contents.unsaved.forgets_stories = True
            self._contents.save()

    def begin_command(self, command_key: str, now_ns: int, *, answer: bytes | None = None) -> bool:
        """Note that a command is about to run. See the port."""
        with self._opened():
            if self._command(command_key) is not None:
                return False
            command = KnownCommand(command_key, now_ns, answer)
            self._contents.unsaved.commands[command_key] = command
            self._contents.save()
            return True

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a command's result. See the port."""
        with self._opened():
            self._contents.unsaved.commands[command_key] = KnownCommand(command_key, now_ns, result)
            self._contents.save()

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept for a command. See the port."""
        with self._opened():
            command = self._command(command_key)
            return None if command is None else command.result

    def commands(self, prefix: bytes = b"") -> list[KnownCommand]:
        """Return the commands that are remembered. See the port."""
        with self._opened():
            waiting = self._contents.unsaved.commands
            # Asked every few seconds, of thousands of answers: only what is wanted is read.
            known = self._contents.read(
                lambda connection: statements.read_commands(connection, prefix),
                list[KnownCommand](),
            )
            return [each for each in known if each.key not in waiting] + [
                each
                for each in waiting.values()
                if not prefix or (each.result or b"").startswith(prefix)
            ]

    def take_commands(self, commands: Sequence[KnownCommand]) -> None:
        """Remember another buffer's commands too. See the port."""
        with self._opened():
            for theirs in commands:
                ours = self._command(theirs.key)
                if ours is None or ours.result is None:
                    noted_ns = theirs.noted_ns if ours is None else ours.noted_ns
                    self._contents.unsaved.commands[theirs.key] = theirs._replace(noted_ns=noted_ns)
            self._contents.save()

    def close(self) -> None:
        """Save what can be saved, and close the database. Idempotent."""
        with self._lock:
            if not self._is_closed and not self._contents.unsaved.is_empty:
                self._contents.save(is_last=True)
            self._is_closed = True
            self._store.close()

    def _leave_to_parent(self) -> None:
        """Close this object, in a forked child, without closing the parent's connection."""
        self._store.leave_to_parent()
        self._is_closed = True
        self._lock = threading.RLock()

    def _opened(self) -> threading.RLock:
        if self._is_closed:
            raise BufferError_(f"buffer {self._store.path} is closed")
        return self._lock

    def _known_stories(self) -> KnownKeys | None:
        """Return which tasks may have a story; None while the disk does not say."""
        if self._story_keys is None:
            keys = self._contents.read(stories.keys, None)
            if keys is not None:
                self._story_keys = KnownKeys(stories.STORIES_KEPT + TRIM_EVERY)
                self._story_keys.add([*keys, *self._contents.unsaved.stories])
        return self._story_keys

    def _command(self, key: str) -> KnownCommand | None:
        waiting = self._contents.unsaved.commands.get(key)
        if waiting is not None:
            return waiting
        return self._contents.read(
            lambda connection: statements.read_command(connection, key), None
        )
