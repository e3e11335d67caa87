"""The runs of schedules, told beside their tasks."""

from __future__ import annotations

import json

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.schedule_runs import run_note
from z4j_otel.agent.story import Story


def event(kind, **data):
    """Return an event of one task."""
    return json.dumps(
        {
            "id": "00000000-0000-4000-8000-000000000000",
            "kind": kind,
            "engine": "celery",
            "task_id": "t-1",
            "occurred_at": "2026-01-02T03:04:05.000001+00:00",
            "data": {"attempt": 0, "task_name": "app.task", "queue": "q", "worker": "w", **data},
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def notes_of(*events):
    """Return kind and status of what is told beside these events."""
    arbiter = Arbiter()
    for each in events:
        arbiter.judge(each, source="life")
    told = [json.loads(note) for note in arbiter.notes()]
    assert arbiter.notes() == []
    return [(each["kind"], each["data"].get("status")) for each in told], told


def test_run_has_a_start_and_an_end():
    """Both say which schedule, and belong to the task."""
    kinds, told = notes_of(
        event("task.received", schedule="nightly"),
        event("task.started"),
        event("task.succeeded", runtime_ms=5),
    )
    assert kinds == [("schedule.run_started", None), ("schedule.run_completed", "success")]
    assert {each["task_id"] for each in told} == {"t-1"}
    assert told[1]["data"] == {
        "schedule": "nightly",
        "scheduler": "celery-beat",
        "task_name": "app.task",
        "queue": "q",
        "worker": "w",
        "attempt": 0,
        "status": "success",
        "runtime_ms": 5,
    }


def test_retries_lie_within_one_run():
    """The run ends when the task does."""
    kinds, _ = notes_of(
        event("task.received", schedule="nightly"),
        event("task.started"),
        event("task.retried", attempt=0),
        event("task.received", schedule="nightly", attempt=1),
        event("task.started", attempt=1),
        event("task.failed", attempt=1),
    )
    assert kinds == [("schedule.run_started", None), ("schedule.run_completed", "failure")]


def test_task_that_never_ran_ends_its_run():
    """A revoked task is the schedule's run that did not happen."""
    kinds, _ = notes_of(event("task.received", schedule="nightly"), event("task.revoked"))
    assert kinds == [("schedule.run_completed", "revoked")]


def test_run_that_a_dead_agent_told_the_start_of_has_its_end():
    """What a dead agent knew of the task says which schedule it belongs to."""
    dead = Arbiter(recall={}.get)
    for kind in ("task.received", "task.started"):
        dead.judge(event(kind, schedule="nightly"), source="dead")
    heir = Arbiter(recall={}.get)

    heir.take_over(dead.changes())
    heir.judge(event("task.failed", cause="worker_lost", inferred=True), source="heir")

    (note,) = map(json.loads, heir.notes())
    assert (note["kind"], note["data"]["schedule"]) == ("schedule.run_completed", "nightly")


def test_other_tasks_are_no_runs():
    """Without a schedule nothing is told."""
    kinds, _ = notes_of(event("task.received"), event("task.started"), event("task.succeeded"))
    assert kinds == []
    assert run_note(Story(), _Head()) is None


class _Head:
    kind = "task.started"

    class data:  # noqa: N801 -- stands for an attribute
        schedule = ""
