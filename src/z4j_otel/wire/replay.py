"""Freshness of the peer's frames: time, sequence number and nonce (PROTOCOL §3.3).

Theory of operation
-------------------
One guard per direction of one session. A frame is fresh when its ``ts`` lies within 60
seconds of our clock, its ``seq`` is greater than every one accepted before (gaps are
allowed), and its ``nonce`` was not seen within the last 180 seconds. The checks run in
this order, after the signature; state changes only when all of them hold, so a refused
frame cannot push a good one out.
"""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.clock import parse_iso_ns
from z4j_otel.errors import FrameReplayed

__all__ = ["MAX_SKEW_NS", "NONCE_WINDOW_NS", "ReplayGuard"]

MAX_SKEW_NS: Final = 60_000_000_000
"""Largest difference between the two clocks, nanoseconds, inclusive."""
NONCE_WINDOW_NS: Final = 180_000_000_000
"""How long a nonce is remembered, nanoseconds."""
_MAX_NONCES: Final = 4096


class ReplayGuard:
    """The memory of one direction of one session."""

    def __init__(self) -> None:
        self._last_seq = 0
        # In order of acceptance, so that the oldest comes first.
        self._nonces: dict[str, int] = {}

    def admit(self, frame: dict[str, Any], *, now_ns: int) -> None:
        """Remember a frame whose signature holds, or refuse it and remember nothing.

        Args:
            frame: The parsed frame.
            now_ns: Current time, nanoseconds since the Unix epoch.

        Raises:
            FrameReplayed: ``ts``, ``seq`` or ``nonce`` is missing, malformed or not fresh.
        """
        _check_time(frame.get("ts"), now_ns)
        seq, nonce = frame.get("seq"), frame.get("nonce")
        # A bool passes, as it does at the brain.
        if not isinstance(seq, int) or seq <= self._last_seq:
            raise FrameReplayed("seq is not greater than the last")
        self._forget(now_ns)
        if not isinstance(nonce, str) or not nonce or nonce in self._nonces:
            raise FrameReplayed("nonce is missing or was used before")
        self._last_seq = seq
        self._nonces[nonce] = now_ns

    def _forget(self, now_ns: int) -> None:
        """Drop the nonces that are too old, and make room for one more."""
        nonces = self._nonces
        while nonces:
            oldest = next(iter(nonces))
            if nonces[oldest] >= now_ns - NONCE_WINDOW_NS and len(nonces) < _MAX_NONCES:
                return
            del nonces[oldest]


def _check_time(text: Any, now_ns: int) -> None:
    if not isinstance(text, str):
        raise FrameReplayed("ts is no text")
    try:
        at_ns = parse_iso_ns(text)
    except (ValueError, OverflowError):
        raise FrameReplayed("ts is no time with an offset") from None
    if abs(now_ns - at_ns) > MAX_SKEW_NS:
        raise FrameReplayed("ts differs from our clock by more than 60 s")
