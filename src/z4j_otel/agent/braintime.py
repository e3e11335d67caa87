"""The brain's clock, as far as this machine can tell, for everything that is signed.

Theory of operation
    The brain refuses frames whose ``ts`` is more than 60 s off its own clock, and the agent
    refuses such frames of the brain (PROTOCOL §3.3). A machine whose clock is wrong by hours
    must still be heard, so the brain's clock is read at every connect: from ``hello_ack``,
    or from the HTTP ``Date`` of the upgrade where that tells no time. Half the way there and
    back is taken off.

    *Small differences* are left alone; from ten seconds on times on the wire are corrected.
    Events keep the times at which they were captured.

    *Steps.* From the connect on, time on the wire follows the monotonic clock. When NTP sets
    the wall clock in mid-session the signatures do not notice.

    *Trust.* ``hello_ack`` is not signed. Whoever replays an old session could set our clock
    back to it, and have old commands accepted. So while a correction is in force, commands
    wait until the brain has acknowledged a batch of this very connection, which takes the
    key (:class:`z4j_otel.agent.connection.BrainConnection`).
"""

from __future__ import annotations

import logging
from typing import Final

from z4j_otel.clock import Clock

__all__ = ["TOLERATED_S", "BrainTime"]

_logger = logging.getLogger(__name__)

_NS: Final = 1_000_000_000
TOLERATED_S: Final = 10.0
"""Far below the 60 s that the brain allows, far above what a slow answer can feign."""
_NEWS_S: Final = 60.0
_PLAUSIBLE_NS: Final = range(1_577_836_800 * _NS, 4_102_444_800 * _NS)
"""The years 2020 to 2099; no clock beyond them is believed."""


class BrainTime:
    """A clock that runs as the brain's; implements :class:`z4j_otel.clock.Clock`.

    Args:
        machine: This machine's clocks.
    """

    def __init__(self, machine: Clock) -> None:
        self.machine = machine
        """This machine's clocks, right or wrong."""
        self.is_corrected = False
        """Whether the two clocks differed so much at the last connect that it matters."""
        self._anchor_ns = 0
        self._anchor_s: float | None = None
        self._told_s = 0.0

    def now_ns(self) -> int:
        """The brain's wall clock, nanoseconds since the Unix epoch."""
        if self._anchor_s is None:
            return self.machine.now_ns()
        return self._anchor_ns + int((self.machine.monotonic_s() - self._anchor_s) * _NS)

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        return self.machine.monotonic_s()

    @property
    def offset_s(self) -> float:
        """How far this machine's wall clock is behind the brain's; negative when ahead.

        Includes steps of the wall clock since the last connect.
        """
        return (self.now_ns() - self.machine.now_ns()) / _NS

    def measure(self, brain_ns: int | None, *, asked_s: float) -> None:
        """Set the clock at a new connection.

        Args:
            brain_ns: The brain's wall clock; None when it does not tell.
            asked_s: When it was asked, on the monotonic clock. It is taken to have looked
                at its clock half-way between then and now.
        """
        self._anchor_s = self.machine.monotonic_s()
        self._anchor_ns = self.machine.now_ns()
        self.is_corrected = False
        if brain_ns is not None and brain_ns in _PLAUSIBLE_NS:
            there_ns = brain_ns + int((self._anchor_s - asked_s) / 2 * _NS)
            if abs(there_ns - self._anchor_ns) > TOLERATED_S * _NS:
                self._anchor_ns = there_ns
                self.is_corrected = True
        self.tell()

    def tell(self) -> None:
        """Say once in the log that the clocks differ, and once that they agree again."""
        offset_s = self.offset_s
        is_off = abs(offset_s) > TOLERATED_S
        is_known = bool(self._told_s) and abs(offset_s - self._told_s) < _NEWS_S
        if is_known if is_off else not self._told_s:
            return
        self._told_s = offset_s if is_off else 0.0
        if is_off:
            _logger.warning(
                "[z4j] this machine's clock is %s the brain's: signatures are corrected, times"
                " of events stay as they were captured; set the clock (NTP)",
                _in_words(offset_s),
                extra={"action": "clock_differs", "offset_s": round(offset_s)},
            )
        else:
            _logger.info(
                "[z4j] this machine's clock agrees with the brain's again",
                extra={"action": "clock_agrees"},
            )


def _in_words(offset_s: float) -> str:
    seconds = round(abs(offset_s))
    hours, minutes = divmod(seconds // 60, 60)
    size = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"
    return f"{size} {'behind' if offset_s > 0 else 'ahead of'}"
