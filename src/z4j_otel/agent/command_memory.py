"""What the buffer remembers of commands: which were done, which were begun, what they are about.

Theory of operation
    *Begin.* Before a command runs, the answer is stored that is true if nobody lives to give
    another one: its outcome is unknown. So a process can be killed at any moment and the
    command neither runs twice nor stays without an answer.

    *End.* The real answer takes its place. A redelivery gets it, also in another life of the
    agent: what a dead one remembered comes with the files that are adopted.

    *Lost.* A command that was begun in an earlier life and is not running is answered by
    itself, because the brain delivers most commands only once. A command that publishes a
    task does so under an id that follows from the command. Where the journals have seen a
    task of this id, the command was carried out, and so it is told.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Final, Protocol

import msgspec

from z4j_otel.agent.execution import failed
from z4j_otel.agent.results import (
    BEGUN_PREFIX,
    Begun,
    decode_begun,
    decode_result,
    encode_begun,
    encode_result,
    readdress,
    without_begun,
)
from z4j_otel.agent.story import decode_story, story_key
from z4j_otel.buffer.base import KnownCommand
from z4j_otel.clock import Clock
from z4j_otel.commands import Action, Command, CommandResult, CommandStatus, command_key
from z4j_otel.errors import BufferError_, CommandError, FrameMalformed
from z4j_otel.ids import CommandId

__all__ = ["CommandMemory", "ResultMemory"]

_logger = logging.getLogger(__name__)

_REPEATABLE: Final = frozenset({Action.CANCEL_TASK.value, Action.RECONCILE_TASK.value})
_UNKNOWN: Final = (
    "begun before the agent was restarted; its outcome is unknown: look at the engine before"
    " you repeat it"
)
_MOST_TRACES: Final = 32
_UNREADABLE: Final = (BufferError_, FrameMalformed, KeyError, TypeError)


class ResultMemory(Protocol):
    """What is needed of the buffer."""

    def begin_command(self, command_key: str, now_ns: int, *, answer: bytes | None = None) -> bool:
        """Note that a command is about to run; False when it was begun before."""
        ...

    def remember_result(self, command_key: str, result: bytes, *, now_ns: int) -> None:
        """Keep a result for redeliveries."""
        ...

    def recall_result(self, command_key: str) -> bytes | None:
        """Return the result kept, or None."""
        ...

    def commands(self, prefix: bytes = b"") -> list[KnownCommand]:
        """Return the commands whose answer begins with ``prefix``."""
        ...

    def recall_story(self, key: str) -> bytes | None:
        """Return what is known of a task, or None."""
        ...


class CommandMemory:
    """Remembers commands across the agent's lives; used by one thread.

    Args:
        buffer: Where.
        engines: The names of this agent's engines.
        clock: For the times of what is remembered.
    """

    def __init__(self, buffer: ResultMemory, engines: Collection[str], clock: Clock) -> None:
        self._buffer = buffer
        self._engines = engines
        self._clock = clock

    def begin(self, command: Command) -> bytes | None:
        """Return the answer to work that was done or begun before; None when it is to be run.

        Then it is noted as begun. A memory that cannot be read or written costs nothing but
        itself: better a command run twice than none at all while the disk is in trouble.
        """
        try:
            return self._begin(command, command_key(command))
        except _UNREADABLE as error:
            _logger.warning("no memory of earlier commands: %s", type(error).__name__)
            return None

    def remember(self, key: str, body: bytes) -> None:
        """Keep an answer for redeliveries."""
        try:
            self._buffer.remember_result(key, body, now_ns=self._clock.now_ns())
        except BufferError_ as error:
            _logger.warning("a command's result is not remembered: %s", type(error).__name__)

    def answer_lost(self, running: Collection[str]) -> Iterator[bytes]:
        """Yield the answers to commands that were begun in an earlier life, each once.

        Args:
            running: The keys of the commands of this life that have not ended.
        """
        try:
            begun = self._buffer.commands(BEGUN_PREFIX)
        except BufferError_ as error:
            _logger.debug("no memory of earlier commands: %s", type(error).__name__)
            return
        for key, _, body in begun:
            if key not in running and body is not None:
                try:
                    yield self._settle(key, body)
                except _UNREADABLE as error:
                    _logger.debug("a lost command cannot be read: %s", type(error).__name__)

    def traces(self, command: Command) -> tuple[str, ...]:
        """Return the spans of the runs that a command is about, as ``traceparent`` texts."""
        engine = self._engine_of(command)
        return tuple(filter(None, (self._trace(engine, each) for each in _task_ids(command))))

    def _begin(self, command: Command, key: str) -> bytes | None:
        known = self._buffer.recall_result(key)
        if known is not None:
            answer = self._known(command, key, known)
            if answer is not None:
                return answer
        unknown = failed(CommandError(_UNKNOWN, indeterminate=True), command)
        body = encode_begun(command, self._engine_of(command), unknown)
        if known is not None:
            self.remember(key, body)
            return None
        is_new = self._buffer.begin_command(key, self._clock.now_ns(), answer=body)
        if is_new or command.action in _REPEATABLE:
            return None
        return encode_result(command, unknown)

    def _known(self, command: Command, key: str, known: bytes) -> bytes | None:
        if known.startswith(BEGUN_PREFIX):
            if command.action in _REPEATABLE:
                return None
            return readdress(self._settle(key, known), command)
        result = decode_result(known)
        # A firing that failed may be fired again, under another command.
        is_final = result.is_success or result.command_id == command.id
        return readdress(known, command) if is_final else None

    def _settle(self, key: str, body: bytes) -> bytes:
        """Turn what a command was begun with into its answer, for good."""
        begun = decode_begun(body)
        answer = self._published(begun) or without_begun(body)
        self.remember(key, answer)
        return answer

    def _published(self, begun: Begun) -> bytes | None:
        """Return the success of a command whose task has been seen."""
        if begun.task_id is None:
            return None
        if self._buffer.recall_story(story_key(begun.engine, begun.task_id)) is None:
            return None
        command = Command(CommandId(begun.command_id), begun.action, claim_token=begun.claim_token)
        return encode_result(command, CommandResult(CommandStatus.SUCCESS, begun.as_published()))

    def _engine_of(self, command: Command) -> str:
        condition = command.parameters.get("filter")
        in_filter = condition.get("engine") if isinstance(condition, dict) else None
        for name in (in_filter, command.parameters.get("engine"), command.target.engine):
            if isinstance(name, str) and name:
                return name
        return next(iter(self._engines)) if len(self._engines) == 1 else ""

    def _trace(self, engine: str, task_id: str) -> str | None:
        try:
            body = self._buffer.recall_story(story_key(engine, task_id))
            span = None if body is None else decode_story(body).span
        except (BufferError_, msgspec.MsgspecError) as error:
            _logger.debug("a task's trace cannot be read: %s", type(error).__name__)
            return None
        if span is None:
            return None
        trace_id, span_id, is_sampled = span
        return f"00-{trace_id}-{span_id}-{int(is_sampled):02x}"


def _task_ids(command: Command) -> list[str]:
    """Return the ids of the tasks that a command names, at most 32."""
    condition = command.parameters.get("filter")
    several = condition.get("task_ids") if isinstance(condition, dict) else None
    listed = several if isinstance(several, list) else []
    named = [command.parameters.get("task_id"), *listed[:_MOST_TRACES]]
    return [each for each in named if isinstance(each, str)][:_MOST_TRACES]
