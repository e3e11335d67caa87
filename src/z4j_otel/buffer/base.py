"""The port of the buffer and the values that pass through it; no storage here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol

import msgspec

__all__ = [
    "COMMANDS_KEPT",
    "COMMAND_AGE_S",
    "BufferStats",
    "DropReason",
    "Entry",
    "EntryKind",
    "EventBuffer",
    "KnownCommand",
    "Legacy",
]

COMMANDS_KEPT = 10_000
"""Most commands remembered for redeliveries."""
COMMAND_AGE_S = 86_400.0
"""How long a command is remembered, seconds."""


class EntryKind(IntEnum):
    """What an entry is; the numbers are stored."""

    EVENT = 0
    """What a process captured; came through a journal."""
    COMMAND_RESULT = 1
    SCHEDULE = 2
    """An event about schedules, which the agent made itself."""


class DropReason(str, Enum):
    """Why something never reached the brain; the texts are stored.

    The journal counts its own losses under the texts of its members here, so that the
    agent can pass them to :meth:`EventBuffer.count_dropped`.
    """

    BUFFER_FULL = "buffer_full"
    """Evicted to make room for newer entries."""
    BUFFER_CORRUPT = "buffer_corrupt"
    """In a database that had to be set aside, or unreadable when it was to be sent."""
    TOO_LARGE = "too_large"
    """Larger than the buffer, the journal or a frame can take."""
    REJECTED = "rejected"
    """Refused by the brain for what it says."""
    UNENCODABLE = "unencodable"
    """Could not be redacted or encoded where it was captured."""
    JOURNAL_FULL = "journal_full"
    """The journal was at its cap, and the memory ring too."""
    JOURNAL_UNWRITABLE = "journal_unwritable"
    """The journal could not be written, and the memory ring was full."""
    JOURNAL_CORRUPT = "journal_corrupt"
    """Torn or damaged in the journal."""


class Entry(msgspec.Struct, frozen=True):
    """One buffered item."""

    sequence: int
    """Rises by append order; unique for the life of the buffer object."""
    kind: EntryKind
    body: bytes
    """Canonical bytes, exactly as appended."""


class KnownCommand(NamedTuple):
    """A command that was begun."""

    key: str
    noted_ns: int
    result: bytes | None
    """None while it has not ended; or the answer it was begun with."""


@dataclass(frozen=True, slots=True)
class BufferStats:
    """What the buffer holds and what it has lost."""

    entries: int
    """Entries held, leased ones included."""
    bytes: int
    """Sum of the bodies' sizes; the file is larger."""
    oldest_ns: int | None
    """When the oldest entry was appended, or None when the buffer is empty."""
    dropped: dict[tuple[EntryKind, DropReason], int] = field(default_factory=dict)
    """Entries lost since the database was made, by kind and reason."""
    files_set_aside: int = 0
    """Database files that could not be read and were renamed, since this object was made."""
    held: dict[EntryKind, int] = field(default_factory=dict)
    """Entries held, by kind."""
    stored: dict[EntryKind, int] = field(default_factory=dict)
    """Entries ever offered since the database was made, by kind, dropped ones included."""
    acked: dict[EntryKind, int] = field(default_factory=dict)
    """Entries acked since the database was made, by kind. At any commit, of each kind:
    stored is acked and held and dropped."""
    unsaved: int = 0
    """Entries held in memory only, because the disk takes nothing."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What one buffer takes over from another one, besides entries."""

    counted: BufferStats
    """The other's counts; the entries it holds count when they are appended here."""
    accounts: Mapping[str, bytes]
    """Accounts to store, by owner."""
    positions: Mapping[str, str]
    """Positions to store; an empty text forgets the name."""


class EventBuffer(Protocol):
    """A bounded FIFO with leases. Every method may be called from any thread.

    Bounds: when an append would exceed the cap, the oldest entries are dropped in batches
    and counted, events before schedules before command results, entries out on lease last.
    """

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
        stories: Mapping[str, bytes] | None = None,
        accounts: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Store entries, journal positions, stories and accounts, all or nothing.

        Args:
            entries: Kind and body, in order; may be empty.
            now_ns: Current time, nanoseconds since the Unix epoch.
            positions: Reader position by journal name; an empty text forgets the name.
            stories: What the arbiter knows of a task, by the task's key; the 50 000 that
                were stored last are kept.
            accounts: What is counted beside the entries, by owner; empty bytes forget one.
                The caller bounds their number.

        Returns:
            Whether all of it, and all before it, outlives this process. False while the disk
            takes nothing: then it waits in memory, and its source must be kept.

        Raises:
            BufferFull: The disk takes nothing, and enough waits in memory; nothing was taken.
            BufferError_: The storage failed otherwise; nothing was taken.
        """
        ...

    def lease(
        self, limit: int, *, max_bytes: int, now_ns: int, hold_s: float = 90.0
    ) -> list[Entry]:
        """Take the oldest visible entries and hide them from other callers.

        An entry neither acked nor released within ``hold_s`` becomes visible again. Leases
        live in memory only: after a restart all entries are visible.

        Args:
            limit: Most entries to take, at least 1.
            max_bytes: Most bytes of bodies to take; one entry is taken whatever its size.
            now_ns: Current time, nanoseconds since the Unix epoch.
            hold_s: How long the caller may keep them, seconds.

        Returns:
            Entries in order of append; empty when nothing waits.

        Raises:
            BufferError_: The storage failed.
        """
        ...

    def ack(self, sequences: Iterable[int]) -> None:
        """Forget entries that the brain has. Unknown sequences are ignored."""
        ...

    def release(self, sequences: Iterable[int]) -> None:
        """Make leased entries visible again, in their old place."""
        ...

    def drop(self, sequences: Iterable[int], reason: DropReason) -> None:
        """Forget entries that can never be delivered, and count them."""
        ...

    def count_dropped(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        """Add losses to the persistent counters, as if they had been stored and dropped."""
        ...

    def stats(self) -> BufferStats:
        """Return what is held and what was lost."""
        ...

    def positions(self) -> dict[str, str]:
        """Return the stored reader position of every journal, by name."""
        ...

    @property
    def buffer_id(self) -> str:
        """The name of this database and of all that is counted in it, 32 characters."""
        ...

    def accounts(self) -> dict[str, bytes]:
        """Return all accounts by owner, what was stored last at the end."""
        ...

    def take_counts(self, legacy: Legacy) -> None:
        """Add the counts of another buffer, all or nothing; its entries are appended later."""
        ...

    def begin_account(self, accounts: Mapping[str, bytes]) -> None:
        """Forget all counts and accounts but these, and take a new name.

        For a buffer whose counts another one has taken over.
        """
        ...

    def recall_story(self, key: str) -> bytes | None:
        """Return what the arbiter knew of a task, or None."""
        ...

    def stories(self) -> dict[str, bytes]:
        """Return all that is known of tasks, by key, what was stored last at the end."""
        ...

    def begin_command(self, command_key: str, now_ns: int, *, answer: bytes | None = None) -> bool:
        """Note that a command is about to run.

        Args:
            command_key: What makes two deliveries the same command.
            now_ns: Current time, nanoseconds since the Unix epoch.
            answer: Its result, should nobody live to remember another one.

        Returns:
            True when the key is new; False when the command was begun before, in this life
            or an earlier one. Then :meth:`recall_result` tells whether it has finished.
        """
        ...

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a result for redeliveries, within ``COMMAND_AGE_S`` and ``COMMANDS_KEPT``."""
        ...

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept for a command, or None."""
        ...

    def commands(self, prefix: bytes = b"") -> list[KnownCommand]:
        """Return the commands whose answer begins with ``prefix``, the oldest first.

        All that are remembered, without a prefix.
        """
        ...

    def take_commands(self, commands: Sequence[KnownCommand]) -> None:
        """Remember another buffer's commands too; what is known here stays as it is."""
        ...

    def close(self) -> None:
        """Release files and memory; further calls raise ``BufferError_``. Idempotent."""
        ...
