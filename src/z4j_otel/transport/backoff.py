"""How long to wait before the next attempt, by the kind of failure.

Theory of operation
    Every failure has a class, and every class its first delay, its floor and its cap
    (PROTOCOL §1.7, with classes of their own for the two conditions that only show after
    ``hello_ack``). The delay doubles with every failure of its class in a row,
    and 0-30 % of random time is added so that a fleet does not return in step. The row ends
    when the caller reports success, which it does only after a stable session: a handshake
    alone proves neither the signature nor the slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["Backoff", "FailureClass", "classify_close"]

_JITTER: Final = 0.3
_MAX_DOUBLINGS: Final = 32


class FailureClass(str, Enum):
    """What kind of thing went wrong, as far as waiting is concerned."""

    CONNECTION = "connection"
    """The network, or a brain that restarts."""
    PROTOCOL = "protocol"
    """One side sent what the other does not take."""
    AUTH = "auth"
    """Token, secret, clock or address are not accepted."""
    INCOMPATIBLE = "incompatible"
    """The two sides speak different versions."""
    CAPACITY = "capacity"
    """The brain has too many connections (4429)."""
    SLOT = "slot"
    """Another connection took this worker's place (4002)."""


@dataclass(frozen=True, slots=True)
class _Delays:
    first_s: float
    cap_s: float


_DELAYS: Final = {
    FailureClass.CONNECTION: _Delays(1.0, 30.0),
    FailureClass.PROTOCOL: _Delays(1.0, 60.0),
    FailureClass.AUTH: _Delays(10.0, 600.0),
    FailureClass.INCOMPATIBLE: _Delays(120.0, 3600.0),
    FailureClass.CAPACITY: _Delays(60.0, 600.0),
    FailureClass.SLOT: _Delays(30.0, 600.0),
}

_BY_CODE: Final = {
    1009: FailureClass.PROTOCOL,
    4002: FailureClass.SLOT,
    4003: FailureClass.AUTH,
    4400: FailureClass.PROTOCOL,
    4401: FailureClass.AUTH,
    4403: FailureClass.AUTH,
    4426: FailureClass.INCOMPATIBLE,
    4427: FailureClass.INCOMPATIBLE,
    4429: FailureClass.CAPACITY,
}


def classify_close(code: int, *, established: bool) -> FailureClass:
    """Say what a close code means for the next attempt.

    Args:
        code: WebSocket close code of the peer; 1006 when there was none.
        established: Whether ``hello_ack`` had arrived before.
    """
    if code == 1002 or (code == 1011 and not established):  # noqa: PLR2004 -- RFC 6455 codes
        return FailureClass.PROTOCOL
    return _BY_CODE.get(code, FailureClass.CONNECTION)


class Backoff:
    """The delays between attempts of one agent.

    Args:
        random: Returns a number in [0, 1); decides the jitter.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._in_a_row: dict[FailureClass, int] = {}

    @property
    def streaks(self) -> dict[FailureClass, int]:
        """Failures in a row by class, since the last success."""
        return dict(self._in_a_row)

    def failed(self, failure: FailureClass) -> float:
        """Count a failure and return how long to wait now, seconds.

        A class starts at its own first delay: a long network outage does not make the
        first refused token wait for minutes.
        """
        count = self._in_a_row.get(failure, 0)
        self._in_a_row[failure] = count + 1
        delays = _DELAYS[failure]
        delay_s = min(delays.first_s * 2.0 ** min(count, _MAX_DOUBLINGS), delays.cap_s)
        return delay_s * (1.0 + _JITTER * self._random())

    def succeeded(self) -> None:
        """End the row of failures; call it after a stable session only."""
        self._in_a_row.clear()
