"""Spans to lifecycle records: the mapping, without clock, I/O or state.

One span covers several steps. A send span is ``task.sent``, at its start: the message may
be received before the span ends. A process span is ``task.received`` and ``task.started``
at its start, as no span shows the moment of reception, and one record at its end that says
how the attempt ended.

How it ended is never better than what the span proves. A span that ended without an error
and without any word of success has no such record when its instrumentation is known to
write that for every outcome. Only for Celery is more known: there, a run without a state
was stopped from outside before it finished, by a hard time limit, by a revoke with
terminate or with its process; the span cannot say by which. It becomes ``task.failed``
with the cause ``worker_lost``, because the process that ran it is gone, or ``time_limit``
where the message's own limit had passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from z4j_otel.events import Cause, EventKind, LifecycleRecord, SpanIds
from z4j_otel.exporter.attributes import SpanFailure, span_failure, span_ids
from z4j_otel.exporter.dialects import read_task_span
from z4j_otel.exporter.task_span import Outcome, Role, SkipReason, TaskSpan

__all__ = ["MappedSpan", "SpanPart", "map_span"]

_LAST_NS: Final = 253_402_300_800 * 1_000_000_000
"""The year 10000, where ISO times end."""

_CAUSES: Final = {
    "SoftTimeLimitExceeded": Cause.SOFT_TIME_LIMIT,
    "TimeLimitExceeded": Cause.TIME_LIMIT,
    "WorkerLostError": Cause.WORKER_LOST,
    "NotRegistered": Cause.UNKNOWN_TASK,
    "Reject": Cause.REJECTED,
}
"""Exception classes that are not the task's own, by name without module."""

_STOPPED: Final = {
    Outcome.REJECTED: (Cause.REJECTED, SpanFailure("Reject", None, None)),
    Outcome.TIME_LIMIT: (
        Cause.TIME_LIMIT,
        SpanFailure("TimeLimitExceeded", "stopped at its hard time limit", None),
    ),
    Outcome.TERMINATED: (
        Cause.WORKER_LOST,
        SpanFailure("Terminated", "its process was stopped before it finished", None),
    ),
}
"""What is said of attempts that no exception of their own ended."""


class SpanPart(Enum):
    """Which of a span's steps are wanted."""

    WHOLE = "whole"
    START = "start"
    """What is known while it runs."""
    END = "end"
    """What ``START`` did not give."""


class MappedSpan(NamedTuple):
    """The records of one span, in order."""

    records: tuple[LifecycleRecord, ...] = ()
    skipped: SkipReason | None = None
    """Why records are missing; None when the span told all it should."""


def map_span(span: ReadableSpan, part: SpanPart = SpanPart.WHOLE) -> MappedSpan:
    """Return the lifecycle records of a span.

    Args:
        span: Ended, unless ``part`` is ``START``. Its attributes may hold anything.
        part: Which of its steps are wanted.

    Returns:
        The records, and why there are fewer than expected if there are.
    """
    read = read_task_span(span)
    if isinstance(read, SkipReason):
        return MappedSpan(skipped=read)
    if not _is_time(span.start_time) or not (span.end_time is None or _is_time(span.end_time)):
        return MappedSpan(skipped=SkipReason.MALFORMED)
    ids = span_ids(span)
    if part is SpanPart.START:
        return MappedSpan(_beginning(read, span, ids))
    if span.end_time is None:
        return MappedSpan(skipped=SkipReason.NOT_ENDED)
    if read.role is Role.SEND:
        return _sending(read, span, ids)
    beginning = _beginning(read, span, ids) if part is SpanPart.WHOLE else ()
    ending = _ending(read, span, ids)
    return MappedSpan(beginning + ending, None if ending else SkipReason.OUTCOME_UNKNOWN)


def _is_time(at_ns: int | None) -> bool:
    return type(at_ns) is int and 0 < at_ns < _LAST_NS


def _sending(task: TaskSpan, span: ReadableSpan, ids: SpanIds | None) -> MappedSpan:
    if task.outcome is Outcome.FAILED:
        return MappedSpan(skipped=SkipReason.NOT_SENT)
    return MappedSpan((_at_start(EventKind.TASK_SENT, task, span, ids),))


def _beginning(
    task: TaskSpan, span: ReadableSpan, ids: SpanIds | None
) -> tuple[LifecycleRecord, ...]:
    if task.role is not Role.PROCESS:
        return ()
    return (
        _at_start(EventKind.TASK_RECEIVED, task, span, ids),
        _at_start(EventKind.TASK_STARTED, task, span, ids),
    )


def _at_start(
    kind: EventKind, task: TaskSpan, span: ReadableSpan, ids: SpanIds | None
) -> LifecycleRecord:
    assert span.start_time is not None
    arrival = {} if kind is EventKind.TASK_STARTED else task.received
    return LifecycleRecord(kind, task.facts, span.start_time, {**task.every, **arrival}, ids)


def _ending(task: TaskSpan, span: ReadableSpan, ids: SpanIds | None) -> tuple[LifecycleRecord, ...]:
    assert span.start_time is not None
    assert span.end_time is not None
    # Clocks go back at times; a task never ends before it starts.
    end_ns = max(span.start_time, span.end_time)
    if task.role is Role.FAILED_ELSEWHERE:
        told: Mapping[EventKind, dict[str, Any]] = {EventKind.TASK_FAILED: {}}
    else:
        runtime_ms = (end_ns - span.start_time) // 1_000_000
        told = _told(task, span_failure(span, span.attributes or {}), runtime_ms)
    return tuple(
        LifecycleRecord(kind, task.facts, end_ns, {**task.every, **details}, ids)
        for kind, details in told.items()
    )


def _told(
    task: TaskSpan, failure: SpanFailure, runtime_ms: int
) -> Mapping[EventKind, dict[str, Any]]:
    """Return the data of each record that ends the attempt; nothing when that is not known."""
    timed: dict[str, Any] = {**task.ending, "runtime_ms": runtime_ms}
    if task.outcome is Outcome.UNKNOWN:
        return {}
    if task.outcome is Outcome.SUCCEEDED:
        return {EventKind.TASK_SUCCEEDED: timed}
    if task.outcome is Outcome.RETRIED:
        retried = {"reason": _exception_text(failure), **timed}
        retried["retry_count"] = task.facts.attempt + 1
        if failure.traceback:
            retried["traceback"] = failure.traceback
        return {EventKind.TASK_RETRIED: retried}
    failed = {EventKind.TASK_FAILED: timed | _failure_data(task.outcome, failure)}
    if task.outcome is Outcome.REJECTED:
        return {EventKind.TASK_REJECTED: {}, **failed}
    return failed


def _failure_data(outcome: Outcome, failure: SpanFailure) -> dict[str, Any]:
    cause, failure = _STOPPED.get(outcome, (None, failure))
    name = _class_name(failure)
    cause = cause or _CAUSES.get(name, Cause.EXCEPTION)
    data: dict[str, Any] = {"cause": cause.value, "exception": _exception_text(failure)}
    if name:
        data["exception_type"] = name
    if failure.traceback:
        data["traceback"] = failure.traceback
    return data


def _class_name(failure: SpanFailure) -> str:
    return (failure.type_name or "").rpartition(".")[2]


def _exception_text(failure: SpanFailure) -> str:
    """Return ``Class: message``, or as much of it as is known."""
    name, message = _class_name(failure), failure.message
    if not message:
        return name or "error"
    # Instrumentations that let the SDK set the status have the class in the message already.
    if not name or message.partition(":")[0] in (name, failure.type_name):
        return message
    return f"{name}: {message}"
