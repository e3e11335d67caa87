"""The equation that says that nothing is unaccounted for, and whether it holds.

``captured = acked + told twice + pending + dropped``, for events; for command results, which
the agent makes itself, ``stored = acked + pending + dropped``. The left side comes from the
numbers that writers gave to their records, the right side from what the buffer did with its
entries: they are counted apart, stored together, and equal at every commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from z4j_otel.agent.books import Books
from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind

__all__ = ["Conservation", "Losses", "weigh"]

Losses = dict[tuple[EntryKind, DropReason], int]
"""Counts of what was lost, by kind and reason."""

_EVENT, _RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT


@dataclass(frozen=True, slots=True)
class Conservation:
    """The terms, since the buffer's account began. What still lies in the journal is in none."""

    captured: int = 0
    """Events that processes recorded, as far as their journal has been read."""
    journaled: int = 0
    """Of these, those that reached the journal."""
    imported: int = 0
    """Of these, those that could be read."""
    adopted: int = 0
    """Events of a dead agent that are here already, while its accounts are not."""
    told_twice: int = 0
    """Events held back because another one had told the same."""
    acked: int = 0
    """Events that the brain has acknowledged."""
    held: int = 0
    """Events in the buffer, those on their way included."""
    late: int = 0
    """Events whose number was used and that have not been read, for less than 10 s."""
    dropped: Losses = field(default_factory=dict)
    """What was lost, of events and results."""
    results_stored: int = 0
    """Command results that were to be delivered."""
    results_acked: int = 0
    """Command results behind which the brain has acknowledged a batch."""
    results_held: int = 0
    """Command results in the buffer."""

    @property
    def pending(self) -> int:
        """Events that are neither settled nor given up."""
        return self.held + self.late

    @property
    def unaccounted(self) -> int:
        """What is missing on the right side of the equation for events; 0 when it holds."""
        settled = self.acked + self.told_twice + self.pending
        return self.captured - settled - self.lost(_EVENT)

    @property
    def results_unaccounted(self) -> int:
        """The same for command results."""
        settled = self.results_acked + self.results_held
        return self.results_stored - settled - self.lost(_RESULT)

    @property
    def closes(self) -> bool:
        """Whether both equations hold."""
        return not self.unaccounted and not self.results_unaccounted

    def lost(self, kind: EntryKind) -> int:
        """Return how many of a kind were lost, for all reasons."""
        return sum(count for (its, _), count in self.dropped.items() if its is kind)

    def describe(self) -> dict[str, Any]:
        """Return the terms by name, as plain values."""
        return {
            "captured": self.captured,
            "journaled": self.journaled,
            "imported": self.imported,
            "told_twice": self.told_twice,
            "acked": self.acked,
            "pending": self.pending,
            "held": self.held,
            "late": self.late,
            "dropped": self.lost(_EVENT),
            "unaccounted": self.unaccounted,
            "results": {
                "stored": self.results_stored,
                "acked": self.results_acked,
                "pending": self.results_held,
                "dropped": self.lost(_RESULT),
                "unaccounted": self.results_unaccounted,
            },
            "dropped_by_reason": {
                f"{kind.name.lower()}.{reason.value}": count
                for (kind, reason), count in self.dropped.items()
                if count
            },
            "closes": self.closes,
        }


def weigh(books: Books, stats: BufferStats) -> Conservation:
    """Put the terms together.

    Args:
        books: What the journal says.
        stats: What the buffer says, of the same moment.
    """
    sums, writers = books.sums, books.writers.values()
    told: Counter[str] = Counter(sums.lost)
    for account in writers:
        told.update(account.lost)
    imported = sums.unnamed + sums.imported + sum(account.imported for account in writers)
    gaps = sums.missing + sum(account.gap for account in writers)
    given_up = sums.missing + sum(min(account.missing, account.gap) for account in writers)
    damaged = max(sums.unnamed_damage, given_up)
    known = sums.unnamed + sums.captured + sum(account.known for account in writers)
    # Damage that no gap shows hit the last record of its writer, which is a number more.
    captured = known + max(0, damaged - gaps) + sums.adopted
    return Conservation(
        captured=captured,
        journaled=captured - sum(told.values()),
        imported=imported,
        adopted=sums.adopted,
        told_twice=sums.told_twice,
        acked=stats.acked.get(_EVENT, 0),
        held=stats.held.get(_EVENT, 0),
        late=max(0, gaps - damaged),
        dropped=_all_losses(stats.dropped, told, damaged),
        results_stored=stats.stored.get(_RESULT, 0),
        results_acked=stats.acked.get(_RESULT, 0),
        results_held=stats.held.get(_RESULT, 0),
    )


def _all_losses(
    in_buffer: Mapping[tuple[EntryKind, DropReason], int], told: Mapping[str, int], damaged: int
) -> Losses:
    losses = dict(in_buffer)
    for reason, count in (*told.items(), (DropReason.JOURNAL_CORRUPT.value, damaged)):
        if count:
            key = (_EVENT, _reason(reason))
            losses[key] = losses.get(key, 0) + count
    return losses


def _reason(text: str) -> DropReason:
    try:
        return DropReason(text)
    except ValueError:
        return DropReason.UNENCODABLE  # a process of another version, with a reason of its own
