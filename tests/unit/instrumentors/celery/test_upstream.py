"""Upstream's spans: marked, completed, and left open where the process dies."""

from __future__ import annotations

import select
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, signals
from kombu.utils import eventio
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from z4j_otel.events import TaskFacts
from z4j_otel.instrumentors.celery import upstream


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Give a place where finished spans can be seen."""
    return InMemorySpanExporter()


@pytest.fixture
def traced(capture: Any, exporter: InMemorySpanExporter) -> Iterator[Any]:
    """Give our hooks with upstream's spans beside them."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    upstream.activate(tracer_provider=provider, skip_dep_check=True)
    capture.order_receivers()
    yield capture
    CeleryInstrumentor().uninstrument()


def spans(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """Return the finished spans."""
    return list(exporter.get_finished_spans())


def test_one_run_has_one_span_with_todays_attributes(
    traced: Any, app: Celery, exporter: InMemorySpanExporter
) -> None:
    """Upstream's span is the only one, and it says what it was missing."""

    @app.task(name="u.one")
    def one() -> int:
        return 1

    one.apply(task_id="t1")
    (span,) = spans(exporter)
    assert span.attributes is not None
    assert span.attributes["messaging.operation.type"] == "process"
    assert span.attributes["messaging.message.id"] == "t1"
    assert span.attributes["z4j.captured"] is True


@pytest.mark.parametrize(
    ("limits", "task_id"),
    [
        (SpanLimits(), "t1"),
        (SpanLimits(), UUID(int=7)),
        (SpanLimits(max_span_attributes=5), "t1"),
        (SpanLimits(max_span_attribute_length=3), "t1"),
    ],
)
def test_a_marked_span_has_what_the_sdks_own_call_gives_it(
    limits: SpanLimits, task_id: Any
) -> None:
    """Limits that the user has set hold, and every value is of a type that OTLP can send."""
    facts = TaskFacts("celery", task_id, "u.one", "orders", "w1@host", 2)
    tracer = TracerProvider(span_limits=limits).get_tracer("t")
    ours, theirs = (tracer.start_span("s", attributes={"a": 1}) for _ in range(2))
    upstream.annotate(ours, facts, "redis")
    theirs.set_attributes(
        {
            "z4j.captured": True,
            "messaging.operation.name": "run",
            "messaging.operation.type": "process",
            "z4j.task.attempt": 2,
            "messaging.system": "redis",
            "messaging.destination.name": "orders",
            "messaging.client.id": "w1@host",
            "messaging.message.id": task_id,
        }
    )
    assert isinstance(ours, ReadableSpan)
    assert isinstance(theirs, ReadableSpan)
    assert dict(ours.attributes or {}) == dict(theirs.attributes or {})
    assert ours.dropped_attributes == theirs.dropped_attributes


def test_the_records_carry_the_ids_of_upstreams_span(
    traced: Any, app: Celery, exporter: InMemorySpanExporter, recorder: Any
) -> None:
    """Dashboard and trace lead to one another."""

    @app.task(name="u.one")
    def one() -> int:
        return 1

    one.apply()
    (span,) = spans(exporter)
    assert span.context is not None
    assert {r.span.span_id for r in recorder.records} == {span.context.span_id}


def test_a_failed_run_says_so_on_its_span(
    traced: Any, app: Celery, exporter: InMemorySpanExporter
) -> None:
    """Status and error type are set for every failure, expected ones included."""

    @app.task(name="u.fail", throws=(LookupError,))
    def fail() -> None:
        raise LookupError("x")

    fail.apply()
    (span,) = spans(exporter)
    assert span.attributes is not None
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "LookupError"


def test_a_run_that_is_being_killed_leaves_its_span_to_the_agent(
    traced: Any, app: Celery, exporter: InMemorySpanExporter
) -> None:
    """Upstream would end it as if nothing had happened."""

    @app.task(name="u.killed")
    def killed() -> None: ...

    traced.runs.child_started()
    killed.push_request(id="t1", hostname="w1", delivery_info={})
    run = {"sender": killed, "task_id": "t1", "task": killed, "args": (), "kwargs": {}}
    signals.task_prerun.send(**run)
    signals.task_postrun.send(**run, retval=None, state=None)
    killed.pop_request()
    assert spans(exporter) == []
    # A real child ends here; this process lives on and ends the span in its own time.
    _, activation, _ = upstream._left_open.pop()
    activation.__exit__(None, None, None)


def test_the_workers_name_is_the_workers(
    traced: Any, app: Celery, exporter: InMemorySpanExporter
) -> None:
    """Upstream would write the publisher's origin over it."""

    @app.task(name="u.one")
    def one() -> None: ...

    one.push_request(id="t1", hostname="w1@host", origin="gen1@web", delivery_info={})
    run = {"sender": one, "task_id": "t1", "task": one, "args": (), "kwargs": {}}
    signals.task_prerun.send(**run)
    signals.task_postrun.send(**run, retval=None, state="SUCCESS")
    one.pop_request()
    (span,) = spans(exporter)
    assert span.attributes is not None
    assert span.attributes["celery.hostname"] == "w1@host"


@pytest.mark.parametrize("names", ["celery", "redis, celery", "*"])
def test_upstream_stays_off_where_the_user_disabled_it(
    names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's word stands; records are complete without spans."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", names)
    assert upstream.activate() is False
    assert not CeleryInstrumentor().is_instrumented_by_opentelemetry


def test_without_upstream_there_is_no_span_to_look_at() -> None:
    """A task that upstream never saw has none."""
    assert upstream.span_of(SimpleNamespace(), "t1") is None
    upstream.leave_open(SimpleNamespace(), "t1")


def test_kombu_waits_as_the_pool_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What kombu took before Celery patched the library would stop all greenlets."""
    monkeypatch.setattr(eventio, "_selectf", lambda *_: pytest.fail("the real one"))
    upstream.repair_waiting()
    assert eventio._selectf is select.select
