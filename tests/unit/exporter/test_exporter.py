"""The exporter as OpenTelemetry calls it."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from z4j_otel.errors import ConfigError
from z4j_otel.exporter.exporter import Z4JExporter
from z4j_otel.exporter.task_span import SkipReason

TASK = {"messaging.message.id": "1", "celery.state": "SUCCESS"}
KINDS = ["received", "started", "succeeded"]


def test_it_is_built_without_arguments(host):
    """OpenTelemetry wants a class that needs nothing; building it opens nothing."""
    assert issubclass(Z4JExporter, SpanExporter)
    Z4JExporter()
    assert (host.opened, host.checked) == ([], [])


def test_every_recorded_celery_span(host, sink, recorded):
    """The whole recording, in one batch: 35 sends, 33 runs, nothing raised."""
    exporter = Z4JExporter()
    spans = [span for _, span in recorded("celery")]
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    counts = {kind: sink.kinds().count(kind) for kind in set(sink.kinds())}
    assert counts == {
        "sent": 35,
        "received": 33,
        "started": 33,
        "succeeded": 22,
        "failed": 8,
        "retried": 3,
        "rejected": 1,
    }
    assert exporter.skipped == {SkipReason.NOT_A_TASK: 24, SkipReason.NO_TASK_ID: 1}


def test_arguments_are_settings(host):
    """Named, positional and further arguments all reach the host's check."""
    Z4JExporter("http://b", token="t", environment="dev", tags={"a": "b"})
    assert host.checked == [
        {"brain_url": "http://b", "token": "t", "environment": "dev", "tags": {"a": "b"}}
    ]


def test_an_unknown_setting_is_refused(host):
    """What the host finds wrong with a setting reaches the caller."""

    def refuse(settings):
        raise ConfigError("urll", "argument", "no such setting; did you mean brain_url?")

    host.check_settings = refuse
    with pytest.raises(ConfigError, match="did you mean"):
        Z4JExporter(urll="x")


def test_without_configuration_it_succeeds(host, make_span):
    """An unconfigured process exports into nothing, without an error."""
    host.given = None
    assert Z4JExporter().export([make_span(TASK)]) is SpanExportResult.SUCCESS


def test_a_host_that_raises_is_a_failure_not_an_error(host, make_span):
    """Nothing ever leaves export but its result."""

    def raise_error(settings=None):
        raise ConfigError("token", "environment", "not set")

    host.sink = raise_error
    assert Z4JExporter().export([make_span(TASK)]) is SpanExportResult.FAILURE


def test_shutdown_flushes_once_and_ends_it(host, sink, make_span):
    """Shutdown waits 5 s at most, once; nothing is exported afterwards."""
    exporter = Z4JExporter()
    exporter.export([make_span(TASK)])
    exporter.shutdown(timeout_millis=30_000)
    exporter.shutdown()
    assert sink.flushes == [5.0]
    assert exporter.export([make_span(TASK)]) is SpanExportResult.FAILURE
    assert sink.kinds() == KINDS


def test_force_flush(host, sink, make_span):
    """The time allowed is passed on; a sink that breaks is not flushed."""
    exporter = Z4JExporter()
    exporter.export([make_span(TASK)])
    assert exporter.force_flush(1500) is True
    assert sink.flushes == [1.5]
    sink.flush = lambda timeout_s: 1 / 0
    assert exporter.force_flush() is False


def test_in_a_batch_processor(host, sink):
    """Behind the SDK's own processor, a span arrives at shutdown, and is flushed."""
    provider = TracerProvider(sampler=ALWAYS_ON)
    provider.add_span_processor(BatchSpanProcessor(Z4JExporter()))
    tracer = provider.get_tracer("opentelemetry.instrumentation.celery")
    with tracer.start_as_current_span("run/tasks.add") as span:
        span.set_attributes(TASK)
    provider.shutdown()
    assert sink.kinds() == KINDS
    assert 0 < sink.flushes[0] <= 5.0
