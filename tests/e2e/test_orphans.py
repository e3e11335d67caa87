"""Workers whose main process is killed: what outlives them tells, and what nobody can tell.

On Linux Celery's pool children die with their main process. What a task started does not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import uuid

import pytest

from z4j_otel.cli.demo.stage import Stage

from .test_processes import APPS, EAGER, WAIT_S, lab, wait_until  # noqa: F401 -- a fixture

pytestmark = pytest.mark.timeout(180)

NAPS = """
import sys, process_app as a
task = a.app.tasks[sys.argv[1]]
print(*[task.delay(sys.argv[2], float(sys.argv[3])).id for _ in range(int(sys.argv[4]))])
"""


def publish_naps(stage, lab, seconds, *, count=2, task="shop.naps"):  # noqa: F811 -- the fixture's value
    """Publish tasks that sleep; return their ids when each of them runs."""
    ids = stage.run("-c", NAPS, task, str(lab.folder), str(seconds), str(count)).split()
    wait_until(lambda: len(list(lab.folder.glob("nap-*"))) == count)
    return ids


def launch_nap(stage, lab, seconds):  # noqa: F811 -- see above
    """Have a task start a program that runs a task in place; return that one's id."""
    task_id = str(uuid.uuid4())
    code = "import sys, process_app as a; a.launches.delay(*sys.argv[1:])"
    stage.run("-c", code, str(lab.folder), str(seconds), task_id)
    wait_until(lambda: list(lab.folder.glob("nap-*")))
    return task_id


def kill_all(stage):
    """SIGKILL every process of the worker, as a container's end does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(stage.worker_pid, signal.SIGKILL)
    stage._worker.wait()


def ends_of(lab, task_id):  # noqa: F811 -- see above
    """Return what the brain was told of the ends of a task."""
    ends = ("task.succeeded", "task.failed", "task.retried", "task.revoked")
    return [event for event in lab.brain.events(task_id) if event["kind"] in ends]


def test_orphans_tell_their_own_ends(lab):  # noqa: F811 -- see above
    """What outlives its worker is heard by the next one, once; nothing is inferred meanwhile."""
    with lab.stage() as killed:
        wait_until(killed.is_ready)
        task_id = launch_nap(killed, lab, 10)
        kill_all(killed)
        with lab.stage() as following:
            wait_until(lambda: len(lab.kinds(task_id)) == 2)
            assert lab.wait_told({task_id: EAGER}) == {task_id: EAGER}
            assert following.stop() == 0
    (end,) = ends_of(lab, task_id)
    assert end["data"]["pid"] == lab.brain.task(task_id)["result"]


def test_an_end_that_comes_two_agents_after_its_start_is_told_once(lab):  # noqa: F811 -- see above
    """Each agent hands on what the one before it knew, killed or not."""
    with lab.stage() as first:
        wait_until(first.is_ready)
        task_id = launch_nap(first, lab, 20)
        kill_all(first)
        with lab.stage() as second:
            wait_until(lambda: len(lab.kinds(task_id)) == 2)
            kill_all(second)
        with lab.stage() as third:
            wait_until(third.is_ready)
            assert third.stop() == 0
        with lab.stage() as fourth:
            assert lab.wait_told({task_id: EAGER}) == {task_id: EAGER}
            assert fourth.stop() == 0
    assert lab.brain.task(task_id)["runtime_ms"] // 1000 == 20


def test_runs_that_die_with_their_whole_worker_get_an_end(lab):  # noqa: F811 -- see above
    """Their message is lost, so they failed: told within seconds of the next worker's start."""
    with lab.stage() as killed:
        wait_until(killed.is_ready)
        ids = publish_naps(killed, lab, 60)
        kill_all(killed)
        with lab.stage() as following:
            wait_until(lambda: all(ends_of(lab, each) for each in ids))
            assert following.stop() == 0
    for each in ids:
        (end,) = ends_of(lab, each)
        assert (end["kind"], end["data"]["cause"]) == ("task.failed", "worker_lost")
        assert end["data"]["inferred"] is True
        assert lab.brain.task(each)["state"] == "failure"
        assert 0 <= end["data"]["runtime_ms"] < WAIT_S * 1000
    assert lab.left_files() == []


def test_a_run_whose_message_comes_again_is_retried(lab, rabbitmq_url):  # noqa: F811 -- see above
    """Two attempts, both visible, each with one end; the last one stands."""
    path = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])

    def stage():
        return Stage(
            lab.folder,
            lab.brain.environment(),
            broker=rabbitmq_url,
            variables={"PYTHONPATH": path},
            app="process_app",
        )

    with stage() as killed:
        wait_until(killed.is_ready)
        (task_id,) = publish_naps(killed, lab, 60, count=1, task="shop.naps_late")
        kill_all(killed)
        with stage() as following:
            wait_until(lambda: len(ends_of(lab, task_id)) == 2)
            assert following.stop() == 0
    twice = dict.fromkeys(("task.received", "task.started"), 2)
    once = dict.fromkeys(("task.sent", "task.retried", "task.succeeded"), 1)
    assert lab.kinds(task_id) == twice | once
    retried = next(end for end in ends_of(lab, task_id) if end["kind"] == "task.retried")
    assert (retried["data"]["cause"], retried["data"]["inferred"]) == ("worker_lost", True)
    assert lab.brain.task(task_id)["state"] == "success"
