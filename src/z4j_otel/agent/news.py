"""What the log is told of the connection: every condition once, with what to do next.

Theory of operation
    A new kind of failure is a WARNING, its repetitions are at DEBUG, the recovery is INFO.
    A condition has ended when a connection was stable, not when one was merely accepted:
    some brains accept and refuse in turn. So a recovery is told at the first accepted frame,
    but after a connection that was told and did not last, only when the next one is stable.
"""

from __future__ import annotations

import logging

from z4j_otel.agent.connection_failures import Failure

__all__ = ["News"]

_logger = logging.getLogger(__name__)


class News:
    """Remembers what was told, so that nothing is told twice."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        """Failures told since the last stable connection."""
        self._says_connected = False
        """Whether the last line told was good."""
        self._was_connected = False
        self._is_unsteady = False
        """Whether a connection was told since the last stable one, and did not last."""
        self._is_stable = False

    def failed(self, failure: Failure, delay_s: float) -> None:
        """Tell a failure, unless it is known.

        Args:
            failure: Why there is no connection.
            delay_s: When the next attempt will be made, seconds from now.
        """
        said_connected, self._says_connected = self._says_connected, False
        self._is_unsteady |= said_connected and not self._is_stable
        self._is_stable = False
        is_news = said_connected or failure.key not in self._told
        self._told.add(failure.key)
        _logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "[z4j] not connected to the brain: %s; next attempt in %.0f s",
            failure.text,
            delay_s,
            extra={"action": "disconnected", "failure": failure.key},
        )

    def proven(self) -> None:
        """Tell that the brain takes our frames, unless such news did not last before."""
        if not self._is_unsteady:
            self._tell_connected()

    def stable(self) -> None:
        """Begin anew: what fails from here on is news."""
        self._told.clear()
        self._is_unsteady = False
        self._is_stable = True
        self._tell_connected()

    def _tell_connected(self) -> None:
        if self._says_connected:
            return
        self._says_connected = True
        again = " again" if self._was_connected else ""
        self._was_connected = True
        _logger.info("[z4j] connected to the brain%s", again, extra={"action": "connected"})
