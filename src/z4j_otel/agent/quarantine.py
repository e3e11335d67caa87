"""Finds the entry that makes the brain end connections, without losing an innocent one.

Theory of operation
    A brain ends a connection over a frame that it cannot digest (1009, 1011, 4400, or 4403
    after it had accepted others). The oldest batch that was out is suspected. From then on
    one batch is out at a time, after the brain has shown by an ack that it takes anything at
    all, and each blamed batch comes back a quarter of its size, until one entry stands alone.

    *Quarantine.* An entry that stood alone three times is put aside, so that the others can
    go on. It is found guilty, and rejected, when the brain accepts any of those: a brain
    that ends every connection accuses nobody. When a hundred entries are aside and none was
    accepted in between, all of them come back.

    *Reports.* When nothing was out that could be blamed, heartbeats and diagnostics are
    suspected: after two such ends in a row they say the least they can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["ACCUSING_CODES", "Quarantine"]

ACCUSING_CODES: Final = frozenset({1009, 1011, 4400, 4403})
"""Close codes by which a brain says that it did not like what it read."""

_PATIENCE: Final = 3
_MAX_ASIDE: Final = 100
_REPORT_PATIENCE: Final = 2


class Quarantine:
    """What is known of entries that may end connections; counts for one uploader."""

    def __init__(self) -> None:
        self._suspect = -1
        self._offences = 0
        self._aside: list[int] = []
        self._report_offences = 0

    @property
    def distrusts_reports(self) -> bool:
        """Whether heartbeats should say the least they can."""
        return self._report_offences >= _REPORT_PATIENCE

    @property
    def aside(self) -> int:
        """How many entries are put aside."""
        return len(self._aside)

    def blame(self, sequences: Sequence[int], *, is_proven: bool) -> bool:
        """Learn that the brain ended the connection while this batch was the oldest out.

        Args:
            sequences: The entries of the batch; none when nothing was out.
            is_proven: Whether the brain had acked anything on that connection.

        Returns:
            Whether the batch's only entry is put aside now; it stays on lease.
        """
        if not sequences:
            self._report_offences += 1
            return False
        if len(sequences) > 1:
            return False
        if sequences[0] != self._suspect:
            self._suspect, self._offences = sequences[0], 0
        self._offences += int(is_proven)
        if self._offences < _PATIENCE:
            return False
        self._aside.append(sequences[0])
        return True

    def ended_otherwise(self) -> None:
        """Learn that a connection ended for a reason that accuses nobody."""
        self._report_offences = 0

    def accepted(self) -> list[int]:
        """Learn that a batch with entries was acked.

        Returns:
            The entries that are guilty by that.
        """
        guilty, self._aside = self._aside, []
        return guilty

    def pardon(self) -> list[int]:
        """Return the entries to release, when so many are aside that the brain is to blame."""
        if len(self._aside) < _MAX_ASIDE:
            return []
        pardoned, self._aside = self._aside, []
        self._suspect = -1
        return pardoned
