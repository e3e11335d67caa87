"""Publishes: told once the broker took the message."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def publish(capture: Any, *, is_taken: bool = True, **headers: Any) -> dict[str, Any]:
    """Publish one message, as Celery's signals tell it."""
    message = {"id": "t1", "task": "shop.add", "retries": 0, **headers}
    body = ([1, 2], {"k": "v"}, {})
    queue = SimpleNamespace(name="orders")
    capture.publisher.before_publish(headers=message, body=body, routing_key="rk", declare=[queue])
    if is_taken:
        capture.publisher.after_publish(headers=message, body=body)
    return message


def test_a_publish_is_told_with_arguments_and_queue(capture: Any, recorder: Any) -> None:
    """`task.sent` names the queue, not its routing key."""
    publish(capture)
    record = recorder.last("sent")
    assert record.facts.queue == "orders"
    assert (record.details["args"], record.details["kwargs"]) == ([1, 2], {"k": "v"})


def test_the_publishing_span_is_read_from_the_message(capture: Any, recorder: Any) -> None:
    """Whatever made the span, its ids travel in `traceparent`."""
    publish(capture, traceparent=TRACEPARENT)
    span = recorder.last("sent").span
    assert (span.trace_id, span.span_id, span.is_sampled) == (
        int("a" * 32, 16),
        int("b" * 16, 16),
        True,
    )


def test_a_task_id_that_is_no_text_is_told(capture: Any, recorder: Any) -> None:
    """`apply_async(task_id=uuid4())` works in Celery, so it works here."""
    publish(capture, id=uuid.UUID(int=7))
    assert recorder.kinds() == ["sent"]
    assert capture.publisher._pending == {}


def test_a_publish_that_failed_is_not_told(capture: Any, recorder: Any) -> None:
    """Without the broker's word there was no message."""
    publish(capture, is_taken=False)
    assert recorder.records == []


def test_the_publishers_clock_travels_with_the_message(capture: Any) -> None:
    """The worker needs it to tell how long the message waited."""
    assert publish(capture)["z4j_sent_ns"] > 0


def test_publishes_that_never_end_do_not_pile_up(capture: Any) -> None:
    """Failed publishes leave a bounded number of notes."""
    for number in range(3000):
        publish(capture, is_taken=False, id=f"t{number}")
    assert len(capture.publisher._pending) <= 1000
