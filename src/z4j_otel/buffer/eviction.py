"""What a buffer holds in sum, and which entries leave when that is too much."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from z4j_otel.buffer.base import EntryKind

__all__ = ["Caps", "Totals", "Victim", "choose_victims"]

_LARGEST_BATCH = 500


class Victim(NamedTuple):
    """An entry that has to leave."""

    kind: EntryKind
    sequence: int
    size_bytes: int


class Excess(NamedTuple):
    """How many entries and bytes have to go."""

    entries: int
    bytes: int


@dataclass(slots=True)
class Totals:
    """Entries by kind, and the bytes of their bodies."""

    entries: dict[EntryKind, int] = field(default_factory=lambda: dict.fromkeys(EntryKind, 0))
    bytes: int = 0

    def copy(self) -> Totals:
        """Return an independent copy."""
        return Totals(dict(self.entries), self.bytes)

    def add(self, kind: EntryKind, entries: int, size_bytes: int) -> None:
        """Count entries in."""
        self.entries[kind] += entries
        self.bytes += size_bytes

    def include(self, other: Totals) -> None:
        """Count another sum in."""
        for kind, entries in other.entries.items():
            self.entries[kind] += entries
        self.bytes += other.bytes

    def subtract(self, other: Totals) -> None:
        """Count entries out."""
        for kind, entries in other.entries.items():
            self.entries[kind] -= entries
        self.bytes -= other.bytes

    @property
    def all_entries(self) -> int:
        """Entries of all kinds."""
        return sum(self.entries.values())


@dataclass(frozen=True, slots=True)
class Caps:
    """How much a buffer may hold."""

    max_events: int
    """Most entries, of all kinds together."""
    max_bytes: int
    """Most bytes of bodies."""

    def __post_init__(self) -> None:
        if self.max_events < 1 or self.max_bytes < 1:
            raise ValueError("a buffer holds at least one entry and one byte")

    def excess_of(self, totals: Totals) -> Excess:
        """Return what is too much; nothing is negative."""
        return Excess(
            max(0, totals.all_entries - self.max_events), max(0, totals.bytes - self.max_bytes)
        )

    def rounded_up(self, excess: Excess) -> Excess:
        """Return the excess, or a hundredth of the cap that is exceeded if that is more."""
        batch = min(_LARGEST_BATCH, self.max_events // 100)
        return Excess(
            max(excess.entries, batch) if excess.entries else 0,
            max(excess.bytes, self.max_bytes // 100) if excess.bytes else 0,
        )


def choose_victims(
    caps: Caps,
    totals: Totals,
    oldest_first: Callable[[EntryKind], Iterable[tuple[int, int]]],
    is_leased: Callable[[int], bool],
) -> list[Victim]:
    """Choose what must leave to respect the caps; nothing when they are respected.

    Args:
        caps: What is allowed.
        totals: What is there.
        oldest_first: Yields sequence and size of the entries of one kind.
        is_leased: Whether a sequence is out on lease.

    Returns:
        Events, then schedules, then command results; each kind with its leased entries last,
        each oldest first. While there are events not on lease, a hundredth of the exceeded cap.
    """
    needed = caps.excess_of(totals)
    victims: list[Victim] = []
    if not any(needed):
        return victims
    freed_bytes = 0
    for kind in (EntryKind.EVENT, EntryKind.SCHEDULE, EntryKind.COMMAND_RESULT):
        if not totals.entries.get(kind):
            continue  # to find none, the whole file would be read
        for takes_leased in (False, True):
            is_cheap = kind is EntryKind.EVENT and not takes_leased
            wanted = caps.rounded_up(needed) if is_cheap else needed
            if len(victims) >= wanted.entries and freed_bytes >= wanted.bytes:
                return victims
            for sequence, size_bytes in oldest_first(kind):
                if len(victims) >= wanted.entries and freed_bytes >= wanted.bytes:
                    break
                if is_leased(sequence) is takes_leased:
                    victims.append(Victim(kind, sequence, size_bytes))
                    freed_bytes += size_bytes
    return victims
