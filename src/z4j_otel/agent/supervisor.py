"""Keeps a connection to the brain: one after the other, with the right pauses.

Every change of state is told once: a new kind of failure as a WARNING with what to do
next, its repetitions at DEBUG, the recovery as INFO.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any

from z4j_otel.agent.connection import BrainConnection, Ended
from z4j_otel.agent.diagnosis import Failure, diagnose
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.waiting import wait_set
from z4j_otel.errors import RemoteWireError
from z4j_otel.transport.backoff import Backoff, FailureClass

__all__ = ["LinkState", "Supervisor"]

_logger = logging.getLogger(__name__)


class LinkState(str, Enum):
    """Where the agent stands with its brain."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    """Opening, or not yet proven."""
    CONNECTED = "connected"
    """The brain takes our frames."""
    WAITING = "waiting"
    """After a failure, before the next attempt."""


class Supervisor:
    """Opens connections until it is cancelled.

    Args:
        open_connection: Makes the next connection; it is given the two callbacks
            ``on_proven`` and ``on_stable``.
        backoff: Says how long to wait.
        ledger: Told of refused frames.
        on_state: Told whether the agent is connected, at every change.
    """

    def __init__(
        self,
        open_connection: Callable[[Callable[[], None], Callable[[], None]], BrainConnection],
        *,
        backoff: Backoff,
        ledger: Ledger,
        on_state: Callable[[bool], None],
    ) -> None:
        self.state = LinkState.STOPPED
        self.connection: BrainConnection | None = None
        """The current connection, from its opening to its end."""
        self._open_connection = open_connection
        self._backoff = backoff
        self._ledger = ledger
        self._on_state = on_state
        self._failure: Failure | None = None
        self._was_connected = False
        self._hurry = asyncio.Event()

    @property
    def streaks(self) -> dict[str, int]:
        """Failures in a row by class name, since the last stable connection."""
        return {kind.value: count for kind, count in self._backoff.streaks.items()}

    def describe(self) -> dict[str, Any]:
        """Return the state for status displays."""
        failure = self._failure
        connection = self.connection
        established = connection is not None and connection.phase.established
        return {
            "state": self.state.value,
            "problem": failure.text if failure else None,
            "failures_in_a_row": self.streaks,
            "brain_version": connection.session.brain_version
            if connection is not None and established
            else None,
        }

    def wake(self) -> None:
        """Tell that there may be something to send."""
        if self.connection is not None:
            self.connection.wake()

    def retry_now(self) -> None:
        """Cut short a pause that is due to the network only."""
        self._hurry.set()

    async def run(self) -> None:
        """Keep connecting until cancelled; then the connection is closed with 1000."""
        try:
            while True:
                failure = await self._one_connection()
                delay_s = self._backoff.failed(failure.kind)
                self._tell(failure, delay_s)
                await self._pause(failure, delay_s)
        finally:
            self._change(LinkState.STOPPED)
            self.connection = None

    async def _one_connection(self) -> Failure:
        self._change(LinkState.CONNECTING)
        self.connection = self._open_connection(self._proven, self._backoff.succeeded)
        ended = await self.connection.run()
        self._change(LinkState.WAITING)
        return self._judge(ended)

    def _judge(self, ended: Ended) -> Failure:
        if isinstance(ended.error, RemoteWireError):
            self._ledger.frames_refused += 1
        failure = diagnose(ended.error, ended.phase)
        if failure.key.startswith("internal:"):
            _logger.debug("a connection was given up", exc_info=ended.error)
        return failure

    async def _pause(self, failure: Failure, delay_s: float) -> None:
        if failure.kind is not FailureClass.CONNECTION:
            await asyncio.sleep(delay_s)
            return
        self._hurry.clear()
        await wait_set(self._hurry, delay_s)

    def _proven(self) -> None:
        if self._failure is not None or not self._was_connected:
            again = " again" if self._was_connected else ""
            _logger.info("[z4j] connected to the brain%s", again, extra={"action": "connected"})
        self._was_connected = True
        self._failure = None
        self._change(LinkState.CONNECTED)

    def _tell(self, failure: Failure, delay_s: float) -> None:
        known = self._failure
        self._failure = failure
        is_news = known is None or known.key != failure.key
        level = logging.WARNING if is_news else logging.DEBUG
        _logger.log(
            level,
            "[z4j] not connected to the brain: %s; next attempt in %.0f s",
            failure.text,
            delay_s,
            extra={"action": "disconnected", "failure": failure.key},
        )

    def _change(self, state: LinkState) -> None:
        was, self.state = self.state, state
        if (was is LinkState.CONNECTED) != (state is LinkState.CONNECTED):
            self._on_state(state is LinkState.CONNECTED)
