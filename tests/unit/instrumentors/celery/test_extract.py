"""Reading Celery's objects."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from z4j_otel.events import Cause
from z4j_otel.instrumentors.celery import extract


@pytest.mark.parametrize(
    ("priority", "scheme", "label"),
    [
        (None, "amqp", None),
        (0, "redis", None),
        (9, "amqp", "critical"),
        (6, "amqp", "high"),
        (3, "amqp", "normal"),
        (1, "amqp", "low"),
        (9, "redis", "low"),
        (3, "redis", "high"),
        ("high", "amqp", None),
    ],
)
def test_priorities_are_read_on_the_scale_of_their_broker(
    priority: Any, scheme: str, label: str | None
) -> None:
    """On Redis a smaller number is more urgent, on AMQP a larger one."""
    assert extract.priority_label(priority, scheme) == label


def test_an_eta_is_told_as_text(request_of: Any) -> None:
    """The time a task waits for is part of its arrival."""
    request = request_of()
    request.eta = datetime(2026, 1, 2, tzinfo=timezone.utc)
    assert extract.received_details(request, 0, "redis")["eta"] == "2026-01-02T00:00:00+00:00"


def test_a_negative_wait_is_told_as_none(request_of: Any) -> None:
    """Clocks of two machines may disagree."""
    details = extract.received_details(request_of(z4j_sent_ns=10**18), 0, "redis")
    assert details["queue_wait_ms"] == 0


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f" 00-{TRACE}-{SPAN}-03 ",
        f"cc-{TRACE}-{SPAN}-01-what-comes-later",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
    ],
)
def test_a_messages_span_is_read_as_opentelemetry_reads_it(traceparent: str) -> None:
    """Our reader is quicker and must not differ."""
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    expected = get_current_span(context).get_span_context()
    found = extract.remote_span({"traceparent": traceparent})
    assert (found is not None) is expected.is_valid
    if found is not None:
        assert (found.trace_id, found.span_id) == (expected.trace_id, expected.span_id)
        assert found.is_sampled is expected.trace_flags.sampled


@pytest.mark.parametrize("headers", [{}, {"traceparent": 1}, {"traceparent": "x"}])
def test_a_message_without_a_readable_span_has_none(headers: Any) -> None:
    """A broken header is no reason to fail."""
    assert extract.remote_span(headers) is None


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("SoftTimeLimitExceeded", Cause.SOFT_TIME_LIMIT),
        ("TimeLimitExceeded", Cause.TIME_LIMIT),
        ("WorkerLostError", Cause.WORKER_LOST),
        ("Reject", Cause.REJECTED),
        ("NotRegistered", Cause.UNKNOWN_TASK),
        ("ValueError", Cause.EXCEPTION),
    ],
)
def test_the_cause_follows_from_the_exception(name: str, cause: Cause) -> None:
    """Every way to fail has its own cause."""
    assert extract.cause_of(type(name, (Exception,), {})()) is cause


def test_hostile_header_values_are_read_as_nothing() -> None:
    """Retry numbers and routing keys of the wrong type do not pass."""
    facts = extract.facts_of_headers("celery", {"id": 7, "task": None, "retries": "x"}, None)
    assert (facts.task_id, facts.task_name, facts.attempt) == ("7", "None", 0)
