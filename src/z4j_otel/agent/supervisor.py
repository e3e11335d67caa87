"""Keeps a connection to the brain: one after the other, with the right pauses.

What the log hears of it is decided in :mod:`z4j_otel.agent.news`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from z4j_otel.agent.connection import BrainConnection, Ended
from z4j_otel.agent.connection_failures import Failure, diagnose
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.news import News
from z4j_otel.agent.waiting import wait_set
from z4j_otel.errors import ConnectionSuperseded, RemoteWireError
from z4j_otel.transport.backoff import Backoff
from z4j_otel.transport.close_codes import FailureClass

__all__ = ["LinkState", "Supervisor"]

_logger = logging.getLogger(__name__)

_NS: Final = 1_000_000_000


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
        self._last_failure: tuple[Failure, float] | None = None
        self._next_attempt_s = 0.0
        self._news = News()
        self._hurry = asyncio.Event()

    @property
    def streaks(self) -> dict[str, int]:
        """Failures in a row by class name, since the last stable connection."""
        return {kind.value: count for kind, count in self._backoff.streaks.items()}

    def describe(self, now_ns: int) -> dict[str, Any]:
        """Return the state for status displays, at a time in nanoseconds since the epoch."""
        failure = self._failure
        connection = self.connection
        established = connection is not None and connection.phase.established
        return {
            "state": self.state.value,
            "problem": failure.text if failure else None,
            "last_error": self._last_error(),
            "connected_for_s": max(0, now_ns - connection.connected_at_ns) / _NS
            if connection is not None and self.state is LinkState.CONNECTED
            else None,
            "failures_in_a_row": self.streaks,
            "next_attempt_in_s": self._left_s(),
            "brain_version": connection.session.brain_version
            if connection is not None and established
            else None,
        }

    def _last_error(self) -> dict[str, Any] | None:
        if self._last_failure is None:
            return None
        failure, at_s = self._last_failure
        ago_s = max(0.0, asyncio.get_running_loop().time() - at_s)
        return {"text": failure.text, "kind": failure.kind.value, "ago_s": ago_s}

    def wake(self) -> None:
        """Tell that there may be something to send."""
        if self.connection is not None:
            self.connection.wake()

    def renew(self) -> None:
        """Replace the connection by a new one, without a pause; it may be in any state."""
        if self.connection is not None:
            self.connection.renew()

    def retry_now(self) -> None:
        """Cut short a pause that is due to the network only."""
        self._hurry.set()

    async def run(self) -> None:
        """Keep connecting until cancelled; then the connection is closed with 1000."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                opened_s = loop.time()
                failure = await self._one_connection()
                if failure is None:
                    continue
                delay_s = self._backoff.failed(
                    failure.kind,
                    lasted_s=loop.time() - opened_s,
                    at_least_s=failure.at_least_s,
                )
                self._next_attempt_s = loop.time() + delay_s
                self._failure = failure
                self._last_failure = (failure, loop.time())
                self._news.failed(failure, delay_s)
                await self._pause(failure, delay_s)
        finally:
            self._change(LinkState.STOPPED)
            self.connection = None

    async def _one_connection(self) -> Failure | None:
        """Return why the connection ended; None when the next one is open already."""
        self._change(LinkState.CONNECTING)
        self.connection = self._open_connection(self._proven, self._stable)
        ended = await self.connection.run()
        if isinstance(ended.error, ConnectionSuperseded):
            return None
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

    def _left_s(self) -> float | None:
        if self.state is not LinkState.WAITING:
            return None
        return max(0.0, self._next_attempt_s - asyncio.get_running_loop().time())

    def _proven(self) -> None:
        self._failure = None
        self._news.proven()
        self._change(LinkState.CONNECTED)

    def _stable(self) -> None:
        self._backoff.succeeded()
        self._news.stable()

    def _change(self, state: LinkState) -> None:
        was, self.state = self.state, state
        if (was is LinkState.CONNECTED) != (state is LinkState.CONNECTED):
            self._on_state(state is LinkState.CONNECTED)
