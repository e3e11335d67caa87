"""What happened to a task, as values: lifecycle records and the kinds they become.

A *lifecycle record* is what a hook observed, not yet redacted; it never leaves the
process that made it. An *event* is its translated, redacted form.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Protocol

import msgspec

__all__ = [
    "ATTEMPT_ENDS",
    "Cause",
    "EventKind",
    "LifecycleRecord",
    "LostSpan",
    "RecordSink",
    "SpanIds",
    "TaskFacts",
]


class EventKind(str, Enum):
    """The brain's kinds of event (PROTOCOL §5.5) that this agent sends."""

    TASK_SENT = "task.sent"
    TASK_RECEIVED = "task.received"
    TASK_STARTED = "task.started"
    TASK_SUCCEEDED = "task.succeeded"
    TASK_FAILED = "task.failed"
    TASK_RETRIED = "task.retried"
    TASK_REVOKED = "task.revoked"
    TASK_REJECTED = "task.rejected"
    WORKER_ONLINE = "worker.online"
    WORKER_HEARTBEAT = "worker.heartbeat"
    WORKER_OFFLINE = "worker.offline"

    # The one of Enum is written in Python, and kinds are keys on the task's own thread.
    __hash__ = str.__hash__


ATTEMPT_ENDS: Final = frozenset(
    {
        EventKind.TASK_SUCCEEDED,
        EventKind.TASK_FAILED,
        EventKind.TASK_RETRIED,
        EventKind.TASK_REVOKED,
    }
)
"""The kinds of which every attempt of a task has exactly one."""


class Cause(str, Enum):
    """Why a task failed; ``data.cause`` of ``task.failed``."""

    EXCEPTION = "exception"
    SOFT_TIME_LIMIT = "soft_time_limit"
    TIME_LIMIT = "time_limit"
    WORKER_LOST = "worker_lost"
    UNKNOWN_TASK = "unknown_task"
    REJECTED = "rejected"


class TaskFacts(msgspec.Struct, frozen=True, gc=False):
    """What an engine's message or job says of one attempt of a task."""

    engine: str
    """Name of the engine, or of the engine instance where one process has several."""
    task_id: str
    task_name: str
    queue: str | None = None
    worker: str | None = None
    """The worker's own name, unchanged; its form on the wire is translation's business."""
    attempt: int = 0
    """0 for the first run, then counting retries."""


class SpanIds(msgspec.Struct, frozen=True, gc=False):
    """The OpenTelemetry span of a lifecycle step, as plain numbers."""

    trace_id: int
    span_id: int
    parent_span_id: int = 0
    """0 when the span is a root."""
    is_sampled: bool = False


class LifecycleRecord(msgspec.Struct, frozen=True):
    """One step in the life of one task, as a hook saw it.

    ``details`` holds what only this kind of step has, raw (arguments, result, traceback).
    Its keys are those of the event's ``data``.
    """

    kind: EventKind
    facts: TaskFacts
    occurred_at_ns: int
    """Wall clock at capture, nanoseconds since the Unix epoch."""
    details: dict[str, Any] = {}
    span: SpanIds | None = None


class LostSpan(msgspec.Struct, frozen=True):
    """The span of a run whose process did not live to end it."""

    task_id: str
    task_name: str
    queue: str | None
    worker: str | None
    attempt: int
    trace_id: str
    span_id: str
    parent_span_id: str
    is_sampled: bool
    started_ns: int
    ended_ns: int
    cause: str
    """``time_limit``, ``worker_lost`` or ``revoked``."""
    error_type: str


class RecordSink(Protocol):
    """Where instrumentors and exporters put what they saw."""

    def emit(self, record: LifecycleRecord) -> None:
        """Take a record for good. Never raises, never blocks on a lock or the network."""
        ...
