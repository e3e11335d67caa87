"""What each instrumentation means by its spans, read into one form: the task span.

Three sorts are known: the Celery instrumentation of OpenTelemetry, the instrumentations of
other engines with attribute names of their own, and everything that follows the messaging
conventions, in their current and older names. What a dialect must answer is which task the
span is about, whether it sent or ran it, and what its status is worth: in most of them,
"no error" is not the same as "succeeded".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from z4j_otel import semconv
from z4j_otel.events import TaskFacts
from z4j_otel.exporter.attributes import identifier, number, text
from z4j_otel.exporter.celery_spans import CELERY_SCOPE, read_celery_span
from z4j_otel.exporter.task_span import (
    DESTINATION_NAMES,
    MESSAGE_ID_NAMES,
    Outcome,
    Role,
    SkipReason,
    TaskSpan,
    status_outcome,
)

__all__ = ["read_task_span"]


def read_task_span(span: ReadableSpan) -> TaskSpan | SkipReason:
    """Return the task span that this span is, or why it is none.

    The span may be running still; its outcome then means nothing.
    """
    attributes, scope = span.attributes, _scope_name(span)
    if not attributes:
        return SkipReason.NO_TASK_ID if scope in _SCOPES else SkipReason.NOT_A_TASK
    if attributes.get(semconv.Z4J_CAPTURED) is True:
        return SkipReason.CAPTURED
    if scope == CELERY_SCOPE:
        return read_celery_span(span, attributes)
    dialect = _DIALECTS.get(scope)
    if dialect is not None:
        return _read_engine(span, attributes, dialect)
    return _read_messaging(span, attributes)


def _scope_name(span: ReadableSpan) -> str:
    scope = span.instrumentation_scope
    return scope.name if scope is not None and isinstance(scope.name, str) else ""


# Other engines' own instrumentations.


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The names one engine's instrumentation uses, and what its statuses are worth."""

    engine: str
    role_attribute: str | None
    """Attribute that tells the role; None: the span's kind does."""
    roles: Mapping[object, Role]
    id_names: tuple[str, ...]
    task_names: tuple[str, ...]
    queue_names: tuple[str, ...] = ()
    attempt_name: str = ""
    first_attempt: int = 0
    """The number the instrumentation gives the first attempt."""
    success: frozenset[StatusCode] = frozenset()
    """The statuses that prove a success."""
    retry_types: frozenset[str] = frozenset()
    """Exception classes that ask for a retry."""


_OK: Final = frozenset({StatusCode.OK})

# RQ: `consume` is OK for failed jobs too, `perform` is not; so `perform` stands for the
# run. A job that was stopped or whose process was killed has only `handle_job_failure`.
_RQ: Final = _Dialect(
    engine="rq",
    role_attribute="messaging.operation.name",
    roles={
        "publish": Role.SEND,
        "schedule": Role.SEND,
        "perform": Role.PROCESS,
        "handle_job_failure": Role.FAILED_ELSEWHERE,
    },
    id_names=("rq.job.id",),
    task_names=("rq.job.function",),
    queue_names=("messaging.destination.name",),
    success=_OK,
)
# Dramatiq: always OK, whatever happened.
_DRAMATIQ: Final = _Dialect(
    engine="dramatiq",
    role_attribute=None,
    roles={SpanKind.SERVER: Role.SEND, SpanKind.CONSUMER: Role.PROCESS},
    id_names=("message_id",),
    task_names=("actor_name",),
    queue_names=("queue_name",),
)
# arq: an aborted job, and one stopped with its worker, is left unset.
_ARQ: Final = _Dialect(
    engine="arq",
    role_attribute=None,
    roles={SpanKind.CLIENT: Role.SEND, SpanKind.SERVER: Role.PROCESS},
    id_names=("arq.job.id",),
    task_names=("arq.job.name",),
    queue_names=("arq.job.queue",),
    attempt_name="arq.job.try",
    first_attempt=1,
    success=_OK,
    retry_types=frozenset({"arq.worker.Retry"}),
)
# TaskIQ: runs carry no id; with retries, even the last failure is left unset.
_TASKIQ: Final = _Dialect(
    engine="taskiq",
    role_attribute="taskiq.action",
    roles={"send": Role.SEND, "execute": Role.PROCESS},
    id_names=("messaging.message.id",),
    task_names=("taskiq.task_name",),
    attempt_name="taskiq._retries",
)
_DIALECTS: Final = {
    "opentelemetry_instrumentation_rq.instrumentor": _RQ,
    "opentelemetry_instrumentor_dramatiq.src": _DRAMATIQ,
    "opentelemetry.instrumentation.arq": _ARQ,
    "taskiq.middlewares.opentelemetry_middleware": _TASKIQ,
}
_SCOPES: Final = frozenset({CELERY_SCOPE, *_DIALECTS})


def _read_engine(
    span: ReadableSpan, attributes: Mapping[str, Any], dialect: _Dialect
) -> TaskSpan | SkipReason:
    told = dialect.role_attribute
    role = dialect.roles.get(span.kind if told is None else text(attributes, told))
    if role is None:
        return SkipReason.NOT_A_TASK
    task_id = identifier(attributes, *dialect.id_names)
    if task_id is None:
        return SkipReason.NO_TASK_ID
    counted = number(attributes, dialect.attempt_name) or 0
    facts = TaskFacts(
        engine=dialect.engine,
        task_id=task_id,
        task_name=text(attributes, *dialect.task_names) or "unknown",
        queue=text(attributes, *dialect.queue_names),
        attempt=max(counted - dialect.first_attempt, 0),
    )
    outcome = status_outcome(span, dialect.success)
    if outcome is Outcome.FAILED and _exception_types(span) & dialect.retry_types:
        outcome = Outcome.RETRIED
    return TaskSpan(facts, role, outcome)


def _exception_types(span: ReadableSpan) -> set[str | None]:
    events = (event for event in span.events if event.name == "exception")
    return {text(event.attributes or {}, "exception.type") for event in events}


# The messaging conventions, newest names first.

_OPERATION: Final = (semconv.MESSAGING_OPERATION_TYPE, "messaging.operation")
_CONSUMER: Final = (semconv.MESSAGING_CLIENT_ID, "messaging.consumer.id", "messaging.consumer_id")
_OPERATIONS: Final = {
    "send": Role.SEND,
    "publish": Role.SEND,
    "create": Role.SEND,
    "process": Role.PROCESS,
    "deliver": Role.PROCESS,
}
_KINDS: Final = {SpanKind.PRODUCER: Role.SEND, SpanKind.CONSUMER: Role.PROCESS}
_NOT_RUNS: Final = frozenset({SpanKind.CLIENT, SpanKind.PRODUCER})
# The conventions leave the status of a success unset.
_NO_ERROR: Final = frozenset({StatusCode.UNSET, StatusCode.OK})
_NOT_IN_ENGINE_NAMES: Final = re.compile(r"[^a-z0-9_.-]+")
_MAX_ENGINE_CHARS: Final = 40


def _read_messaging(span: ReadableSpan, attributes: Mapping[str, Any]) -> TaskSpan | SkipReason:
    if attributes.get(semconv.MESSAGING_SYSTEM) is None:
        return SkipReason.NOT_A_TASK
    if text(attributes, "logfire.span_type") == "pending_span":
        # Logfire's stand-in for a span that still runs; it looks ended and has its attributes.
        return SkipReason.NOT_ENDED
    operation = text(attributes, *_OPERATION)
    role = _KINDS.get(span.kind) if operation is None else _OPERATIONS.get(operation)
    system = _NOT_IN_ENGINE_NAMES.sub(
        "-", (text(attributes, semconv.MESSAGING_SYSTEM) or "").lower()
    ).strip("-")[:_MAX_ENGINE_CHARS]
    if role is None or not system or (role is Role.PROCESS and span.kind in _NOT_RUNS):
        return SkipReason.NOT_A_TASK
    task_id = identifier(attributes, *MESSAGE_ID_NAMES)
    if task_id is None:
        return SkipReason.NO_TASK_ID
    queue = text(attributes, *DESTINATION_NAMES)
    facts = TaskFacts(
        engine=system,
        task_id=task_id,
        task_name=text(attributes, semconv.Z4J_TASK_NAME) or queue or span.name,
        queue=queue,
        worker=text(attributes, *_CONSUMER) if role is Role.PROCESS else None,
        attempt=number(attributes, semconv.Z4J_TASK_ATTEMPT) or 0,
    )
    return TaskSpan(facts, role, status_outcome(span, _NO_ERROR))
