"""Repeating several tasks."""

import pytest

from z4j_otel.commands import Command
from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.celery.bulk import BulkRetry
from z4j_otel.testing import ManualClock


class Tasks:
    """Tasks that can be repeated, or not."""

    def __init__(self, **errors):
        self.errors, self.asked, self.ids, self.clock = errors, [], [], ManualClock()

    def retry(self, parameters, new_id):
        """Repeat one, in a second."""
        self.asked.append(parameters)
        self.ids.append(new_id)
        self.clock.advance(1.0)
        task_id = parameters["task_id"]
        if task_id in self.errors:
            raise self.errors[task_id]
        return {"new_task_id": f"new-{task_id}"}

    def run(self, *ids, most=1000, timeout_s=60.0, **more):
        """Repeat these."""
        condition = {"engine": "celery", "task_ids": list(ids), **more}
        asked = {"filter": condition, "max": most}
        return self.carry_out(asked, timeout_s)

    def carry_out(self, asked, timeout_s=60.0):
        """Carry a command out."""
        command = Command(CommandId("c"), "bulk_retry", parameters=asked, timeout_s=timeout_s)
        return BulkRetry(self.retry, self.clock).retry(command)


def test_tasks_are_repeated_in_order():
    """Each id once, with its name and priority."""
    tasks = Tasks()
    answer = tasks.run("a", "b", "a", task_names={"a": "t"}, task_priorities={"b": "high"})
    assert answer == {
        "requested": 2, "succeeded": 2, "failed": 0, "skipped": 0, "capped": False,
        "circuit_broken": False, "new_task_ids": ["new-a", "new-b"], "failures": [],
    }  # fmt: skip
    assert tasks.asked == [
        {"task_id": "a", "task_name": "t", "priority": None},
        {"task_id": "b", "task_name": None, "priority": "high"},
    ]


def test_new_ids_follow_from_the_command():
    """The same command plans the same tasks, each its own."""
    one, two = Tasks(), Tasks()
    one.run("a", "b")
    two.run("a", "b")
    assert one.ids == two.ids
    assert len(set(one.ids)) == 2


def test_failures_are_told_one_by_one():
    """What could be repeated counts, what could not has its reason."""
    answer = Tasks(b=CommandRefused("no arguments")).run("a", "b")
    assert (answer["succeeded"], answer["failed"]) == (1, 1)
    assert answer["failures"] == [{"task_id": "b", "error": "refused: no arguments"}]


def test_nothing_repeated_is_no_success():
    """A single task ends with its own error, several with a summary that says the worst."""
    lost = AdapterError("broker away", indeterminate=True)
    with pytest.raises(AdapterError) as single:
        Tasks(a=lost).run("a")
    assert single.value is lost
    with pytest.raises(CommandRefused, match=r"none of 2 tasks.*no") as several:
        Tasks(a=CommandRefused("no"), b=lost).run("a", "b")
    assert several.value.indeterminate


def test_more_than_max_are_skipped():
    """The cap is told."""
    answer = Tasks().run("a", "b", "c", most=2)
    assert (answer["requested"], answer["succeeded"], answer["skipped"]) == (3, 2, 1)
    assert answer["capped"]


def test_time_is_kept_for_the_answer():
    """What does not fit into the command's time is skipped, and told."""
    answer = Tasks().run(*"abcdefghijklmnop", timeout_s=10.0)
    assert (answer["succeeded"], answer["skipped"], answer["capped"]) == (9, 7, False)


def test_broken_broker_ends_it():
    """Three errors of the engine in a row are enough; refusals are none."""
    away = AdapterError("away")
    tasks = Tasks(b=CommandRefused("no"), c=away, d=away, e=away)
    answer = tasks.run(*"abcdefg")
    assert (answer["succeeded"], answer["failed"], answer["skipped"]) == (1, 4, 2)
    assert answer["circuit_broken"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"filter": {"task_ids": []}},
        {"filter": {"task_ids": "a"}},
        {"filter": {"task_ids": [1]}},
        {"filter": {"task_ids": ["x" * 201]}},
        {"filter": {"task_ids": ["a"] * 10_001}},
        {"filter": {"task_ids": ["a"]}, "max": 0},
        {"filter": {"task_ids": ["a"]}, "max": True},
        {"filter": {"task_ids": ["a"], "task_names": []}},
        {"filter": []},
    ],
)
def test_other_parameters_are_refused(asked):
    """Nothing is repeated for a malformed command."""
    tasks = Tasks()
    with pytest.raises(CommandRefused):
        tasks.carry_out(asked)
    assert tasks.asked == []
