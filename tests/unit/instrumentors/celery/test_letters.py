"""What a dead letter says of itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from z4j_otel.instrumentors.celery.letters import (
    expired_at,
    headers_to_send,
    origin_of,
    read_letter,
    route_of,
    task_id_of,
)

AT = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 -- as the client library has it
DEATH = {"queue": "work", "reason": "rejected", "time": AT, "exchange": "x", "routing-keys": ["k"]}
TASK = {"id": "t", "task": "shop.pay", "retries": 2}


def died(**changes):
    """Return the headers of a task that died."""
    return {**TASK, "x-death": [{**DEATH, **changes}]}


@pytest.mark.parametrize(
    ("reason", "text", "attempts"),
    [
        ("rejected", "rejected by a worker", 3),
        ("expired", "expired before a worker took it", 2),
        ("maxlen", "pushed out: the queue was full", 2),
        ("delivery_limit", "delivered too often", 3),
        ("of the future", "", 2),
    ],
)
def test_reason_tells_what_happened(reason, text, attempts):
    """An attempt is what a worker began."""
    letter = read_letter(died(reason=reason), "dead", [])
    assert (letter.error_excerpt, letter.attempts) == (text, attempts)
    assert (letter.task_id, letter.task_name, letter.queue) == ("t", "shop.pay", "work")
    assert letter.failed_at_ns == 1_767_323_045 * 10**9


def test_time_may_say_its_zone():
    """Both forms of a time are the same moment."""
    zone = timezone(timedelta(hours=2))
    letter = read_letter(died(time=datetime(2026, 1, 2, 5, 4, 5, tzinfo=zone)), "dead", [])
    assert letter.failed_at_ns == 1_767_323_045 * 10**9


@pytest.mark.parametrize("deaths", [None, "x", [1], [{"queue": 1}], [{"queue": "dead"}]])
def test_without_a_death_little_is_known(deaths):
    """Somebody may have put a message there by hand."""
    letter = read_letter({**TASK, "x-death": deaths}, "dead", ["a", "b"])
    assert (letter.queue, letter.failed_at_ns, letter.attempts) == ("dead", None, None)
    assert origin_of({"x-death": deaths}, "dead", ["a"]) == "a"
    assert origin_of({"x-death": deaths}, "dead", ["a", "b"]) is None
    assert route_of({"x-death": deaths}, "dead") is None


def test_latest_death_elsewhere_counts():
    """A letter that waited in a queue with a time to live did not fail there."""
    headers = {**TASK, "x-death": [{**DEATH, "queue": "dead"}, {**DEATH, "queue": "later"}, DEATH]}
    assert origin_of(headers, "dead", []) == "later"


@pytest.mark.parametrize(
    ("changes", "route"),
    [
        ({}, ("x", "k")),
        ({"exchange": None}, ("", "work")),
        ({"routing-keys": []}, ("", "work")),
        ({"routing-keys": [1]}, ("", "work")),
    ],
)
def test_route_is_the_one_it_was_published_with(changes, route):
    """Where that is not told, the queue it died in."""
    exchange, routing_key = route
    assert route_of(died(**changes), "dead") == {"exchange": exchange, "routing_key": routing_key}


@pytest.mark.parametrize("task_id", [None, 1, "", "x" * 201])
def test_what_is_no_task_is_passed_over(task_id):
    """Somebody else's message has no id, or one that the wire cannot carry."""
    assert task_id_of({**TASK, "id": task_id}) is None
    assert read_letter({**TASK, "id": task_id}, "dead", []) is None
    assert task_id_of({"id": "t"}) is None


def test_retries_may_be_anything():
    """Whoever wrote a message may have put anything into it."""
    assert read_letter({**died(), "retries": "many"}, "dead", []).attempts == 1


def test_history_is_not_sent():
    """The application's own headers are."""
    headers = {
        **died(),
        "x-first-death-queue": "work",
        "x-last-death-reason": "rejected",
        "x-delivery-count": 3,
        "CC": ["more"],
        "z4j_sent_ns": 1,
        "x-tenant": "a",
        "traceparent": "00-1-2-3",
    }
    assert headers_to_send(headers) == {**TASK, "x-tenant": "a", "traceparent": "00-1-2-3"}


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        (None, None),
        ("soon", None),
        ("1970-01-01T00:00:09", "1970-01-01T00:00:09.000000+00:00"),
        ("1970-01-01T02:00:10+02:00", "1970-01-01T00:00:10.000000+00:00"),
        ("1970-01-01T00:00:11+00:00", None),
    ],
)
def test_expiry_is_read(expires, expected):
    """A time without a zone is UTC, as Celery's is."""
    assert expired_at({"expires": expires}, 10 * 10**9) == expected
