"""Publishes: told once the broker took the message."""

from __future__ import annotations

import gc
import uuid
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, signals
from kombu import Exchange, Queue
from kombu.exceptions import EncodeError
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from z4j_otel import z4j_task
from z4j_otel.events import SpanIds
from z4j_otel.instrumentors.celery import extract, instances
from z4j_otel.instrumentors.celery.policies import HIDDEN_HEADER

TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def publish(
    capture: Any, *, is_taken: bool = True, properties: Any = None, **headers: Any
) -> dict[str, Any]:
    """Publish one message, as Celery's signals tell it."""
    message = {"id": "t1", "task": "shop.add", "retries": 0, **headers}
    body = ([1, 2], {"k": "v"}, {})
    queue = SimpleNamespace(name="orders")
    capture.publisher.before_publish(
        headers=message, body=body, routing_key="rk", declare=[queue], properties=properties
    )
    if is_taken:
        capture.publisher.after_publish(headers=message, body=body)
    return message


def nothing() -> None:
    """Do nothing, as a task."""


def test_a_publish_is_told_with_arguments_and_queue(capture: Any, recorder: Any) -> None:
    """`task.sent` names the queue, not its routing key."""
    publish(capture)
    record = recorder.last("sent")
    assert record.facts.queue == "orders"
    assert (record.details["args"], record.details["kwargs"]) == ([1, 2], {"k": "v"})


@pytest.mark.parametrize(
    ("options", "queue"),
    [
        ({"exchange": "media", "routing_key": "video"}, "video"),
        ({"exchange": Exchange("media"), "routing_key": "video"}, "video"),
        ({"queue": Queue("films", Exchange("media", type="topic"), "film.#")}, "films"),
        ({"queue": "orders"}, "orders"),
        ({}, "celery"),
    ],
)
def test_the_queue_is_that_of_the_exchange(
    app: Celery, recorder: Any, options: dict[str, Any], queue: str
) -> None:
    """Celery declares the default queue also where it publishes to another exchange."""
    app.send_task("shop.add", **options)
    assert recorder.last("sent").facts.queue == queue


@pytest.mark.parametrize(
    ("broker", "worker_pid", "label"),
    [("redis://x", 0, "low"), ("amqp://x", 0, "critical"), ("redis://x", 7, "critical")],
)
def test_a_priority_is_read_on_the_scale_of_the_broker(
    capture: Any, recorder: Any, broker: str, worker_pid: int, label: str
) -> None:
    """A program that only publishes is told of by no worker; 9 is the least urgent on Redis."""
    app = Celery("shop", broker=broker, set_as_current=False)
    capture.runs.main_pid = worker_pid

    def publish_twice() -> None:
        publish(capture, properties={"priority": 9})
        publish(capture, properties={"priority": 9})

    capture.publisher.around_send(publish_twice, app, (), {})
    assert recorder.last("sent").details["priority"] == label


def test_nothing_is_asked_of_an_app_that_nobody_made(
    capture: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's stand-in would look for a configuration of its own."""
    monkeypatch.setattr(instances, "app_of_publisher", lambda: None)
    publish(capture, properties={"priority": 9})
    assert recorder.last("sent").details["priority"] == "critical"


def test_an_app_that_cannot_be_configured_costs_no_record(
    capture: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may have another app than the one that publishes."""
    monkeypatch.setattr(instances, "app_of_publisher", SimpleNamespace)
    publish(capture)
    assert recorder.kinds() == ["sent"]


def test_the_publishing_span_is_read_from_the_message(capture: Any, recorder: Any) -> None:
    """Whatever made the span, its ids travel in `traceparent`."""
    publish(capture, traceparent=TRACEPARENT)
    span = recorder.last("sent").span
    assert (span.trace_id, span.span_id, span.is_sampled) == (
        int("a" * 32, 16),
        int("b" * 16, 16),
        True,
    )


def test_upstreams_span_is_told_as_the_message_names_it(
    app: Any, capture: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids are read from the span itself, and its parent is not told."""
    monkeypatch.setattr(capture.publisher, "_current_app", lambda: app)
    task = app.task(nothing, name="shop.add")
    provider = TracerProvider()
    parent = provider.get_tracer("t").start_span("request")
    span = provider.get_tracer("t").start_span("send", context=set_span_in_context(parent))
    setattr(task, "__otel_task_span", {("t1", True): (span, None, None)})
    message = {"id": "t1", "task": "shop.add"}
    capture.publisher.before_publish(headers=message, body=([], {}, {}), sender="shop.add")
    capture.publisher.after_publish(headers=message)
    context = span.get_span_context()
    told = SpanIds(context.trace_id, context.span_id, 0, is_sampled=True)
    assert recorder.last("sent").span == told


@pytest.mark.parametrize("headers", [{"id": []}, {"id": "t1", "retries": 0, "stamps": object()}])
def test_a_failure_of_ours_stays_inside(
    capture: Any, headers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a message looks like, it is published."""
    monkeypatch.setattr(capture.publisher, "_current_app", lambda: pytest.fail("away"))
    monkeypatch.setattr(extract, "facts_of_headers", lambda *_: 1 / 0)
    capture.publisher.before_publish(headers=headers)
    capture.publisher.after_publish(headers=headers)
    capture.publisher._begun.set((headers,))
    capture.publisher.after_publish(headers=headers)


def test_a_task_id_that_is_no_text_is_told(capture: Any, recorder: Any) -> None:
    """`apply_async(task_id=uuid4())` works in Celery, so it works here."""
    publish(capture, id=uuid.UUID(int=7))
    assert recorder.kinds() == ["sent"]
    assert capture.publisher._begun.get() is None


def test_a_publish_that_failed_is_not_told(capture: Any, recorder: Any) -> None:
    """Without the broker's word there was no message."""
    publish(capture, is_taken=False)
    assert recorder.records == []


def test_the_publishers_clock_travels_with_the_message(capture: Any) -> None:
    """The worker needs it to tell how long the message waited."""
    assert publish(capture)["z4j_sent_ns"] > 0


def test_a_message_of_protocol_1_is_told_as_any_other(app: Celery, recorder: Any) -> None:
    """Its id is in its body, and its headers are left empty: upstream knows it by them."""
    app.conf.task_protocol = 1
    seen: list[dict[str, Any]] = []

    def receiver(headers: dict[str, Any], **_kwargs: Any) -> None:
        seen.append(dict(headers))

    signals.after_task_publish.connect(receiver, weak=False)
    try:
        app.send_task("shop.add", [1, 2], {"k": "v"}, task_id="t1", expires=60)
    finally:
        signals.after_task_publish.disconnect(receiver)
    record = recorder.last("sent")
    facts, details = record.facts, record.details
    assert (facts.task_id, facts.task_name, facts.queue) == ("t1", "shop.add", "celery")
    assert (list(details["args"]), details["kwargs"]) == ([1, 2], {"k": "v"})
    assert (recorder.kinds(), seen) == (["sent"], [{}])


def test_a_retry_by_protocol_1_ends_its_run_before_it_is_out(
    app: Celery, capture: Any, recorder: Any
) -> None:
    """Another process may see the message at once."""
    task = app.task(nothing, name="shop.add")
    task.push_request(id="t1", retries=0)
    capture.runs.started("t1", task)
    app.conf.task_protocol = 1
    app.send_task("shop.add", task_id="t1", retries=1, countdown=5)
    assert recorder.kinds() == ["started", "retried", "sent"]
    assert isinstance(recorder.last("retried").details["eta"], str)


def test_what_other_headers_a_message_of_protocol_1_has_gain_ours(
    capture: Any, recorder: Any
) -> None:
    """Its worker makes one mapping of headers and body."""
    headers, body = {"traceparent": TRACEPARENT}, {"id": "t1", "task": "shop.add"}
    capture.publisher.before_publish(headers=headers, body=body)
    capture.publisher.after_publish(headers=headers, body=body)
    assert set(headers) == {"traceparent", "z4j_sent_ns"}
    assert recorder.last("sent").span.span_id == int("b" * 16, 16)


@pytest.mark.parametrize("headers", [None, {}, {"x": 1}])
@pytest.mark.parametrize("body", [None, {}, b"{}", [[], {}, {}]])
def test_what_is_no_tasks_message_is_left_alone(
    capture: Any, recorder: Any, headers: Any, body: Any
) -> None:
    """Celery's signals can be sent by anybody."""
    before = headers and dict(headers)
    capture.publisher.before_publish(headers=headers, body=body)
    capture.publisher.after_publish(headers=headers, body=body)
    assert (headers, recorder.records) == (before, [])


class Payload:
    """An argument that can be watched; the JSON serializer refuses it."""


def test_a_failed_publish_leaves_nothing_behind(app: Celery, recorder: Any) -> None:
    """A web process whose broker is away must not keep what its requests wanted to publish."""
    payload = Payload()
    watched = weakref.ref(payload)
    with pytest.raises(EncodeError):
        app.send_task("shop.add", [payload])
    del payload
    gc.collect()
    assert watched() is None
    assert recorder.records == []


def test_publishes_past_celerys_own_way_keep_one_at_most(capture: Any, recorder: Any) -> None:
    """A message that is put together by hand can fail without anybody's knowing."""
    payloads = [Payload() for _ in range(3)]
    watched = [weakref.ref(payload) for payload in payloads]
    while payloads:
        headers = {"id": f"t{len(payloads)}", "task": "shop.add"}
        capture.publisher.before_publish(headers=headers, body=([payloads.pop()], {}, {}))
    gc.collect()
    assert sum(reference() is not None for reference in watched) == 1
    capture.publisher.after_publish(headers=dict(headers))
    assert recorder.records == []


def test_a_publish_within_another_hides_neither(app: Celery, recorder: Any) -> None:
    """An application's own receiver may publish, or fail to, before the first one is out."""

    def receiver(sender: str, **_kwargs: Any) -> None:
        if sender == "shop.outer":
            app.send_task("shop.inner")
            with pytest.raises(EncodeError):
                app.send_task("shop.refused", [Payload()])

    signals.before_task_publish.connect(receiver, weak=False)
    try:
        app.send_task("shop.outer")
    finally:
        signals.before_task_publish.disconnect(receiver)
    assert [record.facts.task_name for record in recorder.records] == ["shop.inner", "shop.outer"]


def test_a_message_says_that_its_task_hides_arguments(capture: Any, policies: Any) -> None:
    """For workers that do not have the task; messages of other tasks say nothing."""
    z4j_task("shop.add", redact=["x"])
    hidden, plain = {"id": "t1", "task": "shop.add"}, {"id": "t2", "task": "celery.ping"}
    z4j_task("celery.ping", tags=["x"])
    for headers in (hidden, plain):
        capture.publisher.before_publish(headers=headers, body=(), sender=headers["task"])
    assert hidden[HIDDEN_HEADER] is True
    assert HIDDEN_HEADER not in plain
