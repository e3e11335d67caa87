"""A retry in an application's own span exporter, everything in one process."""

from __future__ import annotations

import uuid

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import task_received
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from z4j_otel.agent.execution import CommandRunner
from z4j_otel.cli.brain_api import wait_until
from z4j_otel.commands import Command, Target
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.redaction import Redactor

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def exporter():
    """An application's exporter that keeps spans in memory, with upstream's Celery spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    exporter.provider = provider
    upstream = CeleryInstrumentor()
    upstream.instrument(tracer_provider=provider)
    yield exporter
    upstream.uninstrument()


@pytest.fixture
def shop(exporter):
    """An app with a task that fails, its worker in a thread, and its adapter."""
    app = Celery("traced", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex

    @app.task(name="shop.fail", shared=False)
    def fail(number):
        raise ValueError(number)

    adapter = CeleryEngineAdapter(app)

    def remember(request, **_):
        adapter.recent.remember(request)

    task_received.connect(remember, weak=False)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20):
        yield adapter
    task_received.disconnect(remember)


def _span(exporter, name, task_id):
    def found():
        for span in exporter.get_finished_spans():
            if span.name == name and span.attributes.get("messaging.message.id") == task_id:
                return span
        return None

    return wait_until(found, f"{name} of {task_id}", timeout_s=20)


def test_a_retry_is_one_trace_that_links_to_the_failed_run(exporter, shop):
    """Command, publish and new run follow each other; the run that failed is one link away."""
    failed_id = shop.app.send_task("shop.fail", [7]).id
    failed = _span(exporter, "run/shop.fail", failed_id)
    ids = format_trace_id(failed.context.trace_id), format_span_id(failed.context.span_id)
    parameters = {"engine": "celery", "task_id": failed_id, "task_name": "shop.fail"}
    command = Command(
        CommandId("c-1"),
        "retry_task",
        Target("task", f"celery:{failed_id}", "celery"),
        parameters,
        traces=(f"00-{ids[0]}-{ids[1]}-01",),
    )
    runner = CommandRunner({"celery": shop}, redactor=Redactor(), tracer_provider=exporter.provider)
    result = runner.run(command).result
    run = _span(exporter, "run/shop.fail", result["new_task_id"])
    publish = _span(exporter, "apply_async/shop.fail", result["new_task_id"])
    (own,) = [s for s in exporter.get_finished_spans() if s.name == "z4j.command retry_task"]
    assert [(link.context.trace_id, link.context.span_id) for link in own.links] == [
        (failed.context.trace_id, failed.context.span_id)
    ]
    assert own.parent is None
    assert publish.parent.span_id == own.context.span_id
    assert run.parent.span_id == publish.context.span_id
    traces = {format_trace_id(span.context.trace_id) for span in (own, publish, run)}
    assert traces == {result["trace_id"]}
    assert ids[0] not in traces
