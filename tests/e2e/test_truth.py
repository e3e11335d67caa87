"""Every way a task can end, on every broker, in both brains: what they show is what was."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain, InstalledBrain
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.workload.scenarios import SCENARIOS, kinds_of

from ..truth.losses import ENDINGS, measure  # noqa: TID252 -- the tables of `make truth`
from ..truth.stories import IMPOSSIBLE, play, possible_on  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(180)

COLUMNS = (
    "name", "state", "queue", "worker_name", "args", "kwargs", "result", "retry_count",
    "exception", "priority",
)  # fmt: skip
NAMES = [scenario.name for scenario in SCENARIOS]
PER_RUN = {"redelivered": "args"}
"""The column that holds another value in every run, by scenario."""
BROKERS = {"embedded broker": None, "Redis": "redis_url", "RabbitMQ": "rabbitmq_url"}


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
    """Play all scenarios that can happen on a broker into the embedded brain."""
    fixture = BROKERS[place]
    broker = request.getfixturevalue(fixture) if fixture else None
    with EmbeddedBrain() as brain:
        stage = Stage(folder, brain.environment(), broker=broker)
        truth = play(brain, stage, scenarios=possible_on(place))
        truth_events = {line.scenario.name: brain.events(line.task_id) for line in truth.lines}
    return truth, truth_events


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
    truth = play(brain, Stage(tmp_path_factory.mktemp("real"), brain.environment()))
    events = {line.scenario.name: brain.events(line.task_id) for line in truth.lines}
    return truth, events, brain.commands()


@pytest.mark.parametrize("place", BROKERS)
def test_every_task_is_shown_as_it_was(plays, place):
    """Events, their order, and the columns of the row are the truth on each broker."""
    truth, _ = plays(place)
    wrong = {line.scenario.name: line.problems for line in truth.lines if line.problems}
    assert wrong == {}
    assert {line.scenario.name for line in truth.lines} == {*NAMES} - {*IMPOSSIBLE.get(place, ())}


@pytest.mark.parametrize("place", BROKERS)
def test_an_operator_can_retry_and_cancel(plays, place):
    """The retry makes a new run, the cancel ends a running one, and the worker ends well."""
    truth, _ = plays(place)
    assert (truth.retry_status, truth.retry_state) == ("completed", "failure")
    assert truth.cancel_status == "completed"
    assert truth.exit_status == 0


@pytest.mark.parametrize("name", NAMES)
def test_both_brains_show_the_same_row(plays, real, name):
    """Column by column, the real brain's row is the embedded one's."""
    shown = []
    for truth, *_ in (plays("embedded broker"), real):
        row = truth.line(name).row
        assert row is not None
        columns = [column for column in COLUMNS if column != PER_RUN.get(name)]
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


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_the_real_brain_is_told_each_event_once(real, scenario):
    """Every event is there, none twice; publishes of one second are one to the brain."""
    _, events, _ = real
    kinds = Counter(event["kind"] for event in events[scenario.name])
    publishes = kinds.pop("task.sent")
    assert kinds == Counter(kinds_of(scenario))
    assert 1 <= publishes <= kinds["task.received"]


def test_the_real_brain_shows_every_task_as_it_was(real):
    """All scenarios are right, and retry and cancel went through its REST API."""
    truth, _, commands = real
    assert {line.scenario.name: line.problems for line in truth.lines if line.problems} == {}
    assert commands == {"retry_task": "completed", "cancel_task": "completed"}
    assert (truth.retry_status, truth.retry_state) == ("completed", "failure")


@pytest.mark.parametrize("ending", ENDINGS, ids=[ending.name for ending in ENDINGS])
def test_nothing_is_lost_where_processes_end(tmp_path, ending):
    """200 short tasks have one start and one end each, however their children end."""
    with EmbeddedBrain() as brain:
        loss = measure(brain, tmp_path, ending)
    assert (loss.told_once, loss.problems) == (loss.tasks, ())
