"""The port of the buffer and the values that pass through it; no storage here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol

import msgspec

__all__ = [
    "COMMANDS_KEPT",
    "COMMAND_AGE_S",
    "BufferStats",
    "DropReason",
    "Entry",
    "EntryKind",
    "EventBuffer",
]

COMMANDS_KEPT = 10_000
"""Most commands remembered for redeliveries."""
COMMAND_AGE_S = 86_400.0
"""How long a command is remembered, seconds."""


class EntryKind(IntEnum):
    """What an entry is; the numbers are stored."""

    EVENT = 0
    COMMAND_RESULT = 1


class DropReason(str, Enum):
    """Why something never reached the brain; the texts are stored.

    The journal counts its own losses under the texts of its members here, so that the
    agent can pass them to :meth:`EventBuffer.count_dropped`.
    """

    BUFFER_FULL = "buffer_full"
    """Evicted to make room for newer entries."""
    BUFFER_CORRUPT = "buffer_corrupt"
    """In a database that had to be set aside."""
    TOO_LARGE = "too_large"
    """Larger than the buffer, the journal or a frame can take."""
    REJECTED = "rejected"
    """Refused by the brain for what it says."""
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


class EventBuffer(Protocol):
    """A bounded FIFO with leases. Every method may be called from any thread.

    Bounds: when an append would exceed the cap, the oldest entries are dropped in batches
    and counted, events before command results, entries out on lease last.
    """

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
    ) -> None:
        """Store entries and journal positions, all or nothing.

        Args:
            entries: Kind and body, in order; may be empty.
            now_ns: Current time, nanoseconds since the Unix epoch.
            positions: Reader position by journal name; an empty text forgets the name.

        Raises:
            BufferFull: The disk is full; nothing was stored.
            BufferError_: The storage failed otherwise; nothing was stored.
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
        """Add losses that happened before the buffer to its persistent counters."""
        ...

    def stats(self) -> BufferStats:
        """Return what is held and what was lost."""
        ...

    def positions(self) -> dict[str, str]:
        """Return the stored reader position of every journal, by name."""
        ...

    def begin_command(self, command_key: str, now_ns: int) -> bool:
        """Note that a command is about to run.

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

    def close(self) -> None:
        """Release files and memory; further calls raise ``BufferError_``. Idempotent."""
        ...
