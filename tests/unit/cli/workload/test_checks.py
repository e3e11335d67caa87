"""What the comparison of a brain's view with the truth finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from z4j_otel.cli.workload.checks import differences, story_of
from z4j_otel.cli.workload.scenarios import RETURNS, Scenario

SCENARIO = Scenario("s", "s", lambda _app, _folder: None, RETURNS, "success", row={"args": [1]})
ROW = {
    "state": "success", "name": "shop.add", "queue": "orders", "worker_name": "w", "args": [1],
    "kwargs": {}, "result": None, "retry_count": 0, "exception": None, "runtime_ms": 1,
    "parent_task_id": None,
}  # fmt: skip
EVENTS = [
    {"kind": f"task.{kind}", "data": {"eager": True} if kind == "started" else {}}
    for kind in ("sent", "received", "started", "succeeded")
]


def found(scenario=SCENARIO, row=ROW, events=EVENTS):
    """Return the differences between a scenario and a view."""
    return differences(scenario, row, events, worker="w", is_ordered=True)


def test_the_truth_has_no_differences():
    """What is as it must be is not mentioned; the publish is no part of the story."""
    assert found() == []
    assert story_of(EVENTS) == RETURNS


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"is_published": False}, "the publish never was (task.sent)"),
        ({"data": {"started": {"eager": False}}}, "started.eager is [True], not False"),
        ({"data": {"received": {"eta": ...}}}, "received.eta is [None], not Ellipsis"),
        ({"events": "received"}, f"events are {RETURNS!r}, not 'received'"),
    ],
)
def test_what_an_event_should_say_is_looked_for(change, text):
    """Each difference is told in a line of its own."""
    assert text in found(replace(SCENARIO, **change))


def test_a_key_is_enough_where_its_value_may_be_anything():
    """One event of the kind must have it."""
    assert found(replace(SCENARIO, data={"started": {"eager": ...}})) == []


def test_a_missing_publish_is_told():
    """A message that was sent has its event."""
    assert found(events=EVENTS[1:]) == ["the publish is missing (task.sent)"]


def test_a_task_that_never_was_must_not_be_known():
    """A scenario without events is right when there is nothing."""
    absent = replace(SCENARIO, events="", state="")
    assert found(absent, row=None, events=[]) == []
    assert found(absent) == ["the brain knows a task that never was"]


def test_a_task_that_is_not_known_has_one_difference():
    """Nothing else can be said of it."""
    assert found(row=None, events=[]) == ["the brain does not know the task"]
