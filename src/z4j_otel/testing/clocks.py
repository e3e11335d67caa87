"""A clock that moves only when told."""

from __future__ import annotations

from typing import Final

__all__ = ["ManualClock"]

_NS: Final = 1_000_000_000
_START_NS: Final = 1_767_323_045_000_000_000


class ManualClock:
    """Implements :class:`z4j_otel.clock.Clock` by hand."""

    def __init__(self, now_ns: int = _START_NS) -> None:
        """Start at ``now_ns``, by default 2026-01-02T03:04:05Z."""
        self._now_ns = now_ns
        self._monotonic_s = 0.0

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch."""
        return self._now_ns

    def monotonic_s(self) -> float:
        """Seconds since the clock was made, steps of the wall clock not counted."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError("time does not go back; see step")
        self._now_ns += int(seconds * _NS)
        self._monotonic_s += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or an operator does."""
        self._now_ns += int(seconds * _NS)
