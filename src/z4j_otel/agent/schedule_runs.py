"""The runs of schedules, told beside the tasks that they are (PROTOCOL §5.5).

A task that a schedule published says so when it arrives. Its first start is the start of the
schedule's run, and its final end the end: retries lie between the two. What the arbiter
lets through of the task decides, so a run has one start and one end whatever dies.
"""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.agent.evidence import Head
from z4j_otel.agent.story import Story
from z4j_otel.ids import new_event_id
from z4j_otel.wire import canonical

__all__ = ["run_note"]

_BEGUN: Final = 1
_ENDED: Final = 2
_STATUS: Final = {
    "task.succeeded": "success",
    "task.failed": "failure",
    "task.revoked": "revoked",
}


def run_note(story: Story, head: Head) -> bytes | None:
    """Return the event that a task's event is for its schedule, or None.

    Args:
        story: The task's; it remembers what was told.
        head: An event of the task that is to be sent.
    """
    if head.kind == "task.received" and head.data.schedule:
        story.schedule = head.data.schedule
    if not story.schedule:
        return None
    if head.kind == "task.started" and story.schedule_told < _BEGUN:
        story.schedule_told = _BEGUN
        return _event(story, head, "schedule.run_started", {})
    status = _STATUS.get(head.kind)
    if status is not None and story.schedule_told < _ENDED:
        story.schedule_told = _ENDED
        return _event(story, head, "schedule.run_completed", {"status": status})
    return None


def _event(story: Story, head: Head, kind: str, more: dict[str, Any]) -> bytes:
    data = head.data
    told = {
        "schedule": story.schedule,
        "scheduler": f"{head.engine}-beat",
        "task_name": data.task_name,
        "queue": data.queue,
        "worker": data.worker,
        "attempt": data.attempt,
        **more,
    }
    if data.runtime_ms is not None:
        told["runtime_ms"] = data.runtime_ms
    if data.trace_id:
        told |= {"trace_id": data.trace_id, "span_id": data.span_id}
    return canonical.encode(
        {
            "id": new_event_id(),
            "kind": kind,
            "engine": head.engine,
            "task_id": head.task_id,
            "occurred_at": head.occurred_at,
            "data": told,
        }
    )
