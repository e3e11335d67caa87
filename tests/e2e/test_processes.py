"""Pools, forks, programs of tasks, short scripts, crashes: every process tells its part."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from z4j_otel.cli import brain_api
from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.workload.scenarios import SCENARIOS

from ..truth.stories import IMPOSSIBLE, play, possible_on  # noqa: TID252 -- shared with make truth

pytestmark = pytest.mark.timeout(180)

APPS = Path(__file__).parent / "apps"
WAIT_S = 30.0
RAN = {"task.sent": 1, "task.received": 1, "task.started": 1, "task.succeeded": 1}
SENT = {"task.sent": 1}
EAGER = {"task.received": 1, "task.started": 1, "task.succeeded": 1}
THREE = """
import sys
from z4j_otel.cli.workload.app import app
print(*[app.tasks["shop.add"].delay(n, 1).id for n in range(3)])
"""
POOLS = {
    "threads": ("--pool=threads", "--concurrency=2"),
    "solo": ("--pool=solo",),
}


class Lab:
    """A folder, the embedded brain, and processes that report to it."""

    def __init__(self, folder, brain):
        self.folder, self.brain = folder, brain
        self.thread = brain._thread

    def stage(self, *options, is_wrapped=True, **variables):
        """Return the stage of a worker that is not started."""
        path = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
        variables = {"PYTHONPATH": path, **variables}
        return Stage(
            self.folder,
            self.brain.environment(),
            worker_options=options or ("--pool=prefork", "--concurrency=2"),
            variables=variables,
            app="process_app",
            is_wrapped=is_wrapped,
        )

    def publish_into_the_void(self):
        """Publish three tasks while the brain is away; the program waits a second for it."""
        return self.stage(Z4J_FLUSH_TIMEOUT_SECONDS="1").run("-c", THREE).split()

    def kinds(self, task_id):
        """Return how many events of each kind the brain has of a task."""
        return dict(Counter(event["kind"] for event in self.brain.events(task_id)))

    def wait_told(self, expected):
        """Wait until the brain knows all of these tasks; return what it knows of them."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: {each: self.kinds(each) for each in expected} == expected)
        return {each: self.kinds(each) for each in expected}

    def result(self, task_id):
        """Wait for a task's end and return its result as the brain shows it."""
        wait_until(lambda: (self.brain.task(task_id) or {}).get("state") == "success")
        return self.brain.task(task_id)["result"]

    def left_files(self):
        """Return the names of what agents left in their home."""
        return sorted(path.name for path in (self.folder / "home").iterdir())


wait_until = partial(brain_api.wait_until, what="real processes", timeout_s=WAIT_S)


@pytest.fixture
def lab(tmp_path):
    """A laboratory with a brain that runs."""
    with EmbeddedBrain() as brain:
        yield Lab(tmp_path, brain)


def assert_true_stories(truth, names):
    """Every scenario was played and is shown as it was."""
    assert {line.scenario.name: line.problems for line in truth.lines if line.problems} == {}
    assert {line.scenario.name for line in truth.lines} == set(names)
    assert (truth.retry_status, truth.exit_status) == ("completed", 0)


@pytest.mark.parametrize("is_wrapped", [True, False], ids=["wrapped", "hooks-itself"])
@pytest.mark.parametrize("pool", POOLS)
def test_pools_without_children_tell_the_truth(lab, pool, is_wrapped):
    """Threads and solo show every scenario that can happen in them, however set up."""
    variables = {} if is_wrapped else {"Z4J_OTEL_TEST_HOOK": "1"}
    stage = lab.stage(*POOLS[pool], is_wrapped=is_wrapped, **variables)
    truth = play(lab.brain, stage, scenarios=possible_on(pool), run_s=40)
    assert_true_stories(truth, {each.name for each in SCENARIOS} - {*IMPOSSIBLE[pool]})


@pytest.mark.parametrize("is_wrapped", [True, False], ids=["wrapped", "hooks-itself"])
def test_spawned_children_tell_the_truth(lab, is_wrapped):
    """Children that inherit nothing find the journal by the environment."""
    pytest.importorskip("celery", minversion="5.7")
    variables = {} if is_wrapped else {"Z4J_OTEL_TEST_HOOK": "1"}
    stage = lab.stage(is_wrapped=is_wrapped, Z4J_OTEL_TEST_START="spawn", **variables)
    truth = play(lab.brain, stage, run_s=60)
    assert_true_stories(truth, {each.name for each in SCENARIOS})


def test_programs_started_by_a_task_are_captured(lab):
    """A program and a forked process that a task starts add to the worker's journal."""
    code = "import process_app as a; print(a.executes.delay().id, a.multiplies.delay().id)"
    with lab.stage() as stage:
        wait_until(stage.is_ready)
        executes, multiplies = stage.run("-c", code).split()
        published = lab.result(executes)
        sent, eager = lab.result(multiplies)
        expected = {executes: RAN, multiplies: RAN, published: RAN, sent: RAN, eager: EAGER}
        assert lab.wait_told(expected) == expected
        assert lab.brain.task(published)["parent_task_id"] is None
        assert stage.stop() == 0
    assert lab.left_files() == []


def test_a_short_script_loses_nothing(lab):
    """What a program publishes right before its end is delivered before it ends."""
    ids = lab.stage().run("-c", THREE).split()
    assert {each: lab.kinds(each) for each in ids} == dict.fromkeys(ids, SENT)
    assert lab.left_files() == []


def test_a_short_script_without_a_brain_leaves_it_to_the_next(lab):
    """While the brain is away a script ends in bounded time, and the next one delivers."""
    lab.thread.__exit__(None, None, None)
    ids = lab.publish_into_the_void()
    lab.thread.__enter__()
    ids += lab.stage().run("-c", THREE).split()
    assert lab.wait_told(dict.fromkeys(ids, SENT)) == dict.fromkeys(ids, SENT)
    assert lab.left_files() == []


@pytest.fixture
def fork_server(lab):
    """Start the forking server in a mode; whatever is left of it is killed at the end."""
    started = []

    def start(mode):
        program = Path(sys.executable).with_name("opentelemetry-instrument")
        command = [program, sys.executable, APPS / "forking.py", mode, lab.folder]
        with (lab.folder / "forking.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=lab.stage().environment,
                cwd=lab.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def done_work(lab):
    """Return what the forking server's processes did: their events, by task id."""
    lines = (lab.folder / "ids").read_text().splitlines()
    return {line.split()[0]: SENT if line.endswith("sent") else EAGER for line in lines}


def test_children_of_a_forking_server_are_captured(lab, fork_server):
    """Children forked after the agent's start append; the parent's agent delivers for all."""
    server = fork_server("lives")
    wait_until(lambda: len(list(lab.folder.glob("done-*"))) == 2)
    wait_until(lambda: len(done_work(lab)) == 8)
    assert lab.wait_told(done_work(lab)) == done_work(lab)
    (lab.folder / "go").touch()
    assert server.wait(WAIT_S) == 0
    assert lab.left_files() == []


def test_a_child_that_outlives_its_parent_is_adopted(lab, fork_server):
    """What a child captured before and after its parent's death comes with the next agent."""
    server = fork_server("dies")
    wait_until(lambda: list(lab.folder.glob("done-*")))
    assert server.wait(WAIT_S) == -signal.SIGKILL
    ids = lab.stage().run("-c", THREE).split()
    expected = {**done_work(lab), **dict.fromkeys(ids, SENT)}
    assert len(expected) == 9
    assert lab.wait_told(expected) == expected
    assert lab.left_files() == []


def test_a_child_left_alone_delivers_by_itself(lab, fork_server):
    """A child that first captures after its parent's death adopts what it left."""
    fork_server("leaves")
    wait_until(lambda: list(lab.folder.glob("done-*")))
    expected = done_work(lab)
    assert len(expected) == 4
    assert lab.wait_told(expected) == expected
    wait_until(lambda: lab.left_files() == [])


def ran(stage):
    """Count the tasks that ended, by the worker's own log."""
    return stage.log_path.read_bytes().count(b" succeeded in ")


def test_a_killed_worker_is_adopted_by_the_next(lab):
    """SIGKILL of the main process right after tasks ran loses nothing and tells nothing twice."""
    with lab.stage() as killed:
        wait_until(killed.is_ready)
        first = killed.run("-c", THREE).split()
        wait_until(lambda: ran(killed) == 3)
        lab.thread.__exit__(None, None, None)
        ids = first + lab.publish_into_the_void()
        wait_until(lambda: ran(killed) == 6)
        os.kill(killed.worker_pid, signal.SIGKILL)
        killed._worker.wait()
        lab.thread.__enter__()
        with lab.stage() as following:
            assert lab.wait_told(dict.fromkeys(ids, RAN)) == dict.fromkeys(ids, RAN)
            assert following.stop() == 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(killed.worker_pid, signal.SIGKILL)


def test_a_brain_that_restarts_gets_everything_once(lab):
    """Tasks that ran before, while and after the brain was away are all told, each once."""
    with lab.stage() as stage:
        wait_until(stage.is_ready)
        ids = stage.run("-c", THREE).split()
        assert lab.wait_told(dict.fromkeys(ids, RAN)) == dict.fromkeys(ids, RAN)
        lab.thread.__exit__(None, None, None)
        ids += lab.publish_into_the_void()
        wait_until(lambda: ran(stage) == 6)
        lab.thread.__enter__()
        ids += stage.run("-c", THREE).split()
        assert lab.wait_told(dict.fromkeys(ids, RAN)) == dict.fromkeys(ids, RAN)
        assert stage.stop() == 0
    assert lab.left_files() == []
