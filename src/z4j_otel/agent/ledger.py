"""What became of every record and result in this life of the agent, as counts.

What was lost is counted where it was lost: by the buffer, behind the journal, in its own
persistent totals. The ledger takes these over, adds what passed, and prints the report
that the brain is given (PROTOCOL §4.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.wire.frames import TelemetryLoss

__all__ = ["Ledger"]

_MAX_ADAPTERS: Final = 32
"""PROTOCOL §4.4: more names close the connection."""
_MAX_COUNT: Final = 2**53 - 1

_CAPACITY: Final = frozenset({DropReason.BUFFER_FULL, DropReason.JOURNAL_FULL})
_CONTENT: Final = frozenset({DropReason.TOO_LARGE, DropReason.REJECTED})


class Ledger:
    """Counters of one life of one agent; they only grow.

    Touched by the agent's thread; the plain counters may be read from any other.

    Args:
        buffer_id: Name of the buffer's file or life, 1 to 64 characters.
        runtime_id: Name of this life of this process, 1 to 64 characters.
    """

    def __init__(self, *, buffer_id: str, runtime_id: str) -> None:
        self._buffer_id = buffer_id[:64]
        self._runtime_id = runtime_id[:64]
        self.imported = 0
        """Journal records taken into the buffer."""
        self.told_twice = 0
        """Of these, records that told what another one had told; never sent."""
        self.unreadable = 0
        """Journal records that were damaged, as far as they can be counted."""
        self.sent = 0
        """Events put into a frame, once per connection they were sent on."""
        self.resent = 0
        """Events sent again on the same connection, for want of an ack."""
        self.acked = 0
        """Events whose batch the brain has settled."""
        self.rejected = 0
        """Events the brain did not store anew, duplicates included; no loss."""
        self.results_sent = 0
        """Command results sent, repeats included."""
        self.frames_refused = 0
        """Frames of the brain that failed our checks."""
        self.losses: Mapping[tuple[EntryKind, DropReason], int] = {}
        """The buffer's totals of what was lost, by kind and reason."""
        self._lost_by_engine: Counter[str] = Counter()

    def lost_at_capture(self, engine: str, count: int = 1) -> None:
        """Name the engine of records that never reached the buffer.

        They are expected in :attr:`losses` too; here they only get their engine's name.
        """
        self._lost_by_engine[engine] += count

    def dropped_total(self) -> int:
        """Return how many entries and records were lost, for all reasons."""
        return sum(self.losses.values())

    def telemetry_loss(self, engines: Iterable[str] = ()) -> TelemetryLoss:
        """Build the loss report of heartbeats and status frames.

        Args:
            engines: Names to list even when nothing was lost of them.
        """
        by_engine = {**dict.fromkeys(engines, 0), **self._lost_by_engine}
        capacity = self._lost(reasons=_CAPACITY)
        content = self._lost(reasons=_CONTENT)
        return TelemetryLoss(
            buffer_id=self._buffer_id,
            runtime_id=self._runtime_id,
            capacity_evicted_frames=capacity,
            content_rejected_frames=content,
            event_records=self._lost(kind=EntryKind.EVENT),
            command_results=self._lost(kind=EntryKind.COMMAND_RESULT),
            unclassified_frames=self._lost() - capacity - content,
            adapter_events=dict(list(by_engine.items())[:_MAX_ADAPTERS]),
        )

    def _lost(
        self, *, kind: EntryKind | None = None, reasons: frozenset[DropReason] | None = None
    ) -> int:
        count = sum(
            number
            for (its_kind, reason), number in self.losses.items()
            if (kind is None or its_kind is kind) and (reasons is None or reason in reasons)
        )
        return min(count, _MAX_COUNT)

    def snapshot(self) -> dict[str, Any]:
        """Return all counters by name, for status displays."""
        return {
            "imported": self.imported,
            "told_twice": self.told_twice,
            "unreadable": self.unreadable,
            "sent": self.sent,
            "resent": self.resent,
            "acked": self.acked,
            "rejected": self.rejected,
            "results_sent": self.results_sent,
            "frames_refused": self.frames_refused,
            "dropped": {
                f"{kind.name.lower()}.{reason.value}": number
                for (kind, reason), number in self.losses.items()
                if number
            },
        }
