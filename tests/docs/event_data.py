"""What stands in the data of each kind of event, in words."""

from __future__ import annotations

from z4j_otel.events import EventKind

__all__ = ["COMMON", "DATA", "keys_of"]

COMMON = {
    "task_name": "the task's name; null for events of workers",
    "queue": "the queue, or null",
    "worker": "the worker's name, or null; a host name with a dot stands in brackets, so that "
    "the brain does not take it for an e-mail address",
    "attempt": "0 for the first run, then counting retries",
    "pid": "the process that runs it, in a start and in the ends of runs that began",
    "environment": "`Z4J_ENVIRONMENT`",
    "tags": "`Z4J_TAGS` and those of the task's policy, when there are any",
    "trace_id": "trace of the span of this step, where there is one; 32 hexadecimal digits",
    "span_id": "the span itself; 16 hexadecimal digits",
    "reduced": "fields cut because the event did not fit the brain's largest frame, when any were",
    "parent_span_id": "its parent, where it has one",
    "trace_sampled": "whether the trace is sampled, so that a tracing backend has it",
    "observed_at": "true time of an event that was moved to the next free second",
    "eager": "true for a task that ran where it was called (`task_always_eager`, `apply`)",
    "expected_duration_ms": "what the task's policy says, when it does",
    "deadline_ms": "what the task's policy says, when it does",
    "details_dropped": "why all other details are missing: the event was too large",
}

_LINEAGE = {
    "args": "positional arguments, redacted",
    "kwargs": "keyword arguments, redacted",
    "parent_task_id": "the task that sent this one, or null",
    "root_task_id": "the first task of the tree, or null",
    "group_id": "the group it belongs to",
    "eta": "when it may start, ISO 8601",
    "expires": "when it is no longer to start, ISO 8601",
    "priority": "`low`, `normal`, `high` or `critical`, when its message or policy has one",
}
_FAILURE = {
    "exception": "`Class: message`",
    "exception_type": "the class's name",
    "traceback": "as CPython prints it; the end is kept",
    "runtime_ms": "how long the run lasted, milliseconds",
}

DATA: dict[EventKind, dict[str, str]] = {
    EventKind.TASK_SENT: dict(_LINEAGE),
    EventKind.TASK_RECEIVED: {
        **_LINEAGE,
        "queue_wait_ms": "from publish to arrival, milliseconds, by two clocks",
        "redelivered": "true when the broker says so",
        "schedule": "the schedule that published it, when one did",
        "shadow": "the name that Celery's log shows instead of the task's own",
        "synthesised": "true when the arrival itself was not seen",
    },
    EventKind.TASK_STARTED: {
        "prefetch_wait_ms": "from arrival to start, milliseconds",
        "acks_late": "true when the broker delivers it again should the worker die",
    },
    EventKind.TASK_SUCCEEDED: {
        "result": "the result, redacted",
        "runtime_ms": "how long the run lasted, milliseconds",
        "celery_state": "`IGNORED` for a run that ended with `Ignore` or `self.replace`",
        "replaced_by": "the task that took its place",
        "worker_lost": "true when the process died after it had stored the success",
    },
    EventKind.TASK_FAILED: {
        **_FAILURE,
        "cause": "one of the causes below",
        "expected": "true for an error listed in the task's `throws`",
        "inferred": "true when no process lived to tell: the time is the last sign of life",
    },
    EventKind.TASK_RETRIED: {
        "retry_count": "number of the retry that follows",
        "reason": "why, as `Class: message`",
        "eta": "when the next run may start, ISO 8601",
        "traceback": _FAILURE["traceback"],
        "runtime_ms": _FAILURE["runtime_ms"],
        "cause": "`worker_lost` or `time_limit` when the run did not ask for the retry itself",
        "inferred": "true when no process lived to tell: the time is the last sign of life",
    },
    EventKind.TASK_REVOKED: {
        "terminated": "whether it was running",
        "expired": "whether it was given up because it had expired",
        "signum": "the signal that ended it",
        "runtime_ms": _FAILURE["runtime_ms"],
    },
    EventKind.TASK_REJECTED: {
        "reason": "why, as `Reject: reason`",
        "runtime_ms": _FAILURE["runtime_ms"],
    },
    EventKind.WORKER_ONLINE: {},
    EventKind.WORKER_HEARTBEAT: {},
    EventKind.WORKER_OFFLINE: {},
}


def keys_of(kind: str) -> set[str]:
    """Return every key that the data of this kind of event may have."""
    return set(COMMON) | set(DATA[EventKind(kind)])
