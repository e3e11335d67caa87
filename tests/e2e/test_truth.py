"""Every way a task can end, on every broker, in both brains: what they show is what was."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain, InstalledBrain
from z4j_otel.cli.workload.scenarios import kinds_of

from ..truth.alone import big_chord, seen_twice  # noqa: TID252 -- shared with make truth
from ..truth.cells import Cell  # noqa: TID252 -- as above
from ..truth.scenarios import ALL  # noqa: TID252 -- as above
from ..truth.stories import play  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(180)

COLUMNS = (
    "name", "state", "queue", "worker_name", "args", "kwargs", "result", "retry_count",
    "exception", "priority",
)  # fmt: skip
PER_RUN = {
    "redelivered": ("args",),
    "requeued": ("args",),
    "link_error.errback": ("args", "result"),
    "sends": ("result",),
    "sends.child": ("result",),
    "custom_task": ("result",),
}
"""The columns that hold other values in every run, by scenario."""
PLACES = {
    "embedded broker": Cell.of("prefork", "embedded broker"),
    "Redis": Cell.of("prefork", "Redis", "redis"),
    "RabbitMQ": Cell.of("prefork", "RabbitMQ"),
    "RabbitMQ quorum": Cell.of("prefork", "RabbitMQ quorum", "rpc"),
    "memory": Cell.of("threads", "memory"),
}
"""What is played here of all cells; ``make truth`` plays more."""
NEEDS = {"Redis": "redis_url", "RabbitMQ": "rabbitmq_url", "RabbitMQ quorum": "rabbitmq_url"}
NAMES = [scenario.name for scenario in PLACES["embedded broker"].scenarios if scenario.events]


class GivenBrain(InstalledBrain):
    """The real brain that all tests share, with an agent of its own."""

    def __init__(self, brain):
        self._brain = brain
        self._agent = brain.mint_agent("truth")

    def commands(self):
        """Return the status of each command this agent was sent, by action."""
        rows = self._brain.api.list_all("commands")
        # The brain itself asks after old tasks that other tests left behind.
        return {
            row["action"]: row["status"]
            for row in rows
            if row["agent_id"] == self._agent.agent_id and row["action"] != "reconcile_task"
        }


def played(request, folder, place):
    """Play all scenarios that can happen in a cell into the embedded brain."""
    cell = PLACES[place]
    if place in NEEDS:
        request.getfixturevalue(NEEDS[place])  # skips, or fails, where the server is missing
    with EmbeddedBrain() as brain, cell.open(folder, brain) as stage:
        return play(brain, stage, scenarios=cell.scenarios)


@pytest.fixture(scope="module")
def plays(request, tmp_path_factory):
    """Play a broker's scenarios once, when the first test asks."""
    known = {}

    def get(place):
        if place not in known:
            known[place] = played(request, tmp_path_factory.mktemp("truth"), place)
        return known[place]

    return get


@pytest.fixture(scope="module")
def real(real_brain, tmp_path_factory):
    """Play all scenarios into the real brain."""
    brain = GivenBrain(real_brain)
    cell = PLACES["embedded broker"]
    with cell.open(tmp_path_factory.mktemp("real"), brain) as stage:
        truth = play(brain, stage, scenarios=cell.scenarios)
    events = {line.scenario.name: brain.events(line.task_id) for line in truth.lines}
    return truth, events, brain.commands()


@pytest.mark.parametrize("place", PLACES)
def test_every_task_is_shown_as_it_was(plays, place):
    """Events, their order, and the columns of the row are the truth in each cell."""
    truth = plays(place)
    wrong = {line.scenario.name: line.problems for line in truth.lines if line.problems}
    assert wrong == {}
    shown = {line.scenario.name for line in truth.lines}
    assert shown == {scenario.name for scenario in ALL} - {*PLACES[place].impossible}


@pytest.mark.parametrize("place", PLACES)
def test_an_operator_can_retry_and_cancel(plays, place):
    """The retry makes a new run, the cancel ends a running one, and the worker ends well."""
    truth = plays(place)
    assert (truth.retry_status, truth.retry_state) == ("completed", "failure")
    can_cancel = "cancelled" not in PLACES[place].impossible
    assert truth.cancel_status == ("completed" if can_cancel else "not sent")
    assert truth.exit_status == 0


@pytest.mark.parametrize("name", NAMES)
def test_both_brains_show_the_same_row(plays, real, name):
    """Column by column, the real brain's row is the embedded one's."""
    shown = []
    for truth in (plays("embedded broker"), real[0]):
        row = truth.line(name).row
        assert row is not None
        columns = [column for column in COLUMNS if column not in PER_RUN.get(name, ())]
        row = {**row, "exception": steady(row["exception"])}
        shown.append({column: row[column] for column in columns} | derived(row))
    ours, theirs = shown
    assert ours == theirs


def steady(exception):
    """Blank the numbers in an exception's text: job numbers, and exit codes Celery races for."""
    return exception and re.sub(r"\d+", "N", exception)


def derived(row):
    """Return what is comparable of columns that differ from run to run."""
    return {
        "traceback head": (row["traceback"] or "").split("\n")[0],
        "has parent": row["parent_task_id"] is not None,
        "has root": row["root_task_id"] is not None,
        "has runtime": row["runtime_ms"] is not None,
        "times": [
            row[f"{moment}_at"] is not None for moment in ("received", "started", "finished")
        ],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_real_brain_is_told_each_event_once(real, name):
    """Every event is there, none twice; publishes of one second are one to the brain."""
    truth, events, _ = real
    scenario = truth.line(name).scenario
    kinds = Counter(event["kind"] for event in events[name])
    publishes = kinds.pop("task.sent", 0)
    assert kinds == Counter(kinds_of(scenario))
    assert int(scenario.is_published) <= publishes <= kinds["task.received"]


def test_the_real_brain_shows_every_task_as_it_was(real):
    """All scenarios are right, and retry and cancel went through its REST API."""
    truth, _, commands = real
    assert {line.scenario.name: line.problems for line in truth.lines if line.problems} == {}
    assert commands == {"retry_task": "completed", "cancel_task": "completed"}
    assert (truth.retry_status, truth.retry_state) == ("completed", "failure")


@pytest.mark.parametrize("is_deduplicated", [False, True], ids=["runs twice", "deduplicated"])
def test_a_message_that_comes_again_while_it_runs(redis_url, tmp_path, is_deduplicated):
    """Redis hands out again what is not acked in time: two attempts, both told."""
    del redis_url  # skips where there is no server
    with EmbeddedBrain() as brain:
        told = seen_twice(brain, tmp_path, is_deduplicated=is_deduplicated)
    assert told.problems == ()


def test_a_chord_of_a_thousand(redis_url, tmp_path):
    """Each member and the body are told once."""
    del redis_url  # skips where there is no server
    with EmbeddedBrain() as brain:
        told = big_chord(brain, tmp_path, members=1000, run_s=120)
    assert (told.got, told.problems) == ("1001 of 1001 told once", ())
