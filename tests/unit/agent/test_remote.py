"""The owner's engines over the line."""

from __future__ import annotations

import pytest

from z4j_otel.agent.link import LinkBroken
from z4j_otel.agent.remote import RemoteEngine, RemoteSchedules, run_remotely
from z4j_otel.commands import Command
from z4j_otel.errors import AdapterError, CommandUnsupported
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.adapter import EngineAdapter

COMMAND = Command(CommandId("c1"), "retry_task", parameters={"task_id": "t1"}, timeout_s=3)


class ScriptedLink:
    """Answers what it was given, or breaks."""

    def __init__(self, answer=None):
        self.answer = answer
        self.asked = []

    def ask(self, name, value=None, *, timeout_s):
        """Note the question."""
        self.asked.append((name, value, timeout_s))
        if self.answer is None:
            raise LinkBroken("gone")
        return self.answer


def test_it_can_what_the_owner_can():
    """Capabilities are the owner's, and the engine is what the agent expects of one."""
    engine = RemoteEngine("celery", ["submit_task"], ScriptedLink())
    assert isinstance(engine, EngineAdapter)
    assert engine.capabilities() == ["submit_task"]
    with pytest.raises(CommandUnsupported):
        engine.execute(COMMAND)


def test_depths_and_details_are_asked_for():
    """By the engine's name; an owner that does not answer leaves nothing to tell."""
    link = ScriptedLink({"orders": 3})
    engine = RemoteEngine("analytics", [], link)
    assert engine.queue_depths() == engine.worker_details() == {"orders": 3}
    assert [each[:2] for each in link.asked] == [
        ("queue_depths", "analytics"),
        ("worker_details", "analytics"),
    ]
    assert RemoteEngine("celery", [], ScriptedLink()).queue_depths() == {}


def test_a_command_goes_to_the_owner_whole():
    """Its result comes back as the runner made it; the wait outlasts the command's own."""
    link = ScriptedLink({"status": "success", "result": {"new_task_id": "t2"}, "error": None})
    assert run_remotely(link, COMMAND).result == {"new_task_id": "t2"}
    name, value, timeout_s = link.asked[0]
    assert (name, value["parameters"]) == ("run", {"task_id": "t1"})
    assert timeout_s > COMMAND.timeout_s


def test_a_lost_owner_leaves_the_outcome_open():
    """Nobody knows whether the command was carried out."""
    result = run_remotely(ScriptedLink(), COMMAND)
    assert not result.is_success
    assert result.result is not None
    assert result.result["indeterminate"] is True


def test_schedules_are_the_owners():
    """What they are and whether they changed is asked for by the scheduler's name."""
    link = ScriptedLink({"value": [{"source_key": "a"}]})
    schedules = RemoteSchedules({"celery-beat": ["list"]}, link)
    assert schedules.capabilities() == {"celery-beat": ["list"]}
    assert schedules.rows("celery-beat") == [{"source_key": "a"}]
    link.answer = {"value": "7"}
    assert schedules.version("celery-beat") == "7"
    assert [each[:2] for each in link.asked] == [
        ("schedules", "celery-beat"),
        ("schedules_version", "celery-beat"),
    ]


@pytest.mark.parametrize("answer", [None, {"error": "the database is away"}])
def test_schedules_that_cannot_be_read_are_an_error(answer):
    """Half an inventory would delete the other half."""
    schedules = RemoteSchedules({"celery-beat": []}, ScriptedLink(answer))
    with pytest.raises(AdapterError):
        schedules.rows("celery-beat")
