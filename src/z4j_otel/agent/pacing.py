"""How much to send at a time, learned from how the brain takes it.

Theory of operation
    *Speed.* Batches are halved, down to 25, when acks take longer than five seconds, and
    doubled again, up to 200, when they do not. Larger batches cost latency and win nothing
    (seen in z4j 1.13).

    *Trust.* When the brain ends a connection over what we sent, the oldest batch that was
    out is suspected: one batch at a time is sent from then on, a quarter of its size, until
    one entry stands alone. It is guilty when the brain has ended three connections over it
    on which it had accepted something else; a brain that ends every connection accuses
    nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["Pacing"]

_MAX_BATCH: Final = 200
_MIN_BATCH: Final = 25
_MAX_IN_FLIGHT: Final = 4
_SLOW_ACK_S: Final = 5.0
_PATIENCE: Final = 3


class Pacing:
    """The sizes that the uploader works with."""

    def __init__(self) -> None:
        self.batch_entries = _MAX_BATCH
        """Most entries in a batch at present."""
        self.window = _MAX_IN_FLIGHT
        """Most batches that may be out at a time."""
        self._suspect = -1
        self._offences = 0

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

    def blamed(self, sequences: Sequence[int], *, is_proven: bool) -> bool:
        """Learn that the brain ended the connection while this batch was the oldest out.

        Args:
            sequences: The entries of the batch, at least one.
            is_proven: Whether the brain had acked anything on that connection.

        Returns:
            Whether the batch's only entry is to be dropped.
        """
        self.window = 1
        if len(sequences) > 1:
            self.batch_entries = max(1, len(sequences) // 4)
            return False
        if sequences[0] != self._suspect:
            self._suspect, self._offences = sequences[0], 0
        self._offences += int(is_proven)
        return self._offences >= _PATIENCE
