"""Reading Celery's objects."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu import Exchange, Queue
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
    request = request_of(eta="2026-01-02T00:00:00Z")
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


@pytest.mark.parametrize(
    ("args", "text"), [((1,), "Odd: 1"), ((1, "x"), "Odd: (1, 'x')"), ((), "Odd")]
)
def test_an_exception_that_cannot_leave_its_process_keeps_its_name(args: Any, text: str) -> None:
    """Celery puts a stand-in in its place, which says what it stands for."""
    stand_in = UnpickleableExceptionWrapper("shop.errors", "Odd", args)
    details = extract.failure_details(stand_in)
    assert (details["exception"], details["exception_type"]) == (text, "Odd")


def test_an_exception_in_celerys_wrapping_keeps_its_type() -> None:
    """The pool wraps what it sends between processes."""
    wrapped = type("ExceptionWithTraceback", (Exception,), {"exc": KeyError("k")})()
    assert extract.failure_details(wrapped)["exception_type"] == "KeyError"


def test_a_name_for_the_log_is_not_the_tasks_name(request_of: Any) -> None:
    """`shadow` changes what Celery calls the request; a retry needs the true name."""
    request = request_of(task="shop.add", shadow="a sum")
    request.name = "a sum"
    assert extract.facts_of_request("celery", request).task_name == "shop.add"
    assert extract.received_details(request, 0, "redis")["shadow"] == "a sum"


@pytest.mark.parametrize(
    ("stamps", "wanted", "expected"),
    [
        ({"customer": "c-17"}, {"customer": "c-17"}, True),
        ({"customer": ["c-1", "c-17"]}, {"customer": ["c-17"]}, True),
        ({"customer": ["c-1"]}, {"customer": ["c-17"]}, False),
        ({}, {"customer": ["c-17"]}, False),
    ],
)
def test_a_stamp_is_found_alone_or_in_a_list(
    request_of: Any, stamps: Any, wanted: Any, expected: bool
) -> None:
    """Celery takes both, in the message and in the command."""
    request = request_of(stamped_headers=["customer"], stamps=stamps)
    assert extract.has_stamp(request, wanted) is expected


@pytest.mark.parametrize(
    ("routing_key", "queue"),
    [("orders", "orders"), ("0." * 27 + "1.orders", "orders"), ("0.1.orders", "0.1.orders"),
     ("", None), (None, None)],
)  # fmt: skip
def test_a_delayed_message_is_of_the_queue_it_was_sent_to(routing_key: Any, queue: Any) -> None:
    """RabbitMQ's delayed delivery writes the delay into the routing key."""
    assert extract.queue_of({"routing_key": routing_key}) == queue


def test_a_message_says_of_its_task_in_headers_or_in_its_body() -> None:
    """Protocol 1 knows no headers, and has its times as such."""
    eta = datetime(2026, 1, 2, tzinfo=timezone.utc)
    body = {"id": "t1", "task": "shop.add", "args": [1], "kwargs": {}, "eta": eta}
    headers = {"id": "t2"}
    assert extract.headers_of_publish(headers, body) is headers
    assert extract.headers_of_publish({}, body) == {**body, "eta": eta.isoformat()}
    assert extract.headers_of_publish({}, {}) is None
    details = extract.sent_details(body, body, {}, "amqp")
    assert details == {"args": [1], "kwargs": {}, "eta": eta.isoformat()}


@pytest.mark.parametrize(
    ("exchange", "declare", "queue"),
    [
        ("media", [Queue("celery", Exchange("celery"))], "rk"),
        (Exchange("media"), [Queue("films", Exchange("media"))], "films"),
        (None, [Queue("films", Exchange("media"))], "films"),
        ("", None, "rk"),
        ("media", [object()], "rk"),
    ],
)
def test_a_publish_goes_to_the_queue_of_its_exchange(
    exchange: Any, declare: Any, queue: str
) -> None:
    """What is declared beside another exchange gets nothing of it."""
    assert extract.queue_of_publish(exchange, "rk", declare) == queue


@pytest.mark.parametrize(
    ("urls", "scheme"),
    [
        ("redis+socket:///x", "redis"),
        (["amqps://a", "redis://b"], "amqps"),
        ([], "celery"),
        (None, "celery"),
    ],
)
def test_the_broker_is_known_by_its_first_url(urls: Any, scheme: str) -> None:
    """Celery takes several URLs for failover."""
    conf = SimpleNamespace(broker_url=urls)
    assert extract.broker_scheme_of(SimpleNamespace(conf=conf)) == scheme
    assert extract.broker_scheme_of(None) == "celery"
