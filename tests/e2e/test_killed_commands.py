"""Workers that are killed between a command's ack and its result."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.commands import Command, planned_task_id

from .test_processes import APPS, wait_until

pytestmark = pytest.mark.timeout(180)
WAIT_S = 45


class Scene:
    """A brain, and workers in one folder, the first of which is killed by a command."""

    def __init__(self, folder, brain, moment):
        self.view = brain
        self.brain = brain._thread.brain
        path = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
        self._options = {
            "variables": {"PYTHONPATH": path, "Z4J_OTEL_TEST_KILL": moment},
            "app": "killing_app",
        }
        self._folder = folder
        self._environment = brain.environment()

    def stage(self):
        """Return a worker that is not started."""
        return Stage(self._folder, self._environment, **self._options)

    def kill_with(self, action, **command):
        """Have a worker killed by a command; return that command, and the failed task's id."""
        with self.stage() as stage:
            failed = stage.publish("raises")["raises"]
            wait_until(lambda: (self.view.task(failed) or {}).get("state") == "failure")
            issued = self.brain.issue(
                action, engine="celery", unchecked=True, **{"task_id": failed, **command}
            )
            wait_until(lambda: stage._worker.poll() is not None)
        assert (issued.is_acked, issued.is_done) == (True, False)
        return issued, failed

    def kinds(self, task_id):
        """Return how many events of each kind the brain has of a task."""
        return dict(Counter(event["kind"] for event in self.view.events(task_id)))


@pytest.fixture(params=["before", "after"])
def scene(request, tmp_path):
    """A scene for each moment of death."""
    with EmbeddedBrain() as brain:
        scene = Scene(tmp_path, brain, request.param)
        scene.moment = request.param
        yield scene


def test_a_killed_retry_is_answered_and_not_repeated(scene):
    """As done where its task was published, as unknown where that was not to be seen."""
    issued, failed = scene.kill_with("retry_task")
    new_id = planned_task_id(Command(issued.id, "retry_task"))
    with scene.stage() as following:
        issued.wait(WAIT_S)
        if scene.moment == "before":
            assert issued.result == {"indeterminate": True, "operation": "retry_task"}
            assert issued.status.value == "failed"
            assert scene.view.task(new_id) is None
        else:
            assert (issued.status.value, issued.result) == ("completed", {"new_task_id": new_id})
            wait_until(lambda: (scene.view.task(new_id) or {}).get("state") == "failure")
            assert scene.kinds(new_id)["task.started"] == 1
        assert following.stop() == 0
    assert scene.kinds(failed)["task.started"] == 1


def test_a_firing_that_is_delivered_again_is_not_fired_again(scene):
    """The redelivery gets the answer that the next agent found out."""
    fire = {"task_name": "shop.add", "args": [1, 2], "kwargs": {}, "fire_id": "f-1"}
    issued, _ = scene.kill_with("schedule.fire", **fire)
    task_id = planned_task_id(Command("", "schedule.fire", parameters=fire))
    with scene.stage() as following:
        wait_until(lambda: following.is_ready() and scene.brain.agents()[0].state == "online")
        scene.brain.operator.redeliver(issued)
        issued.wait(WAIT_S)
        if scene.moment == "before":
            assert issued.result["indeterminate"] is True
        else:
            assert issued.result == {"task_id": task_id, "engine": "celery"}
            wait_until(lambda: (scene.view.task(task_id) or {}).get("state") == "success")
        scene.brain.operator.redeliver(issued)
        assert following.stop() == 0
    assert scene.kinds(task_id).get("task.started", 0) == (scene.moment == "after")
