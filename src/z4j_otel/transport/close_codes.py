"""What a brain means by the code with which it closes a connection (PROTOCOL §1.6).

How long to wait then says ``backoff``; what to tell the operator, ``agent.connection_failures``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["FailureClass", "classify_close"]


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
