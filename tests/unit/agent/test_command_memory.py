"""What is remembered of commands, across the agent's lives."""

from __future__ import annotations

import json
import logging

import pytest

from z4j_otel.agent.command_memory import CommandMemory
from z4j_otel.agent.results import encode_result
from z4j_otel.agent.story import Run, Story, encode_story, story_key
from z4j_otel.commands import (
    Command,
    CommandResult,
    CommandStatus,
    Target,
    command_key,
    planned_task_id,
)
from z4j_otel.errors import BufferError_

RETRY = Command(
    "c", "retry_task", parameters={"engine": "celery", "task_id": "t"}, claim_token="claim"
)
FIRE = Command("c", "schedule.fire", parameters={"engine": "celery", "fire_id": "f"})
TRACE, SPAN = f"{5:032x}", f"{6:016x}"


@pytest.fixture
def memory(buffer, clock):
    """Return the memory of an agent with one engine."""
    return CommandMemory(buffer, ["celery"], clock)


def lost(memory, running=()):
    """Return the answers to lost commands, as JSON values."""
    return [json.loads(body) for body in memory.answer_lost(running)]


def see(buffer, task_id, **members):
    """Have the journals tell of a task."""
    story = encode_story(Story(last_ns=1, **members))
    buffer.append([], now_ns=0, stories={story_key("celery", task_id): story})


def ran(trace_id=TRACE, span_id=SPAN):
    """Return the story of a task that ran in a span."""
    story = Story()
    nothing = {"source": "", "attempt": 0, "started_ns": 0, "mono_ns": 0, "pid": 0, "worker": None}
    nothing |= {"task_name": "n", "queue": None, "parent_span_id": "", "is_redelivered": False}
    story.begin(Run(**nothing, trace_id=trace_id, span_id=span_id, is_sampled=True))
    return {"span": story.span}


def test_new_work_is_noted_and_is_not_answered(memory, buffer):
    """A command runs the first time, and no parameter of it is stored."""
    secret = Command("c", "submit_task", parameters={"name": "n", "args": ["hunter2"]})
    assert memory.begin(secret) is None
    (known,) = buffer.commands()
    assert known.key == "cmd:c"
    assert b"hunter2" not in known.result


def test_lost_command_is_answered_once_as_unknown(memory):
    """What was begun in an earlier life is told without being asked, with its claim token."""
    assert memory.begin(RETRY) is None
    (answer,) = lost(memory)
    assert answer["command_id"] == "c"
    assert answer["payload"]["delivery_claim_token"] == "claim"
    assert answer["payload"]["status"] == "failed"
    assert answer["payload"]["result"] == {"indeterminate": True, "operation": "retry_task"}
    assert "look at the engine" in answer["payload"]["error"]
    assert set(answer) == {"command_id", "payload"}
    assert lost(memory) == []


def test_lost_command_that_publishes_nothing_is_unknown(memory):
    """There is no task by which it could be known."""
    memory.begin(Command("c", "purge_queue"))
    (answer,) = lost(memory)
    assert answer["payload"]["result"] == {"indeterminate": True, "operation": "purge_queue"}


def test_running_command_is_not_lost(memory):
    """A command of this life is answered by its own end."""
    memory.begin(RETRY)
    assert lost(memory, {"cmd:c"}) == []
    memory.remember("cmd:c", encode_result(RETRY, CommandResult(CommandStatus.SUCCESS, {})))
    assert lost(memory) == []


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (RETRY, {"new_task_id": planned_task_id(RETRY)}),
        (FIRE, {"task_id": planned_task_id(FIRE), "engine": "celery"}),
        (
            Command("c", "submit_task", target=Target(engine="celery")),
            {"task_id": planned_task_id(RETRY), "engine": "celery"},
        ),
    ],
)
def test_lost_command_whose_task_was_seen_is_a_success(memory, buffer, command, result):
    """The journals know the task that the command was to publish: it was carried out."""
    memory.begin(command)
    see(buffer, planned_task_id(command))
    (answer,) = lost(memory)
    assert (answer["payload"]["status"], answer["payload"]["result"]) == ("success", result)


def test_redelivery_of_lost_work_is_answered_and_not_run(memory, buffer):
    """A firing that comes again after a crash gets the truth, whoever asks first."""
    memory.begin(FIRE)
    see(buffer, planned_task_id(FIRE))
    again = Command("c-2", "schedule.fire", parameters=FIRE.parameters, claim_token="second")
    answer = json.loads(memory.begin(again))
    assert answer["command_id"] == "c-2"
    assert answer["payload"]["delivery_claim_token"] == "second"
    assert answer["payload"]["result"]["deduplicated"] is True
    assert lost(memory) == []


def test_second_try_of_a_failed_firing_is_noted_as_begun(memory):
    """When the second try is lost, a third one does not fire blindly."""
    memory.begin(FIRE)
    memory.remember("fire:f", encode_result(FIRE, CommandResult(CommandStatus.FAILED)))
    second = Command("c-2", "schedule.fire", parameters=FIRE.parameters)
    assert memory.begin(second) is None
    third = Command("c-3", "schedule.fire", parameters=FIRE.parameters)
    assert json.loads(memory.begin(third))["payload"]["result"]["indeterminate"] is True


@pytest.mark.parametrize("action", ["cancel_task", "reconcile_task"])
def test_repeatable_work_is_done_again(memory, action):
    """What may be done twice is done again when it is delivered again."""
    command = Command("c", action)
    assert memory.begin(command) is None
    assert memory.begin(command) is None


def test_work_begun_without_an_answer_is_unknown(memory, buffer):
    """What an older version noted as begun is not run."""
    buffer.begin_command("cmd:c", 0)
    assert json.loads(memory.begin(RETRY))["payload"]["result"]["indeterminate"] is True


def test_adopted_commands_are_answered(memory, buffer, clock):
    """What a dead agent had begun is told by whoever takes its files."""
    dead = type(buffer)()
    CommandMemory(dead, ["celery"], clock).begin(RETRY)
    buffer.take_commands(dead.commands())
    assert [answer["command_id"] for answer in lost(memory)] == ["c"]


class Broken:
    """A buffer whose disk is away."""

    def __getattr__(self, name):
        raise BufferError_("disk")


def test_broken_memory_costs_nothing_but_itself(clock, caplog):
    """Commands run, are answered, and have no links."""
    caplog.set_level(logging.DEBUG)
    memory = CommandMemory(Broken(), [], clock)
    assert memory.begin(RETRY) is None
    memory.remember("cmd:c", b"")
    assert lost(memory) == []
    assert memory.traces(RETRY) == ()
    assert "disk" not in caplog.text


@pytest.mark.parametrize("body", [b'{"begun":', b'{"begun":{}}', b'{"begun":3}'])
def test_damaged_memory_of_a_lost_command_is_passed_over(memory, buffer, clock, body):
    """One entry that cannot be read does not hide the others."""
    buffer.remember_result("cmd:x", body, now_ns=clock.now_ns())
    memory.begin(RETRY)
    assert [answer["command_id"] for answer in lost(memory)] == ["c"]


def test_the_run_of_a_command_is_its_trace(memory, buffer):
    """The run that began last of the task that a command names is found, by its story."""
    see(buffer, "t", **ran())
    assert memory.traces(RETRY) == (f"00-{TRACE}-{SPAN}-01",)


def test_several_runs_are_found(memory, buffer):
    """A bulk command links each task it names that is known, 32 at most."""
    for number in range(40):
        see(buffer, f"t{number}", **ran(span_id=f"{number + 1:016x}"))
    see(buffer, "no-span")
    ids = ["gone", "no-span", 3, *(f"t{number}" for number in range(40))]
    chosen = {"filter": {"engine": "celery", "task_ids": ids}}
    assert len(memory.traces(Command("c", "bulk_retry", parameters=chosen))) == 32 - 3


def test_commands_about_nothing_have_no_trace(memory, buffer, clock):
    """No task, an unknown task, or no engine: no link, and no error."""
    see(buffer, "t", **ran())
    assert memory.traces(Command("c", "purge_queue", parameters={"filter": 3})) == ()
    assert memory.traces(Command("c", "retry_task", parameters={"task_id": "other"})) == ()
    several = CommandMemory(buffer, ["celery", "rq"], clock)
    assert several.traces(Command("c", "retry_task", parameters={"task_id": "t"})) == ()
    buffer.append([], now_ns=0, stories={story_key("celery", "t"): b"\xff"})
    assert memory.traces(RETRY) == ()


def test_planned_ids_follow_from_the_work():
    """One command publishes under one id, two firings under two, parts of a command apart."""
    assert planned_task_id(RETRY) == planned_task_id(Command("c", "submit_task"))
    assert planned_task_id(RETRY) != planned_task_id(FIRE)
    assert len({planned_task_id(RETRY, part) for part in ("", "a", "b")}) == 3
    assert command_key(FIRE) == "fire:f"
