"""Every way to die: processes end as they end, and nothing is lost or told twice."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import instrumented

from ..truth.loss_scene import LossScene  # noqa: TID252 -- the tables of `make truth`
from ..truth.loss_scripts import ADOPTED, SCRIPTS  # noqa: TID252 -- as above
from ..truth.losses import DEATHS, measure  # noqa: TID252 -- as above

pytestmark = pytest.mark.timeout(240)

TASKS = 40
AT_ONCE = 4
SCRIPT_S = 90
SENT = {"task.sent": 1}
EMBEDDED = (
    "--max-tasks-per-child=10",
    "cold stop right after the last task",
    "SIGKILL of a random child every second",
    "brain away all the time, next worker",
)
REDIS = (
    "SIGQUIT while tasks run, next worker",
    "the kernel's OOM killer",
    "hard time limit",
    "SIGKILL of the main process, next worker",
    "SIGKILL of the process group, next worker",
)
REDIS_LATE = ("os._exit in the task", "SIGKILL of the process group, next worker")
ROWS = [
    *((name, "embedded broker", False) for name in EMBEDDED),
    *((name, "Redis", False) for name in REDIS),
    *((name, "Redis", True) for name in REDIS_LATE),
]


def named(row):
    """Return a row's name for a test's id."""
    name, place, acks_late = row
    return f"{name}, {place}{', acks_late' if acks_late else ''}"


@pytest.fixture(scope="module")
def losses(request, tmp_path_factory):
    """Measure every row that a chosen test asks for, a few at once; give the futures."""
    chosen = [
        row
        for row in ROWS
        for item in request.session.items
        if hasattr(item, "callspec") and item.callspec.params.get("row") == row
    ]
    url = None
    if any(place == "Redis" for _, place, _ in chosen):
        url = request.getfixturevalue("redis_url")

    # Here: its making is not for several threads at once.
    folders = {row: tmp_path_factory.mktemp("loss") for row in chosen}

    def run(row):
        name, place, acks_late = row
        death = next(death for death in DEATHS if death.name == name)
        broker = url if place == "Redis" else None
        with EmbeddedBrain() as brain:
            return measure(
                brain, folders[row], death, tasks=TASKS, broker=broker, acks_late=acks_late
            )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {row: pool.submit(run, row) for row in chosen}


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_nothing_is_lost_where_processes_end(losses, row):
    """Every run has one start and one end, by the count of the tasks themselves."""
    loss = losses[row].result()
    assert loss.is_none, "\n".join(loss.problems)
    assert loss.runs >= loss.tasks == TASKS


def test_a_child_that_leaves_tells_what_its_threads_and_signals_publish(tmp_path):
    """Up to its last moment; nobody runs exit handlers in a pool child."""
    options = ("--concurrency=4", "--max-tasks-per-child=1")
    with EmbeddedBrain() as brain:
        scene = LossScene(brain, tmp_path, options=options, broker=None, variables={})
        try:
            scene.start_worker()
            scene.publish([("loss.leaves_a_thread", ())] * 4)
            leavers, sent = {*scene.ids}, tmp_path / "notes-sent"
            scene.wait(lambda: leavers <= {*scene.notes.runs()}, 40, "end of the leavers")
            # The pool kills them soon; what their threads had published by then is noted.
            pids = {runs[0].pid for each, runs in scene.notes.runs().items() if each in leavers}
            scene.wait(lambda: not pids & {*scene.children()}, 40, "end of their processes")
            scene.ids += sent.read_text().split()
            assert len(scene.ids) > len(leavers) * 2
            scene.wait(lambda: scene.has_run(again_when_lost=False), 40, "end of all tasks")
            scene.stage.stop()
        finally:
            scene.kill_orphans()
        ran = {"task.sent": 1, "task.received": 1, "task.started": 1, "task.succeeded": 1}
        assert told(brain, scene.ids) == dict.fromkeys(scene.ids, ran)


@pytest.fixture(scope="module")
def programs(request, tmp_path_factory):
    """Run every chosen program to its end, then another one; give what the brain had by then."""
    chosen = {
        item.callspec.params["program"]
        for item in request.session.items
        if hasattr(item, "callspec") and "program" in item.callspec.params
    }

    folders = {name: tmp_path_factory.mktemp("program") for name in chosen}

    def run(name):
        with EmbeddedBrain() as brain:
            variables = {"LOSS_CHILD": SCRIPTS["ends"]}
            scene = LossScene(brain, folders[name], options=(), broker=None, variables=variables)
            done = subprocess.run(
                [*instrumented("python"), "-c", SCRIPTS[name]],
                env=scene.stage.environment,
                cwd=scene.folder,
                capture_output=True,
                text=True,
                check=False,
                timeout=SCRIPT_S,
            )
            ids = done.stdout.split()
            at_once = told(brain, ids)
            scene.stage.run("-c", SCRIPTS["ends"])
            left = sorted(path.name for path in (scene.folder / "home").iterdir())
            return ids, at_once, told(brain, ids), left

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(run, name) for name in chosen}


def told(brain, ids):
    """Return what the brain knows of each of these tasks."""
    return {each: dict(Counter(event["kind"] for event in brain.events(each))) for each in ids}


@pytest.mark.parametrize("program", SCRIPTS)
def test_a_program_delivers_what_it_sent(programs, program):
    """However it ends, its own agent delivers, or the next one at its start."""
    ids, at_once, in_the_end, left = programs[program].result()
    assert ids
    assert in_the_end == dict.fromkeys(ids, SENT)
    delivered = [each for each in ids if at_once[each]]
    assert delivered == ids[: len(delivered)]
    assert program in ADOPTED or delivered == ids
    assert left == []


def test_a_hard_limit_in_a_cold_stop_is_told_as_the_end(redis_url, tmp_path):
    """The task outlives its SIGTERM; Celery acks its message at the limit: it comes no more."""
    with EmbeddedBrain() as brain:
        options = ("--concurrency=1", "--include=z4j_otel.cli.drill.tasks")
        late = {"LOSS_ACKS_LATE": "1"}
        scene = LossScene(brain, tmp_path, options=options, broker=redis_url, variables=late)
        try:
            scene.start_worker()
            # The publisher may need longer for its own end than the task has.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(scene.publish, [("z4j.drill.limited", ())])
                scene.wait(scene.running, 30.0, "run of the task")
                scene.stage.stop(signal.SIGQUIT)
        finally:
            scene.kill_orphans()
        events = brain.events(scene.ids[0])
    # The publisher's own agent may deliver last.
    told = [event for event in events if event["kind"] != "task.sent"]
    assert [event["kind"] for event in told] == ["task.received", "task.started", "task.failed"]
    assert told[-1]["data"]["cause"] == "time_limit"
