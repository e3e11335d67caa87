"""The capture point of an engine."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import INVALID_SPAN

from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.instrumentors.tracing import TaskTracer, span_ids, span_ids_of_current
from z4j_otel.testing.clocks import ManualClock
from z4j_otel.testing.doubles import RecordingSink

FACTS = TaskFacts("celery", "t1", "n")


def test_a_step_is_recorded_with_the_time_of_the_clock() -> None:
    """The moment of capture is frozen in the record."""
    sink, clock = RecordingSink(), ManualClock(5)
    tracer = TaskTracer("celery", sink=lambda: sink, clock=clock)
    tracer.record(EventKind.TASK_STARTED, FACTS, {"eager": True})
    tracer.record(EventKind.TASK_STARTED, FACTS, {}, at_ns=9)
    assert sink.records == [
        LifecycleRecord(EventKind.TASK_STARTED, FACTS, tracer.now_ns(), {"eager": True}),
        LifecycleRecord(EventKind.TASK_STARTED, FACTS, 9, {}),
    ]


def test_nothing_is_recorded_where_z4j_is_off() -> None:
    """A process without a sink pays for a look and no more."""
    TaskTracer("celery", sink=lambda: None).record(EventKind.TASK_STARTED, FACTS, {})


def test_span_ids_include_the_parent_of_an_sdk_span() -> None:
    """A killed run's span is rebuilt from these ids alone."""
    tracer = TracerProvider().get_tracer("unit")
    with tracer.start_as_current_span("outer") as outer, tracer.start_as_current_span("inner"):
        ids = span_ids_of_current()
    assert ids is not None
    assert ids.parent_span_id == outer.get_span_context().span_id
    assert ids.is_sampled


def test_without_a_span_there_are_no_ids() -> None:
    """Records are complete without tracing."""
    assert span_ids(INVALID_SPAN) is None
    assert span_ids_of_current() is None
