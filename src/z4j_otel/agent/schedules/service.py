"""The agent's part in schedules beside its commands: who mirrors them, and what changed.

Theory of operation
    Before each connection the process takes the seat of its deployment, if it is free
    (:mod:`z4j_otel.agent.schedules.ownership`). Only who has it offers the brain to mirror
    its schedules; the others say what they could do, and wait. Every two seconds the owner
    asks its schedulers whether anything has changed, and now and then, once a minute by
    default, it compares all of it; a waiting process looks whether the seat is free.

    The brain offers a stream at a connect only. Who gets the seat while it is connected
    therefore connects again; so does, with growing pauses, an owner whom the brain gave no
    stream: another machine has it, or had it a moment ago.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from z4j_otel.agent.pool import WorkerPool
from z4j_otel.agent.schedules.mirror import ScheduleMirror
from z4j_otel.agent.schedules.ownership import MirrorSeat
from z4j_otel.clock import Clock
from z4j_otel.commands import Action, Command
from z4j_otel.errors import CommandError

__all__ = ["FEATURE", "ScheduleService"]

_logger = logging.getLogger(__name__)

FEATURE: Final = "external_schedule_protocol_v1"
"""The runtime feature without which a session is offered no stream (PROTOCOL §2.5)."""
_LOOK_S: Final = 2.0
_FIRST_WAIT_S: Final = 10.0
_LONGEST_WAIT_S: Final = 300.0


class ScheduleService:
    """Keeps the brain's mirror up to date; used from the agent's event loop.

    Args:
        mirror: The streams.
        seat: Of the deployment.
        clock: Times what is waited for.
        reconnect: Has the agent connect again.
        is_taken: Tells whether a brain takes schedules over the present connection at all.
        random: A number in [0, 1): machines do not all connect at once.
        thorough_s: Time between comparisons of all schedules, seconds.
    """

    def __init__(
        self,
        mirror: ScheduleMirror,
        seat: MirrorSeat,
        clock: Clock,
        *,
        reconnect: Callable[[], None],
        is_taken: Callable[[], bool] = lambda: True,
        random: Callable[[], float],
        thorough_s: float = 60.0,
    ) -> None:
        self._mirror = mirror
        self._seat = seat
        self._clock = clock
        self._reconnect = reconnect
        self._is_taken = is_taken
        self._random = random
        self._thorough_s = thorough_s
        # One of its own: a database that hangs must not take the commands' threads.
        self._pool = WorkerPool(1, name="z4j-schedules")
        self._is_looking = False
        self._is_offered = False
        self._connected_s: float | None = None
        self._wait_s = _FIRST_WAIT_S
        self._thorough_due_s = 0.0
        self._problem = ""

    def connecting(self) -> list[str]:
        """Return the runtime features of the connection that is about to be opened."""
        self._mirror.fence()
        self._connected_s = None
        self._is_offered = self._seat.take()
        return [FEATURE] if self._is_offered else []

    def connected(self, is_connected: bool) -> None:
        """Take note that the connection works, or has ended."""
        self._connected_s = self._clock.monotonic_s() if is_connected else None
        if not is_connected:
            self._mirror.fence()

    def received(self, command: Command) -> None:
        """Take note of a command in the order of its connection."""
        if command.action == Action.SCHEDULE_ACTIVATE.value:
            self._mirror.offer(command.parameters)

    def describe(self) -> dict[str, Any]:
        """Return the state for status displays."""
        return {"is_owner": self._seat.is_held, "streams": self._mirror.describe()}

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.tick()

    def tick(self) -> None:
        """Do what is due; returns at once."""
        if self._connected_s is None or not self._is_taken() or not self._seat.take():
            return
        if not self._is_offered:
            self._connect_again("the process that mirrored the schedules has gone")
        elif self._is_idle():
            self._connect_again("the brain has not asked for the schedules")
            self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        elif self._is_mirroring() and not self._is_looking:
            self._is_looking = True
            loop = asyncio.get_running_loop()
            self._pool.submit(lambda: self._look(loop))

    def close(self) -> None:
        """Let another process mirror the schedules; the connection has ended."""
        self._seat.leave()
        self._pool.close()

    def _is_idle(self) -> bool:
        """Whether a stream was offered and not taken for so long that it is worth a new try."""
        assert self._connected_s is not None
        if self._is_mirroring():
            self._wait_s = _FIRST_WAIT_S
            return False
        waited_s = self._clock.monotonic_s() - self._connected_s
        return waited_s >= self._wait_s * (1 + 0.3 * self._random())

    def _is_mirroring(self) -> bool:
        return any(self._mirror.is_active(owner) for owner in self._mirror.owners)

    def _connect_again(self, why: str) -> None:
        _logger.debug("connecting again: %s", why)
        self._connected_s = None
        self._reconnect()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run on a thread of the pool."""
        now_s = self._clock.monotonic_s()
        is_thorough = now_s >= self._thorough_due_s
        if is_thorough:
            self._thorough_due_s = now_s + self._thorough_s
        problem = ""
        for owner in self._mirror.owners:
            try:
                self._mirror.look(owner, is_thorough=is_thorough)
            except CommandError as error:
                problem = f"{owner}: {error.message}"
            except Exception as error:  # noqa: BLE001 -- the rim: a scheduler is the application's
                problem = f"{owner}: {type(error).__name__}"
        try:
            loop.call_soon_threadsafe(self._looked, problem)
        except RuntimeError:
            _logger.debug("the agent has ended while its schedules were read")

    def _looked(self, problem: str) -> None:
        self._is_looking = False
        is_news, self._problem = problem != self._problem, problem
        if problem and is_news:
            _logger.warning(
                "[z4j] the schedules cannot be read (%s); the brain keeps what it has",
                problem,
                extra={"action": "schedules_unreadable"},
            )
