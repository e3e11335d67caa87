"""Takes commands off the receive loop and answers each exactly once.

Theory of operation
    *Identity.* Two deliveries are the same work when they carry the same ``fire_id``, or
    else the same command id. While the work runs, further deliveries are absorbed. When it
    has been done or begun, in this life of the agent or an earlier one, they get the answer
    that :mod:`z4j_otel.agent.command_memory` has for them.

    *Deadlines.* A command has ``timeout_s`` from when the brain sent it; one that comes too
    late is refused, since the brain has given up on it. Shortly before they pass, it is answered
    as timed out; if it was running, its outcome is ``indeterminate`` and its thread counts
    as stuck; if it was still waiting, it never runs. What a late thread returns is dropped:
    the brain keeps the first result.

    *Lanes.* Commands on one scheduler run one after the other, in the order they came; the
    next begins when the thread of the last has come back, however late. All other commands
    run at once, as many as the pool has threads.

    *Threads.* ``submit``, deadlines and completions run on the event loop; only the runner
    runs elsewhere. So there are no locks, and the buffer is used by one thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from z4j_otel.agent.execution import failed
from z4j_otel.agent.lanes import Lanes
from z4j_otel.agent.results import encode_result
from z4j_otel.agent.waiting import wait_set
from z4j_otel.commands import Command, CommandResult, command_key
from z4j_otel.errors import CommandError, CommandRefused, CommandTimedOut

__all__ = ["Dispatcher", "Memory", "Pool"]

_logger = logging.getLogger(__name__)

_MIN_TIMEOUT_S: Final = 1.0
_MAX_TIMEOUT_S: Final = 3600.0
_AHEAD_S: Final = 2.0
"""How long before its deadline a command is given up: the brain takes no later answer."""
_AHEAD_SHARE: Final = 0.1
"""The most of the command's time that this may take."""
_MAX_HELD: Final = 1000
"""Twice as many as a brain offers at a connect (PROTOCOL §1.5)."""
_ONE_BY_ONE: Final = "schedule."
_BESIDE: Final = frozenset({"schedule.fire"})
"""Of the actions on schedules the one that changes none."""


class Memory(Protocol):
    """Which commands were done before; see :class:`z4j_otel.agent.command_memory.CommandMemory`."""

    def begin(self, command: Command) -> bytes | None:
        """Return the answer to what was done or begun before; else note that it begins."""
        ...

    def remember(self, key: str, body: bytes) -> None:
        """Keep an answer for redeliveries."""
        ...

    def answer_lost(self, running: Collection[str]) -> Iterator[bytes]:
        """Yield the answers to commands of earlier lives that have none."""
        ...

    def traces(self, command: Command) -> tuple[str, ...]:
        """Return the spans of the runs that a command is about."""
        ...


class Pool(Protocol):
    """Where commands run."""

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job elsewhere."""
        ...

    def replace_stuck(self) -> bool:
        """Make up for a thread that hangs."""
        ...


@dataclass(slots=True, eq=False)
class _Held:
    """A command between its arrival and its answer."""

    command: Command
    key: str
    lane: str
    """The scheduler whose commands run one after the other; empty for none."""
    deadline: asyncio.TimerHandle | None = None
    start: threading.Lock = field(default_factory=threading.Lock)
    """Whoever takes it first decides: the thread runs the command, or nobody ever does."""
    is_answered: bool = False


class Dispatcher:
    """Runs commands beside the event loop.

    Args:
        run: Carries a command out, blocking; called on the pool's threads.
        pool: Where.
        memory: Remembers commands across restarts.
        result_sink: Takes the body of each answer, see :mod:`z4j_otel.agent.results`.
        loop: The event loop that all methods are called on.
    """

    def __init__(
        self,
        run: Callable[[Command], CommandResult],
        *,
        pool: Pool,
        memory: Memory,
        result_sink: Callable[[bytes], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._run = run
        self._pool = pool
        self._memory = memory
        self._result_sink = result_sink
        self._loop = loop
        self._lanes = Lanes(pool)
        self._held: dict[str, _Held] = {}
        self._drained = asyncio.Event()
        self._is_closed = False

    @property
    def held_commands(self) -> int:
        """How many commands have not been answered yet."""
        return len(self._held)

    def submit(self, command: Command) -> None:
        """Take a command; returns at once. Its answer comes through ``result_sink``."""
        held = _Held(command, command_key(command), _lane_of(command))
        if held.key in self._held:
            _logger.debug("command %s is running already", command.id)
            return
        timeout_s = min(max(command.timeout_s, _MIN_TIMEOUT_S), _MAX_TIMEOUT_S)
        refusal = self._refusal(command, timeout_s)
        answer = refusal or self._memory.begin(command)
        if answer is not None:
            self._result_sink(answer)
            return
        held.command = replace(command, traces=self._memory.traces(command))
        self._held[held.key] = held
        ours_s = timeout_s - min(_AHEAD_S, timeout_s * _AHEAD_SHARE)
        left_s = max(ours_s - command.age_s, _MIN_TIMEOUT_S * _AHEAD_SHARE)
        held.deadline = self._loop.call_later(left_s, self._expire, held, ours_s)
        self._lanes.enter(held.lane, lambda: self._work(held))

    def answer_lost(self) -> None:
        """Answer the commands that an earlier life of the agent began and did not end."""
        for body in self._memory.answer_lost(self._held.keys()):
            self._result_sink(body)

    async def drain(self, timeout_s: float) -> int:
        """Refuse new commands, wait for the running ones, answer what is left.

        Returns:
            How many had to be answered without having ended.
        """
        self._is_closed = True
        if self._held:
            self._drained.clear()
            await wait_set(self._drained, timeout_s)
        left = list(self._held.values())
        for held in left:
            self._give_up(held, "the agent stopped before the command ended")
        return len(left)

    def _refusal(self, command: Command, timeout_s: float) -> bytes | None:
        """Return the answer to a command that is not even looked at."""
        error: CommandError | None = None
        if self._is_closed:
            error = CommandRefused("the agent is stopping; send the command again")
        elif command.age_s >= timeout_s:
            text = f"it came {command.age_s:.0f} s after it was sent, and was not started"
            error = CommandTimedOut(text)
        elif len(self._held) >= _MAX_HELD:
            error = CommandRefused(f"{_MAX_HELD} commands wait here already; send it later")
        return None if error is None else encode_result(command, failed(error, command))

    def _work(self, held: _Held) -> None:
        """Run on a thread of the pool."""
        if not held.start.acquire(blocking=False):
            self._post(held, None)
            return
        result: CommandResult | None = None
        try:
            result = self._run(held.command)
        finally:
            if result is None:
                text = "the command's thread was ended"
                result = failed(CommandError(text, indeterminate=True), held.command)
            self._post(held, result)

    def _post(self, held: _Held, result: CommandResult | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._come_back, held, result)
        except RuntimeError:
            # The loop has ended; drain() has answered.
            _logger.debug("command %s ended after the agent", held.command.id)

    def _come_back(self, held: _Held, result: CommandResult | None) -> None:
        """Take a thread's result, None when it had nothing to do any more."""
        self._lanes.leave(held.lane)
        if result is not None:
            self._finish(held, result)

    def _expire(self, held: _Held, timeout_s: float) -> None:
        was_running = self._give_up(held, f"it did not end within {timeout_s:g} s")
        if was_running and not self._pool.replace_stuck():
            _logger.error(
                "too many commands hang; no more are carried out until one ends",
                extra={"action": "commands_stuck"},
            )

    def _give_up(self, held: _Held, text: str) -> bool:
        """Answer for a command that has not ended; tell whether it was running."""
        was_running = not held.start.acquire(blocking=False)
        if not was_running:
            text += "; it had not been started"
        error = CommandTimedOut(text, indeterminate=was_running)
        self._finish(held, failed(error, held.command))
        return was_running

    def _finish(self, held: _Held, result: CommandResult) -> None:
        if held.is_answered:
            _logger.debug("command %s ended after it was answered", held.command.id)
            return
        held.is_answered = True
        if held.deadline is not None:
            held.deadline.cancel()
        body = encode_result(held.command, result)
        self._result_sink(body)
        self._memory.remember(held.key, body)
        self._held.pop(held.key, None)
        if not self._held:
            self._drained.set()


def _lane_of(command: Command) -> str:
    if not command.action.startswith(_ONE_BY_ONE) or command.action in _BESIDE:
        return ""
    name = command.parameters.get("scheduler") or command.target.scheduler
    return name if isinstance(name, str) and name else _ONE_BY_ONE
