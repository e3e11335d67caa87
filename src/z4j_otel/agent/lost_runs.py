"""The ends of runs that no process lived to tell, as lifecycle records."""

from __future__ import annotations

from typing import Any

from z4j_otel.agent.story import Run
from z4j_otel.events import Cause, EventKind, LifecycleRecord, SpanIds, TaskFacts

__all__ = ["ending_of"]

_REASON = "its worker ended while the task ran"


def ending_of(key: str, run: Run, at_ns: int, *, is_repeated: bool) -> LifecycleRecord:
    """Return the end of a run whose every witness is dead.

    Args:
        key: Names engine and task.
        run: As its start told it.
        at_ns: The last sign of life, nanoseconds since the epoch.
        is_repeated: Whether the task was delivered or run again since.
    """
    engine, _, task_id = key.partition("/")
    facts = TaskFacts(engine, task_id, run.task_name, run.queue, run.worker, run.attempt)
    details: dict[str, Any] = {"cause": Cause.WORKER_LOST.value, "inferred": True}
    if run.pid:
        details["pid"] = run.pid
    if run.is_redelivered or is_repeated:
        # Told as an end for good, it would stand on the dashboard until the next run ends.
        kind = EventKind.TASK_RETRIED
        details |= {"retry_count": run.attempt + 1, "reason": _REASON}
    else:
        kind = EventKind.TASK_FAILED
        details |= {
            "exception": f"WorkerLostError: {_REASON}",
            "exception_type": "WorkerLostError",
        }
    span = None
    if run.span_id and run.trace_id:
        parent = int(run.parent_span_id or "0", 16)
        span = SpanIds(int(run.trace_id, 16), int(run.span_id, 16), parent, run.is_sampled)
    return LifecycleRecord(kind, facts, max(at_ns, run.started_ns), details, span)
