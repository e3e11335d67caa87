"""Spans of killed runs, ended for them."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider, StatusCode

from z4j_otel.events import LostSpan
from z4j_otel.exporter.lost_spans import export_lost_span


def lost(**more: Any) -> LostSpan:
    """Build what the agent knows of a killed run."""
    facts: dict[str, Any] = {
        "task_id": "t1", "task_name": "shop.killed", "queue": "orders", "worker": "w1",
        "attempt": 1, "trace_id": "a" * 32, "span_id": "b" * 16, "parent_span_id": "c" * 16,
        "is_sampled": True, "started_ns": 10, "ended_ns": 20, "cause": "worker_lost",
        "error_type": "WorkerLostError",
    }  # fmt: skip
    return LostSpan(**{**facts, **more})


def exported(span: LostSpan) -> list[Any]:
    """Export a lost span and return what an exporter gets."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    export_lost_span(span, provider)
    return list(exporter.get_finished_spans())


def test_the_span_has_the_ids_and_times_of_the_killed_run() -> None:
    """Its parent and its children find it, as if it had been ended in its process."""
    (span,) = exported(lost())
    assert f"{span.context.trace_id:032x}" == "a" * 32
    assert f"{span.context.span_id:016x}" == "b" * 16
    assert f"{span.parent.span_id:016x}" == "c" * 16
    assert (span.start_time, span.end_time) == (10, 20)


def test_the_span_tells_why_the_run_ended() -> None:
    """Status, error type and cause are those of a failure."""
    (span,) = exported(lost())
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "WorkerLostError"
    assert span.attributes["z4j.task.cause"] == "worker_lost"
    assert span.attributes["z4j.captured"] is True


def test_a_run_without_a_parent_is_a_root() -> None:
    """Tasks of publishers without instrumentation start their trace."""
    (span,) = exported(lost(parent_span_id=""))
    assert span.parent is None


def test_an_unsampled_trace_gets_no_span() -> None:
    """The sampler's decision is the user's."""
    assert exported(lost(is_sampled=False)) == []


def test_without_an_sdk_there_is_nobody_to_tell() -> None:
    """The records are complete without it."""
    assert export_lost_span(lost(), NoOpTracerProvider()) is False
