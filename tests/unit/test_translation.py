"""Records to events."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from z4j_otel.events import EventKind, LifecycleRecord, SpanIds, TaskFacts
from z4j_otel.translation import (
    shared_data,
    translate,
    wire_worker_name,
    without_mono,
    worker_name_from_wire,
)
from z4j_otel.wire import canonical


def event_of(facts: TaskFacts, **more: Any) -> dict[str, Any]:
    """Translate one record."""
    record = LifecycleRecord(EventKind.TASK_STARTED, facts, 1_767_323_045_678_901_000, **more)
    shared = shared_data(facts, common={"environment": "test"}, name=str)
    return translate(record, event_id="e1", shared=shared, details={"eager": True})


def test_an_event_has_the_brains_members() -> None:
    """Kind, engine, ids and time stand outside the data, everything else in it."""
    event = event_of(TaskFacts("celery", "t1", "shop.add", "orders", "w1@host", 2))
    assert event["occurred_at"] == "2026-01-02T03:04:05.678901+00:00"
    assert event["kind"] == "task.started"
    assert event["data"] == {
        "environment": "test", "eager": True, "task_name": "shop.add", "queue": "orders",
        "worker": "w1@host", "attempt": 2,
    }  # fmt: skip


def test_span_ids_are_hexadecimal() -> None:
    """Trace and span ids are written as every tracing tool writes them."""
    data = event_of(TaskFacts("celery", "t1", "n"), span=SpanIds(1, 2, 3, True))["data"]
    assert data["trace_id"] == "0" * 31 + "1"
    assert (data["span_id"], data["parent_span_id"]) == ("0" * 15 + "2", "0" * 15 + "3")
    assert data["trace_sampled"] is True


def test_an_overlong_task_id_is_cut() -> None:
    """A longer one would be dropped by the brain with the whole event."""
    assert len(event_of(TaskFacts("celery", "x" * 300, "n"))["task_id"]) == 200


@pytest.mark.parametrize("task_id", [uuid.UUID(int=7), 7])
def test_a_task_id_that_is_no_text_becomes_one(task_id: Any) -> None:
    """Celery accepts UUID objects and numbers."""
    assert event_of(TaskFacts("celery", task_id, "n"))["task_id"] == str(task_id)


@pytest.mark.parametrize(
    ("own", "wire"),
    [
        ("celery@web-01.example.com", "celery@[web-01.example.com]"),
        ("celery@web01", "celery@web01"),
        ("w1", "w1"),
        ("a@b.c", "a@b.c"),
    ],
)
def test_a_worker_name_never_looks_like_an_email_address(own: str, wire: str) -> None:
    """The form on the wire is unique and leads back to the worker's own name."""
    assert wire_worker_name(own) == wire
    assert worker_name_from_wire(wire) == own


@pytest.mark.parametrize("task_id", ["t1", '"mono_ns":7,', '\\"occurred_at":"x"'])
def test_the_monotonic_clock_comes_off(task_id: str) -> None:
    """In canonical order, whatever stands in the event."""
    value = {
        "data": {"mono_ns": 1, "occurred_at": '"mono_ns":2,'},
        "kind": "k",
        "occurred_at": "o",
        "task_id": task_id,
    }
    stamped = canonical.encode({**value, "mono_ns": 12345})
    assert without_mono(stamped) == canonical.encode(value)
