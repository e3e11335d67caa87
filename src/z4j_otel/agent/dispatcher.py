"""Takes commands off the receive loop and answers each exactly once.

Theory of operation
    *Identity.* Two deliveries are the same work when they carry the same ``fire_id``, or
    else the same command id. While the work runs, further deliveries are absorbed. When it
    has been done, in this life of the agent or an earlier one, they get the result that the
    buffer remembers. When it was begun in an earlier life and has no result, the outcome is
    unknown: actions that may be repeated are, others are answered as ``indeterminate``.

    *Deadlines.* A command has ``timeout_s`` from its arrival. When they pass, it is answered
    as timed out; if it was running, its outcome is ``indeterminate`` and its thread counts
    as stuck; if it was still waiting, it never runs. What a late thread returns is dropped:
    the brain keeps the first result.

    *Threads.* ``submit``, deadlines and completions run on the event loop; only the runner
    runs elsewhere. So there are no locks, and the buffer is used by one thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from z4j_otel.agent.execution import failed
from z4j_otel.agent.results import command_key, decode_result, encode_result, readdress
from z4j_otel.agent.waiting import wait_set
from z4j_otel.clock import Clock
from z4j_otel.commands import Action, Command, CommandResult
from z4j_otel.errors import (
    BufferError_,
    CommandError,
    CommandRefused,
    CommandTimedOut,
    FrameMalformed,
)

__all__ = ["Dispatcher", "Pool", "ResultMemory"]

_logger = logging.getLogger(__name__)

_REPEATABLE: Final = frozenset({Action.CANCEL_TASK.value, Action.RECONCILE_TASK.value})
_MIN_TIMEOUT_S: Final = 1.0
_MAX_TIMEOUT_S: Final = 3600.0


class ResultMemory(Protocol):
    """What the dispatcher needs of the buffer."""

    def begin_command(self, command_key: str, now_ns: int) -> bool:
        """Note that a command is about to run; False when it was begun before."""
        ...

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a result for redeliveries."""
        ...

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept, or None."""
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
    deadline: asyncio.TimerHandle | None = None
    start: threading.Lock = field(default_factory=threading.Lock)
    """Whoever takes it first decides: the thread runs the command, or nobody ever does."""
    is_answered: bool = False


class Dispatcher:
    """Runs commands beside the event loop.

    Args:
        run: Carries a command out, blocking; called on the pool's threads.
        pool: Where.
        memory: Remembers results across restarts.
        result_sink: Takes the body of each answer, see :mod:`z4j_otel.agent.results`.
        clock: For the memory's times.
        loop: The event loop that all methods are called on.
    """

    def __init__(
        self,
        run: Callable[[Command], CommandResult],
        *,
        pool: Pool,
        memory: ResultMemory,
        result_sink: Callable[[bytes], None],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._run = run
        self._pool = pool
        self._memory = memory
        self._result_sink = result_sink
        self._clock = clock
        self._loop = loop
        self._held: dict[str, _Held] = {}
        self._drained = asyncio.Event()
        self._is_closed = False

    @property
    def held_commands(self) -> int:
        """How many commands have not been answered yet."""
        return len(self._held)

    def submit(self, command: Command) -> None:
        """Take a command; returns at once. Its answer comes through ``result_sink``."""
        held = _Held(command, command_key(command))
        if held.key in self._held:
            _logger.debug("command %s is running already", command.id)
            return
        if self._is_closed:
            self._result_sink(_refusal(command))
            return
        if self._answer_from_memory(held):
            return
        self._held[held.key] = held
        timeout_s = min(max(command.timeout_s, _MIN_TIMEOUT_S), _MAX_TIMEOUT_S)
        held.deadline = self._loop.call_later(timeout_s, self._expire, held, timeout_s)
        self._pool.submit(lambda: self._work(held))

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

    def _answer_from_memory(self, held: _Held) -> bool:
        """Answer work that was done or begun before; False when it is to be run."""
        try:
            known = self._memory.recall_result(held.key)
            if known is not None and self._is_final(held, known):
                self._result_sink(readdress(known, held.command))
                return True
            is_new = self._memory.begin_command(held.key, self._clock.now_ns())
        except (BufferError_, FrameMalformed, KeyError) as error:
            # Better a command run twice than none at all while the disk is in trouble.
            _logger.warning("no memory of earlier commands: %s", type(error).__name__)
            return False
        if is_new or known is not None or held.command.action in _REPEATABLE:
            return False
        text = "begun before the agent was restarted; its outcome is unknown"
        result = failed(CommandError(text, indeterminate=True), held.command)
        self._finish(held, result)
        return True

    @staticmethod
    def _is_final(held: _Held, known: bytes) -> bool:
        # A firing that failed may be fired again, under another command.
        result = decode_result(known)
        return result.is_success or result.command_id == held.command.id

    def _work(self, held: _Held) -> None:
        """Run on a thread of the pool."""
        if not held.start.acquire(blocking=False):
            return
        result: CommandResult | None = None
        try:
            result = self._run(held.command)
        finally:
            if result is None:
                text = "the command's thread was ended"
                result = failed(CommandError(text, indeterminate=True), held.command)
            self._post(held, result)

    def _post(self, held: _Held, result: CommandResult) -> None:
        try:
            self._loop.call_soon_threadsafe(self._finish, held, result)
        except RuntimeError:
            # The loop has ended; drain() has answered.
            _logger.debug("command %s ended after the agent", held.command.id)

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
        self._remember(held.key, body)
        self._held.pop(held.key, None)
        if not self._held:
            self._drained.set()

    def _remember(self, key: str, body: bytes) -> None:
        try:
            self._memory.remember_result(key, body, now_ns=self._clock.now_ns())
        except BufferError_ as error:
            _logger.warning("a command's result is not remembered: %s", type(error).__name__)


def _refusal(command: Command) -> bytes:
    return encode_result(command, failed(CommandRefused("the agent is stopping"), command))
