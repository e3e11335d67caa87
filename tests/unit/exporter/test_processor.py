"""The span processor, alone and beside the exporter."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from z4j_otel.exporter.exporter import Z4JExporter
from z4j_otel.exporter.processor import Z4JSpanProcessor
from z4j_otel.exporter.task_span import SkipReason

MESSAGE = {"messaging.system": "kafka", "messaging.message.id": "1"}
KINDS = ["received", "started", "succeeded"]


class RecordOnly(Sampler):
    """Records every span and samples none."""

    def should_sample(self, *args, **kwargs):
        """Record."""
        return SamplingResult(Decision.RECORD_ONLY, attributes=MESSAGE)

    def get_description(self):
        """Name the sampler."""
        return "record only"


@pytest.fixture
def make_provider(host):
    """Build providers that end with the test."""
    with ExitStack() as ended:

        def make(*processors, **given):
            provider = TracerProvider(**given)
            ended.callback(provider.shutdown)
            for processor in processors:
                provider.add_span_processor(processor)
            return provider

        yield make


def run_task(provider):
    """Make one process span whose attributes are given at its creation."""
    tracer = provider.get_tracer("any")
    return tracer.start_as_current_span("process q", kind=SpanKind.CONSUMER, attributes=MESSAGE)


def test_a_start_is_seen_at_once(make_provider, sink):
    """Received and started are told while the task runs."""
    provider = make_provider(Z4JSpanProcessor())
    with run_task(provider):
        assert sink.kinds() == ["received", "started"]
    assert sink.kinds() == KINDS


def test_unsampled_spans_are_seen(make_provider, sink):
    """A span that is recorded and not sampled is told, and says so."""
    provider = make_provider(Z4JSpanProcessor(), sampler=RecordOnly())
    with run_task(provider):
        pass
    assert sink.kinds() == KINDS
    assert not sink.records[0].span.is_sampled


@pytest.mark.parametrize("processor_first", [True, False])
def test_beside_an_exporter_nothing_doubles(make_provider, sink, processor_first):
    """In either order, each step is told once."""
    processor, exporter = Z4JSpanProcessor(), Z4JExporter()
    both = [processor, SimpleSpanProcessor(exporter)]
    with run_task(make_provider(*both if processor_first else reversed(both))):
        pass
    assert sink.kinds() == KINDS
    assert processor.skipped | exporter.skipped == {SkipReason.ALREADY_TAKEN: 1}


def test_nothing_of_its_own_leaves_it(make_provider, host):
    """A sink that breaks does not touch the application."""
    host.given = object()
    provider = make_provider(Z4JSpanProcessor())
    with run_task(provider):
        pass


def test_arguments_are_settings(host):
    """The processor takes the exporter's arguments."""
    Z4JSpanProcessor("http://b", token="t", environment="dev")
    assert host.checked == [{"brain_url": "http://b", "token": "t", "environment": "dev"}]


def test_shutdown_flushes_once_and_ends_it(host, sink, make_span):
    """After shutdown, spans pass by."""
    processor = Z4JSpanProcessor()
    processor.on_end(make_span(MESSAGE))
    assert processor.force_flush(1000) is True
    processor.shutdown()
    processor.shutdown()
    processor.on_start(make_span(MESSAGE, scope="any"))
    processor.on_end(make_span(MESSAGE, scope="any"))
    assert sink.flushes == [1.0, 5.0]
    assert len(sink.records) == 3
