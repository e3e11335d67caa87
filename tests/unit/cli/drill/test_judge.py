"""The count at the end of a drill."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from z4j_otel.cli.drill.judge import REPORT, Fate, Outcome, judge
from z4j_otel.cli.drill.notes import Notes

PID = 2**22 + 1  # larger than any process's number: its runs are over


class Event(NamedTuple):
    """An event as the brain has it."""

    task_id: str
    kind: str
    data: dict[str, Any]
    occurred_at: int


class Brain:
    """Knows what it is given; stands for the brain and for its inside."""

    def __init__(self):
        self.stored = []
        self.states = {}

    @property
    def inner(self):
        """It has but one layer."""
        return self

    def events(self):
        """Return all."""
        return self.stored

    def task(self, task_id):
        """Return a task's row."""
        state = self.states.get(task_id)
        return state and {"state": state}


class Scene:
    """A scene at rest."""

    def __init__(self, folder):
        self.folder = folder
        self.brain = Brain()
        self.notes = Notes(folder / "notes")
        self.ids = []
        self.account(acked=0)

    def account(self, **counts):
        """Write what the agents report."""
        account = {"captured": 0, "pending": 0, "dropped": 0, "unaccounted": 0, **counts}
        line = json.dumps({"buffer_id": "b", "waiting": 0, "account": account})
        (self.folder / REPORT).write_text(line + "\n")

    def note(self, task_id, *phases):
        """Note what a task did."""
        with self.notes.path.open("a") as file:
            file.writelines(f"{phase} {task_id} {PID} 1\n" for phase in phases)

    def tell(self, task_id, kinds, state="success", **data):
        """Have the brain told; every event has its own time."""
        self.ids.append(task_id)
        self.brain.states[task_id] = state
        for kind in kinds.split():
            at = len(self.brain.stored)
            self.brain.stored.append(Event(task_id, f"task.{kind}", data, at))
        self.account(acked=len(self.brain.stored))

    def judge(self, held=(), **known):
        """Return the outcome."""
        outcome = Outcome(1)
        judge(self, outcome, held, **known)
        return outcome


@pytest.fixture
def scene(tmp_path):
    """Return a scene without tasks."""
    return Scene(tmp_path)


@pytest.fixture
def good(scene):
    """Return a scene with one task that ran and was told."""
    scene.note("a", "begin", "end")
    scene.tell("a", "sent received started succeeded")
    return scene


def test_a_run_that_was_told_once_is_good(good):
    """And counted."""
    outcome = good.judge()

    assert outcome.is_good
    assert (outcome.tasks, outcome.runs, outcome.told, outcome.stored) == (1, 1, 1, 4)
    assert outcome.plain()["good"] is True


def test_a_run_that_nobody_told_is_a_problem(good):
    """Its id and what is wrong stand in the outcome."""
    good.ids.append("b")
    good.note("b", "begin", "end")
    outcome = good.judge()

    assert not outcome.is_good
    assert outcome.problems[0].startswith("b: 1 runs, 0 told")


def test_an_event_that_is_stored_twice_is_a_problem(good):
    """The same event, at the same time."""
    good.brain.stored.append(good.brain.stored[-1])

    outcome = good.judge()

    assert outcome.repeated_events == 1
    assert not outcome.is_good


def test_a_task_that_never_began_is_the_brokers_loss(good):
    """It was taken by a worker that died before the task's first line."""
    good.tell("b", "sent received", state="received")

    outcome = good.judge()

    assert outcome.is_good
    assert (outcome.never_ran, outcome.waiting) == (1, 0)


def test_a_task_that_never_began_and_has_its_message_waits(good):
    """Its broker is slow to hand out what a dead worker had taken."""
    good.tell("b", "sent received", state="received")

    outcome = good.judge(held=["b"])

    assert outcome.is_good
    assert (outcome.never_ran, outcome.waiting) == (0, 1)


@pytest.mark.parametrize(("then", "state"), [("", "retry"), (" received", "received")])
@pytest.mark.parametrize(
    ("held", "is_held_known", "waiting"),
    [(("b",), True, 1), ((), True, 0), ((), False, 1)],
)
def test_a_task_that_is_to_run_again_needs_its_message(
    good, held, is_held_known, waiting, then, state
):
    """Unless the broker forgets what a dead worker had taken, before it began or after."""
    good.note("b", "begin")
    good.tell("b", f"sent received started retried{then}", state=state)

    outcome = good.judge(held, is_held_known=is_held_known)

    assert outcome.waiting == waiting
    assert outcome.is_good == bool(waiting)


@pytest.mark.parametrize(
    ("end", "is_good"),
    [
        ({"pid": PID + 1, "cause": "worker_lost"}, True),
        ({"pid": PID, "cause": "worker_lost"}, False),
        ({"pid": PID + 1, "cause": "exception"}, False),
        ({"cause": "worker_lost"}, False),
    ],
)
def test_an_end_without_a_start_is_that_of_a_process_which_never_began(good, end, is_good):
    """It was lost with the message in its hands; its number is in no note and no start."""
    good.note("b", "begin", "end")
    good.tell("b", "sent received")
    good.brain.stored.append(Event("b", "task.retried", end, 99))
    good.tell("b", "received started succeeded")
    good.ids.remove("b")

    assert good.judge().is_good == is_good


@pytest.mark.parametrize("then", ["", " received"])
def test_a_message_that_the_broker_was_seen_to_lose_is_counted_apart(good, then):
    """With what was seen; the task's own notes prove nothing."""
    good.note("b", "begin")
    good.tell("b", f"sent received started retried{then}", state=then.strip() or "retry")
    outcome = good.judge(fates={"b": Fate("popped, never booked", is_lost=True)})

    assert outcome.is_good
    assert (outcome.lost, outcome.waiting) == ({"b": "popped, never booked"}, 0)


def test_a_message_that_was_seen_to_be_acked_is_not_lost(good):
    """Then it was told as retried and comes no more: a problem, with what the broker did."""
    good.note("b", "begin")
    good.tell("b", "sent received started retried", state="retry")
    outcome = good.judge(fates={"b": Fate("out of the book", is_lost=False)})

    assert not outcome.is_good
    assert not outcome.lost
    assert outcome.problems[0].endswith("; broker: out of the book")


def test_a_lost_message_excuses_nothing_else(good):
    """A run whose end was not told stays a problem."""
    good.note("b", "begin", "begin")
    good.tell("b", "sent received started received started retried", state="retry")
    outcome = good.judge(fates={"b": Fate("popped, never booked", is_lost=True)})

    assert not outcome.is_good
    assert not outcome.lost


def test_a_task_that_never_began_and_was_seen_to_be_lost_is_counted_with_what_was_seen(good):
    """Not among those of which nobody knows."""
    good.tell("b", "sent received", state="received")
    outcome = good.judge(fates={"b": Fate("popped, never booked", is_lost=True)})

    assert outcome.is_good
    assert (outcome.never_ran, list(outcome.lost)) == (0, ["b"])


@pytest.mark.parametrize("name", ["pending", "dropped", "unaccounted"])
def test_an_account_that_does_not_close_is_not_good(good, name):
    """Though every task was told."""
    good.account(acked=4, **{name: 1})

    assert not good.judge().is_good


def test_an_ack_too_many_is_not_good(good):
    """What was acked must be stored."""
    good.account(acked=5)

    assert not good.judge().is_good


def test_no_report_at_all_is_not_good(good):
    """Then no agent ended in order."""
    (good.folder / REPORT).unlink()

    assert not good.judge().is_good
