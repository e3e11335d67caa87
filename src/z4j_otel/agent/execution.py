"""Carries one command out on one engine, in a span, and turns every end into a result."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from z4j_otel import semconv
from z4j_otel.agent.results import MAX_ERROR_CHARS
from z4j_otel.agent.schedules.native import NATIVE_ACTIONS, NativeSchedules
from z4j_otel.commands import Action, Command, CommandResult, CommandStatus, capability_of
from z4j_otel.errors import CommandError, CommandRefused, CommandUnsupported
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor

__all__ = ["CommandRunner", "allow_all", "failed", "select_engine"]

_logger = logging.getLogger(__name__)

_ALWAYS_SENT: Final = frozenset({Action.RECONCILE_TASK.value})
"""The brain sends these whatever an engine advertises (seen in z4j 1.13)."""
_CLOSED: Final = frozenset({Action.LIST_DEAD_LETTERS.value})
"""The brain takes no further member in the results of these (PROTOCOL §6.3)."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_NOWHERE: Final = otel_context.Context()


def allow_all(command: Command) -> None:
    """Refuse nothing: the policy when none is given."""


def failed(error: CommandError, command: Command) -> CommandResult:
    """Build the result of a command that did not succeed."""
    uncertain = {"indeterminate": True, "operation": command.action}
    return CommandResult(
        CommandStatus.FAILED,
        result=uncertain if error.indeterminate else None,
        error=str(error)[:MAX_ERROR_CHARS],
    )


def select_engine(command: Command, engines: Mapping[str, EngineAdapter]) -> EngineAdapter:
    """Find the one engine a command is for; never a substitute (PROTOCOL §6.1).

    Raises:
        CommandUnsupported: No engine here has this name, or can do the action.
        CommandRefused: The command names two engines, or none where there are several.
    """
    adapter = _named_engine(command, engines)
    action = command.action
    if action in _ALWAYS_SENT or capability_of(action) in adapter.capabilities():
        return adapter
    raise CommandUnsupported(f"engine {adapter.name} of this agent cannot {action!r}")


def _named_engine(command: Command, engines: Mapping[str, EngineAdapter]) -> EngineAdapter:
    condition = command.parameters.get("filter")
    in_filter = condition.get("engine") if isinstance(condition, dict) else None
    sources = (in_filter, command.parameters.get("engine"), command.target.engine)
    names = list(dict.fromkeys(name for name in sources if isinstance(name, str) and name))
    if len(names) > 1:
        raise CommandRefused("the command names different engines")
    if not names:
        if len(engines) == 1:
            return next(iter(engines.values()))
        raise CommandRefused("the command names no engine")
    adapter = engines.get(names[0])
    if adapter is None:
        raise CommandUnsupported(f"this agent has no engine {names[0][:40]!r}")
    return adapter


class CommandRunner:
    """Runs commands, from any thread, several at a time.

    Args:
        engines: By name; read at every command, so engines may be added later.
        redactor: Every result and error text passes it.
        policy: Raises ``CommandRefused`` for a command that must not run here.
        tracer_provider: Makes the commands' spans; the process's own when None.
        schedulers: Those that may be changed; all of them when empty.
    """

    def __init__(
        self,
        engines: Mapping[str, EngineAdapter],
        *,
        redactor: Redactor,
        policy: Callable[[Command], None] = allow_all,
        tracer_provider: TracerProvider | None = None,
        schedulers: Collection[str] = (),
    ) -> None:
        self._engines = engines
        self._schedules = NativeSchedules(engines, redactor, schedulers)
        self._redactor = redactor
        self._policy = policy
        self._tracer_provider = tracer_provider

    def run(self, command: Command) -> CommandResult:
        """Carry a command out; blocks. Never raises an ``Exception``.

        What the adapter publishes becomes a child of the command's span: the agent's own
        suppression of instrumentation does not hold here.
        """
        token = otel_context.attach(otel_context.Context())
        try:
            # Asked for late: applications set their provider when they like.
            tracer = trace.get_tracer("z4j_otel", tracer_provider=self._tracer_provider)
            with tracer.start_as_current_span(
                f"z4j.command {command.action}",
                kind=SpanKind.INTERNAL,
                attributes=_attributes(command),
                links=_links(command),
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                result = self._redacted(self._carry_out(command))
                return _noted(span, result, command)
        finally:
            otel_context.detach(token)

    def _carry_out(self, command: Command) -> CommandResult:
        try:
            self._policy(command)
            if command.action in NATIVE_ACTIONS:
                value = self._schedules.execute(command)
            else:
                value = select_engine(command, self._engines).execute(command)
            return CommandResult(CommandStatus.SUCCESS, result=value)
        except CommandError as error:
            return failed(error, command)
        except Exception as error:
            # The rim: whatever an adapter raises becomes a result.
            name = type(error).__name__
            _logger.warning(
                "command %s failed inside its engine: %s",
                command.action[:80],
                name,
                extra={"action": "command_error"},
            )
            _logger.debug("command %s failed inside its engine", command.id, exc_info=error)
            uncertain = {"indeterminate": True, "operation": command.action}
            return CommandResult(CommandStatus.FAILED, uncertain, f"internal: {name}")

    def _redacted(self, result: CommandResult) -> CommandResult:
        value = self._redactor.redact(result.result)
        if value is not None and not isinstance(value, dict):
            value = {"value": value}
        error = result.error
        if error is not None:
            error = self._redactor.redact_text(error)[:MAX_ERROR_CHARS]
        return replace(result, result=value, error=error)


def _links(command: Command) -> list[Link]:
    """Link the runs that the command is about: of a retry, the one that failed."""
    found = (
        trace.get_current_span(_PROPAGATOR.extract({"traceparent": text}, _NOWHERE))
        for text in command.traces
    )
    contexts = (span.get_span_context() for span in found)
    return [Link(context) for context in contexts if context.is_valid]


def _attributes(command: Command) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        semconv.Z4J_COMMAND_ID: command.id,
        semconv.Z4J_COMMAND_ACTION: command.action,
        # Our own exporter must not take this span for a task's.
        semconv.Z4J_CAPTURED: True,
    }
    if command.issued_by:
        attributes[semconv.Z4J_COMMAND_ISSUED_BY] = command.issued_by
    task_id = command.parameters.get("task_id")
    if isinstance(task_id, str):
        attributes[semconv.MESSAGING_MESSAGE_ID] = task_id
    return attributes


def _noted(span: Span, result: CommandResult, command: Command) -> CommandResult:
    """Write the outcome on the span, and the trace on the result where there is room."""
    if not span.is_recording():
        return result
    span.set_attribute(semconv.Z4J_COMMAND_STATUS, result.status.value)
    if not result.is_success:
        code = (result.error or "failed").partition(":")[0]
        span.set_attribute(semconv.ERROR_TYPE, code)
        span.set_status(Status(StatusCode.ERROR, result.error))
    if result.is_success and command.action in _CLOSED:
        return result
    trace_id = f"{span.get_span_context().trace_id:032x}"
    return replace(result, result={**(result.result or {}), "trace_id": trace_id})
