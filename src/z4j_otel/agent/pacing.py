"""How much to send at a time, learned from how the brain takes it.

Theory of operation
    *Speed.* Batches are halved, down to 25, when acks take longer than five seconds, and
    doubled again, up to 200, when they do not. Larger batches cost latency and win nothing
    (seen in z4j 1.13). A brain that stops reading in the middle of a batch gets smaller
    ones, down to a single entry: its network may be slow.

    *Caution.* When the brain ends a connection over what was sent, one batch at a time is
    sent from then on, a quarter of its size, until full batches are acked again
    (:mod:`z4j_otel.agent.quarantine`).
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pacing"]

_MAX_BATCH: Final = 200
_MIN_BATCH: Final = 25
_MAX_IN_FLIGHT: Final = 4
_SLOW_ACK_S: Final = 5.0


class Pacing:
    """The sizes that the uploader works with."""

    def __init__(self) -> None:
        self.batch_entries = _MAX_BATCH
        """Most entries in a batch at present."""
        self.window = _MAX_IN_FLIGHT
        """Most batches that may be out at a time."""

    @property
    def is_cautious(self) -> bool:
        """Whether the brain ended a connection over what was sent, not long ago."""
        return self.window == 1

    def acked(self, latency_s: float) -> None:
        """Learn from a batch that was settled ``latency_s`` after it was sent."""
        if latency_s > _SLOW_ACK_S:
            floor = min(_MIN_BATCH, self.batch_entries)
            self.batch_entries = max(floor, self.batch_entries // 2)
        elif self.batch_entries < _MAX_BATCH:
            self.batch_entries = min(_MAX_BATCH, self.batch_entries * 2)
        else:
            self.window = _MAX_IN_FLIGHT

    def did_not_fit(self, entries: int) -> None:
        """Learn that a batch of so many entries, at least 2, exceeds the largest frame."""
        self.batch_entries = max(1, entries // 2)

    def stalled(self) -> None:
        """Learn that the brain stopped reading while it was sent something."""
        self.batch_entries = max(1, self.batch_entries // 2)

    def suspected(self, entries: int) -> None:
        """Learn that the brain ended the connection while a batch of so many was out."""
        self.window = 1
        self.batch_entries = max(1, min(self.batch_entries, entries // 4))
