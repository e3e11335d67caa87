"""What a repeated task keeps of the earlier one."""

import json

import pytest
from celery import Celery

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.message_copy import from_message, from_result
from z4j_otel.instrumentors.celery.recent import RecentMessage
from z4j_otel.instrumentors.celery.results import StoredResult

APP = Celery("x", broker="memory://", set_as_current=False)
EMBED = {"callbacks": ["c"], "errbacks": ["e"], "chain": ["n"], "chord": {"id": "g"}}


def message(headers=None, *, delivery=None, body=None, content_type="application/json", **more):
    """Make a remembered message with the headers Celery always writes."""
    written = {"task": "t", "id": "old", "retries": 2, "expires": "2020-01-01", "group": "g"}
    return RecentMessage(
        headers={**written, "timelimit": [9, None], **(headers or {})},
        body=json.dumps([[1], {"a": 2}, EMBED]) if body is None else body,
        content_type=content_type,
        content_encoding="utf-8",
        delivery_info=delivery or {"exchange": "", "routing_key": "q", "priority": 4},
        properties=more,
    )


def test_task_runs_as_before():
    """Name, arguments, queue, priority, limits and form of the message stay."""
    resend = from_message(APP, "old", message(reply_to="r", delivery_mode=1))
    assert (resend.name, resend.args, resend.kwargs) == ("t", [1], {"a": 2})
    expected = {"queue": "q", "priority": 4, "time_limit": 9, "soft_time_limit": None}
    expected |= {"serializer": "json", "reply_to": "r", "delivery_mode": 1}
    assert expected.items() <= resend.options.items()


def test_what_follows_stays_and_what_counts_goes():
    """Callbacks and the chain follow the repetition; group, chord, expiry and retries go."""
    options = from_message(APP, "old", message()).options
    assert (options["link"], options["link_error"], options["chain"]) == (["c"], ["e"], ["n"])
    assert not {"group_id", "chord", "expires", "retries", "task_id"} & set(options)


def test_new_task_hangs_below_the_old_one():
    """The root stays the root, and the parent is the task that is repeated."""
    options = from_message(APP, "old", message({"root_id": "first", "parent_id": "p"})).options
    assert (options["root_id"], options["parent_id"]) == ("first", "old")
    assert from_message(APP, "old", message()).options["root_id"] == "old"


def test_only_the_users_headers_stay():
    """Trace headers, z4j's and the broker's notes are of the earlier delivery."""
    stale = ("traceparent", "tracestate", "z4j_sent_ns", "x-death", "X-B3-TraceId", "lang")
    headers = {**dict.fromkeys(stale, "1"), "tenant": "blue", "baggage": "k=v"}
    options = from_message(APP, "old", message(headers)).options
    assert options["headers"] == {"tenant": "blue", "baggage": "k=v"}
    assert "headers" not in from_message(APP, "old", message()).options


def test_stamps_stay():
    """Stamps are handed over as send_task takes them, unless they are named as an option."""
    stamps = {"stamped_headers": ["tenant", "queue", "gone"], "stamps": {"tenant": 1, "queue": 2}}
    options = from_message(APP, "old", message({**stamps, "tenant": 1})).options
    assert (options["stamped_headers"], options["tenant"], options["queue"]) == (["tenant"], 1, "q")
    assert "headers" not in options


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        ({"exchange": "ex", "routing_key": "a.b"}, {"exchange": "ex", "routing_key": "a.b"}),
        ({"exchange": None, "routing_key": "q"}, {"queue": "q"}),
        ({"exchange": "celery_delayed_3", "routing_key": "0.1.q"}, {}),
        ({"exchange": "ex", "routing_key": None}, {}),
    ],
)
def test_destination_stays_where_it_is_one(delivery, expected):
    """A queue or exchange is kept; a delayed delivery is routed by the task's name again."""
    options = from_message(APP, "old", message(delivery=delivery)).options
    names = {"queue", "exchange", "routing_key"}
    assert {key: options[key] for key in names & set(options)} == expected


def test_forbidden_content_is_never_decoded():
    """Pickle is not touched where the app does not accept it."""
    pickled = message(
        body=b"cos\nsystem\n(S'false'\ntR.", content_type="application/x-python-serialize"
    )
    with pytest.raises(CommandRefused, match="accept_content"):
        from_message(APP, "old", pickled)


@pytest.mark.parametrize("body", ["{", "[1]", "7"])
def test_damaged_body_is_refused(body):
    """A body that is no task message is refused in plain words."""
    with pytest.raises(CommandRefused, match="cannot be read"):
        from_message(APP, "old", message(body=body))


def test_result_backend_gives_arguments_and_queue():
    """From the backend come name, arguments and queue, and nothing else."""
    stored = StoredResult("FAILURE", name="t", args=[1], kwargs={}, queue="q")
    resend = from_result("old", stored)
    assert (resend.name, resend.args, resend.kwargs) == ("t", [1], {})
    assert resend.options == {"root_id": "old", "parent_id": "old", "queue": "q"}
    assert "queue" not in from_result("old", StoredResult("PENDING")).options
