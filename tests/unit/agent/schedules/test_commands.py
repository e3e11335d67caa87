"""Commands on streams: the native part, the publication, the answer."""

from __future__ import annotations

import pytest

from z4j_otel.agent.execution import CommandRunner
from z4j_otel.agent.schedules.commands import ScheduleCommands
from z4j_otel.commands import command_key
from z4j_otel.errors import AdapterError, BufferFull, CommandRefused
from z4j_otel.redaction import Redactor
from z4j_otel.schedules import configuration
from z4j_otel.wire.schedules import digest

from .scripted import OWNER, Adapter, activation, command


class Runner:
    """Runs commands on a scene."""

    def __init__(self, scene, policy=None):
        self.scene = scene
        more = {} if policy is None else {"policy": policy}
        engines = {"celery": Adapter(scene.scheduler)}
        self.native = CommandRunner(engines, redactor=Redactor(), **more)
        self.commands = ScheduleCommands(self.native.run, scene.mirror)

    def run(self, action, parameters, command_id="c-1"):
        """Run one."""
        if action == "schedule.external.activate":
            self.scene.mirror.offer(parameters)
        return self.commands.run(command(action, parameters, command_id))

    def row(self, key):
        """Return a row as the brain has it."""
        return self.scene.mirror.told(OWNER, key)


@pytest.fixture
def runner(scene):
    """A runner with an open epoch."""
    runner = Runner(scene)
    assert runner.run("schedule.external.activate", activation()).is_success
    scene.told()
    return runner


def mutation(runner, operation, key=None, **definition):
    """Return the parameters of a mutation of what the brain sees."""
    return {
        **activation(),
        "operation_id": "op-1",
        "operation": operation,
        "schedule_id": key,
        "definition": definition,
        "expected": None if key is None else runner.row(key),
        "expected_accepted_sequence": 1,
    }


def test_activation_answers_what_it_published(scene):
    """Stream, epoch, sequence, numbers (PROTOCOL §6.8)."""
    done = Runner(scene).run("schedule.external.activate", activation())
    assert done.is_success
    assert {**done.result} == {
        "scheduler": OWNER,
        "stream_id": "stream",
        "epoch_uuid": "epoch-1",
        "epoch_number": 1,
        "sequence": 1,
        "adapter_instance_id": "instance",
        "schedule_count": 2,
        "frame_count": 2,
    }


def test_mutation_publishes_everything_anew_and_says_what_came_out(runner, scene):
    """The operation is confirmed by the snapshot that has it."""
    done = runner.run("schedule.external.mutate", mutation(runner, "update", "a", expression="5"))
    assert done.is_success
    frame = scene.told()[0]["data"]["external_snapshot_frame"]
    assert (frame["sequence"], done.result["sequence"]) == (2, 2)
    assert done.result["operation_id"] == "op-1"
    assert done.result["source_key"] == "a"
    assert done.result["observed_configuration"] == configuration(frame["schedules"][0])
    assert frame["schedules"][0]["expression"] == "5"


def test_deleted_schedule_has_no_configuration(runner):
    """There is nothing left to be observed."""
    done = runner.run("schedule.external.mutate", mutation(runner, "delete", "a"))
    assert done.result["observed_configuration"] is None
    assert done.result["schedule_count"] == 1


def test_trigger_tells_what_was_published(runner, scene):
    """The result of the trigger stands beside the inventory."""
    done = runner.run("schedule.external.mutate", mutation(runner, "trigger", "a"))
    assert done.result["trigger_result"]["status"] == "success"
    assert done.result["trigger_result"]["result"]["task_id"] == scene.scheduler.published[0][1]


def test_refused_mutation_publishes_nothing(runner, scene):
    """Neither the scheduler nor the stream moves."""
    wrong = {**mutation(runner, "update", "a", expression="5"), "expected": runner.row("b")}
    done = runner.run("schedule.external.mutate", wrong)
    assert not done.is_success
    assert done.error.startswith("refused:")
    assert done.result is None
    assert scene.told() == []


def test_mutation_of_another_epoch_is_not_begun(runner, scene):
    """The scheduler is not touched for a session that is over."""
    old = {**mutation(runner, "delete", "a"), "session_generation": "older"}
    assert not runner.run("schedule.external.mutate", old).is_success
    assert set(scene.scheduler.entries) == {"a", "b"}


def test_change_that_cannot_be_told_is_of_unknown_outcome(runner, scene):
    """It happened: nobody should repeat it without looking."""
    parameters = mutation(runner, "update", "a", expression="5")

    def refuse(*_args, **_kwargs):
        raise BufferFull("full")

    scene.buffer.append = refuse
    done = runner.run("schedule.external.mutate", parameters)
    assert not done.is_success
    assert done.result["indeterminate"] is True
    assert scene.scheduler.entries["a"].expression == "5"


def control(runner, key, is_enabled):
    """Return the parameters of a control command."""
    now = runner.row(key)
    desired = {**now, "is_enabled": is_enabled}
    known = {name: value for name, value in activation().items() if name != "owner"}
    return {
        **known,
        "operation_id": "op-2",
        "schedule_id": key,
        "source_key": key,
        "z4j_schedule_id": "row",
        "expected_accepted_sequence": 1,
        "expected_projection_digest": digest(now),
        "desired_projection": desired,
        "desired_projection_digest": digest(desired),
    }


def test_control_publishes_its_one_row(runner, scene):
    """With the operation's id, and the sequence after the expected one."""
    done = runner.run("schedule.external.control", control(runner, "a", is_enabled=False))
    assert done.result == {
        "operation_id": "op-2",
        "sequence": 2,
        "projection_buffered": True,
        "deduplicated": False,
    }
    (event,) = scene.told()
    body = event["data"]["external_projection"]
    assert (event["kind"], body["kind"], body["operation_id"]) == (
        "schedule.updated",
        "control",
        "op-2",
    )
    assert [row["is_enabled"] for row in body["schedules"]] == [False]
    assert body["complete"] is False


def test_control_without_an_operation_is_refused(runner):
    """Nothing could be confirmed."""
    parameters = {**control(runner, "a", is_enabled=False), "operation_id": None}
    assert not runner.run("schedule.external.control", parameters).is_success


def test_resync_publishes_every_open_stream(runner, scene):
    """The answer counts the schedulers."""
    done = runner.run("schedule.resync", {})
    assert done.result == {"schedulers_drained": 1}
    assert scene.told()[0]["data"]["reason"] == "resync"
    scene.mirror.fence()
    assert runner.run("schedule.resync", {}).result == {"schedulers_drained": 0}


def test_simple_commands_are_told_as_differences(runner, scene):
    """What they change is found at once."""
    assert runner.run("schedule.disable", {"schedule_id": "a"}).is_success
    (event,) = scene.told()
    assert event["data"]["external_projection"]["kind"] == "updated"
    scene.scheduler.problem = AdapterError("away")
    assert not runner.run("schedule.enable", {"schedule_id": "a"}).is_success


def test_local_policy_comes_first(scene):
    """What is denied here is not even read."""

    def deny(_command):
        raise CommandRefused("denied here")

    runner = Runner(scene, deny)
    for action in ("schedule.external.activate", "schedule.resync"):
        done = runner.run(action, activation())
        assert not done.is_success
        assert "denied" in done.error
    assert scene.told() == []


def test_unexpected_error_becomes_a_result(runner, scene):
    """Nothing of the application's gets out."""
    scene.scheduler.problem = RuntimeError("hunter2")
    done = runner.run("schedule.resync", {})
    assert not done.is_success
    assert "hunter2" not in done.error


def test_other_commands_pass(runner):
    """An action that is about no schedule is somebody else's."""
    assert runner.run("no.such", {}).error.startswith("unsupported:")


def test_one_operation_is_one_piece_of_work(runner):
    """Two deliveries share a key; another wish under the same id does not."""
    wish = mutation(runner, "update", "a", expression="5")
    other = mutation(runner, "update", "a", expression="6")
    keys = [
        command_key(command("schedule.external.mutate", each, f"c-{number}"))
        for number, each in enumerate((wish, {**wish, "session_generation": "next"}, other))
    ]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith("op:op-1:")
