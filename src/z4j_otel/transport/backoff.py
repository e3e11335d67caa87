"""How long to wait before the next attempt, by the kind of failure.

Theory of operation
    Every failure has a class, and every class its first delay, its floor and its cap
    (PROTOCOL §1.7, with classes of their own for the two conditions that only show after
    ``hello_ack``). The delay doubles with every failure of its class in a row,
    and 0-30 % of random time is added so that a fleet does not return in step. The row ends
    when the caller reports success, which it does only after a stable session: a handshake
    alone proves neither the signature nor the slot.

    Two processes with one worker id evict each other in turn, and each of them has a stable
    session until the other comes back. So a row of evictions only ends with a session that
    has lasted twice as long as its predecessor had to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from z4j_otel.transport.close_codes import FailureClass

__all__ = ["DELAYS", "Backoff", "Delays"]

_JITTER: Final = 0.3
_MAX_DOUBLINGS: Final = 32


@dataclass(frozen=True, slots=True)
class Delays:
    """The pauses of one class, seconds, before jitter."""

    first_s: float
    cap_s: float


DELAYS: Final = {
    FailureClass.CONNECTION: Delays(1.0, 30.0),
    FailureClass.PROTOCOL: Delays(1.0, 60.0),
    FailureClass.AUTH: Delays(10.0, 600.0),
    FailureClass.INCOMPATIBLE: Delays(120.0, 3600.0),
    FailureClass.CAPACITY: Delays(60.0, 600.0),
    FailureClass.SLOT: Delays(30.0, 600.0),
}
"""The pauses by class."""


class Backoff:
    """The delays between attempts of one agent.

    Args:
        random: Returns a number in [0, 1); decides the jitter.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._in_a_row: dict[FailureClass, int] = {}
        self._evictions = 0
        self._evicted_for_s = 0.0

    @property
    def streaks(self) -> dict[FailureClass, int]:
        """Failures in a row by class, since the last success."""
        return dict(self._in_a_row)

    def failed(
        self, failure: FailureClass, *, lasted_s: float = 0.0, at_least_s: float = 0.0
    ) -> float:
        """Count a failure and return how long to wait now, seconds.

        A class starts at its own first delay: a long network outage does not make the
        first refused token wait for minutes.

        Args:
            failure: What kind of thing went wrong.
            lasted_s: How long the connection had lasted.
            at_least_s: How long the server asked us to stay away.
        """
        count = self._in_a_row.get(failure, 0)
        self._in_a_row[failure] = count + 1
        if failure is FailureClass.SLOT:
            count = self._count_eviction(lasted_s)
        delays = DELAYS[failure]
        delay_s = min(delays.first_s * 2.0 ** min(count, _MAX_DOUBLINGS), delays.cap_s)
        delay_s = max(delay_s, at_least_s) * (1.0 + _JITTER * self._random())
        if failure is FailureClass.SLOT:
            self._evicted_for_s = delay_s
        return delay_s

    def succeeded(self) -> None:
        """End the row of failures; call it after a stable session only."""
        self._in_a_row.clear()

    def _count_eviction(self, lasted_s: float) -> int:
        """Return how many evictions came before this one in the same duel."""
        if lasted_s > 2 * self._evicted_for_s:
            self._evictions = 0
        self._evictions += 1
        return self._evictions - 1
