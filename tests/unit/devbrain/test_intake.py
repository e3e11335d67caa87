"""What becomes of an event before it reaches the tables."""

from __future__ import annotations

import pytest

from z4j_otel.clock import iso_utc
from z4j_otel.devbrain.brain_rules import BrainRules
from z4j_otel.devbrain.intake import Intake
from z4j_otel.devbrain.inventory import Inventory
from z4j_otel.devbrain.projection import TaskTable

NS = 1_000_000_000
NOW = 1_767_323_045 * NS
UUID4 = "44444444-4444-4444-8444-444444444444"


@pytest.fixture
def intake():
    """Return an intake with empty tables."""
    return Intake("project", BrainRules(), TaskTable("project"), Inventory("project"))


def event(**members):
    """Make a well-formed event."""
    base = {"engine": "celery", "kind": "task.started", "task_id": "t", "data": {}}
    return {**base, "occurred_at": iso_utc(NOW), **members}


@pytest.mark.parametrize(
    "raw",
    [None, 1, "x", [], {}, event(engine=""), event(kind=""), event(engine=5), event(kind=None)],
)
def test_malformed_elements_are_skipped(intake, raw):
    """What is no object, or lacks engine or kind, is settled and not stored."""
    assert not intake.take(raw, "a", NOW)
    assert intake.events == []


def test_unknown_kinds_are_stored_as_unknown(intake):
    """The kind's name is lost, the event is not."""
    assert intake.take(event(kind="task.dreamt"), "a", NOW)
    assert intake.events[0].kind == "unknown"
    assert intake.events[0].event_type == "unknown"


@pytest.mark.parametrize("data", [None, [], "text", 5, [1]])
def test_data_that_is_no_object_is_stored_empty(intake, data):
    """Anything but an object counts as empty."""
    intake.take(event(data=data), "a", NOW)
    assert intake.events[0].payload == {}


def test_a_task_event_is_known_by_its_second(intake):
    """Same task, kind and whole second: the second one is a duplicate, whatever its id."""
    assert intake.take(event(id=UUID4, occurred_at=iso_utc(NOW)), "a", NOW)
    assert not intake.take(event(occurred_at=iso_utc(NOW + NS - 1000)), "b", NOW)
    assert intake.take(event(occurred_at=iso_utc(NOW + NS)), "a", NOW)
    assert intake.take(event(kind="task.failed"), "a", NOW)
    assert intake.take(event(engine="rq"), "a", NOW)
    assert intake.refused["duplicate"] == 1


def test_stored_times_of_task_events_are_whole_seconds(intake):
    """The timeline has no fractions."""
    intake.take(event(occurred_at=iso_utc(NOW + 999_999_000)), "a", NOW)
    assert intake.events[0].occurred_at == "2026-01-02T03:04:05.000000Z"


def test_other_events_are_known_by_id_and_exact_time(intake):
    """Without a task, the sender's id counts together with the time."""
    base = {"kind": "worker.online", "task_id": "", "id": UUID4}
    assert intake.take(event(**base), "a", NOW)
    assert not intake.take(event(**base), "a", NOW)
    assert intake.take(event(**base, occurred_at=iso_utc(NOW + 1000)), "a", NOW)


@pytest.mark.parametrize(
    "bad", [None, "nonsense", "44444444-4444-1444-8444-444444444444", "z" + UUID4[1:]]
)
def test_unusable_ids_are_replaced(intake, bad):
    """An id that is no UUID of version 4 or 7 protects against nothing."""
    for _ in range(2):
        assert intake.take(event(kind="worker.online", task_id="", id=bad), "a", NOW)


def test_stored_ids_are_stable(intake):
    """The row's id depends on what identifies the event, not on when it came."""
    intake.take(event(), "a", NOW)
    intake.take(event(kind="worker.online", task_id="", id=UUID4), "a", NOW)
    ids = [row.id for row in intake.events]
    again = Intake("project", BrainRules(), TaskTable("project"), Inventory("project"))
    again.take(event(occurred_at=iso_utc(NOW + 1000)), "b", NOW)
    again.take(event(kind="worker.online", task_id="", id=UUID4.upper()), "b", NOW)
    assert [row.id for row in again.events] == ids


@pytest.mark.parametrize(
    "stated",
    [
        None,
        5,
        "soon",
        iso_utc(NOW + 61 * NS),
        iso_utc(NOW - 401 * 86_400 * NS),
    ],
)
def test_impossible_times_become_now(intake, stated):
    """Missing, unreadable, future and ancient times are the brain's own."""
    intake.take(event(occurred_at=stated), "a", NOW)
    assert intake.events[0].occurred_at_ns == NOW


def test_a_time_without_offset_is_utc(intake):
    """Naive times are taken as UTC."""
    intake.take(event(occurred_at="2026-01-02T03:04:01.5"), "a", NOW)
    assert intake.events[0].occurred_at_ns == NOW - 4 * NS


@pytest.mark.parametrize(
    "members",
    [
        {"engine": "e" * 41},
        {"task_id": "t" * 201},
        {"task_id": "t\0"},
        {"data": {"task_name": "n" * 501}},
        {"data": {"queue": "q" * 201}},
        {"data": {"args": [{"a": "\0"}]}},
        {"data": {"\0": 1}},
    ],
)
def test_what_no_column_takes_is_settled(intake, members):
    """Over-long and NUL-ridden events are dropped for good."""
    assert not intake.take(event(**members), "a", NOW)
    assert intake.refused["does not fit a column"] == 1


def test_events_are_scrubbed_before_all_else(intake):
    """Identity and rows are made of the redacted event."""
    intake.take(event(data={"worker": "w@a.example", "token": "x"}), "a", NOW)
    assert intake.events[0].data == {"worker": "[REDACTED]", "token": "[REDACTED]"}


def test_a_missing_task_id_means_no_task(intake):
    """Anything but text is no task id."""
    assert intake.take(event(task_id=7), "a", NOW)
    assert intake.events[0].task_id == ""
