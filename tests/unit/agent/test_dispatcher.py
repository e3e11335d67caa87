"""Commands between their arrival and their one answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from z4j_otel.agent.command_memory import CommandMemory
from z4j_otel.agent.dispatcher import Dispatcher
from z4j_otel.agent.story import Story, encode_story
from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.errors import BufferError_

SUCCESS = CommandResult(CommandStatus.SUCCESS, {"x": 1})
FAILURE = CommandResult(CommandStatus.FAILED, error="refused: no")


class HeldPool:
    """A pool whose jobs run when the test says so."""

    def __init__(self):
        self.jobs = []
        self.replaced = 0
        self.has_spare = True

    def submit(self, job):
        """Take a job."""
        self.jobs.append(job)

    def replace_stuck(self):
        """Count the request."""
        self.replaced += 1
        return self.has_spare

    def run_all(self):
        """Run what was submitted."""
        while self.jobs:
            self.jobs.pop(0)()


class Desk:
    """A dispatcher with its surroundings in sight."""

    def __init__(self, loop, clock, buffer):
        self.loop = loop
        self.pool = HeldPool()
        self.buffer = buffer
        self.ran = []
        self.outcome = SUCCESS
        self.answers = []
        self.dispatcher = self.make(clock)

    def make(self, clock):
        """Make another one with the same surroundings."""
        return Dispatcher(
            self._run,
            pool=self.pool,
            memory=CommandMemory(self.buffer, ["celery"], clock),
            result_sink=lambda body: self.answers.append(json.loads(body)),
            loop=self.loop,
        )

    def _run(self, command):
        self.ran.append(command)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def settle(self, seconds=0):
        """Let the loop run for a while."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @property
    def payloads(self):
        """Return the payloads of all answers."""
        return [answer["payload"] for answer in self.answers]


@pytest.fixture
def desk(loop, clock, buffer):
    """Return a dispatcher on a virtual loop."""
    return Desk(loop, clock, buffer)


def test_result_comes_through_the_sink(desk):
    """A command runs on the pool and is answered on the loop, with its claim token."""
    desk.dispatcher.submit(Command("c", "retry_task", claim_token="claim"))
    assert desk.answers == []
    desk.pool.run_all()
    desk.settle()
    (answer,) = desk.answers
    assert answer["command_id"] == "c"
    assert answer["payload"]["status"] == "success"
    assert answer["payload"]["delivery_claim_token"] == "claim"
    assert desk.dispatcher.held_commands == 0


def test_duplicates_in_flight_are_absorbed(desk):
    """A second delivery while the first runs starts nothing."""
    desk.dispatcher.submit(Command("c", "retry_task"))
    desk.dispatcher.submit(Command("c", "retry_task"))
    desk.pool.run_all()
    desk.settle()
    assert len(desk.ran) == len(desk.answers) == 1


@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE])
def test_redelivery_gets_the_remembered_result_across_restarts(desk, clock, outcome):
    """Another life of the agent answers from memory and does nothing twice."""
    desk.outcome = outcome
    desk.dispatcher.submit(Command("c", "retry_task"))
    desk.pool.run_all()
    desk.settle()
    desk.make(clock).submit(Command("c", "retry_task", claim_token="new"))
    assert len(desk.ran) == 1
    assert [p["status"] for p in desk.payloads] == [outcome.status.value] * 2
    assert desk.payloads[1]["delivery_claim_token"] == "new"


def test_firing_is_done_once_and_retried_after_failure(desk):
    """A failed firing runs again under its next command; a successful one does not."""
    fire = {"fire_id": "f"}
    desk.outcome = FAILURE
    for command_id in ("c-1", "c-2", "c-3"):
        desk.dispatcher.submit(Command(command_id, "schedule.fire", parameters=fire))
        desk.pool.run_all()
        desk.settle()
        desk.outcome = SUCCESS
    assert [command.id for command in desk.ran] == ["c-1", "c-2"]
    assert desk.payloads[2]["result"] == {"x": 1, "deduplicated": True, "dedup_key": "fire:f"}


def test_work_begun_in_an_earlier_life_is_indeterminate(desk):
    """Without a result nobody knows whether it happened, and so it is told."""
    desk.buffer.begin_command("cmd:c", 0)
    desk.dispatcher.submit(Command("c", "retry_task"))
    assert desk.ran == []
    (payload,) = desk.payloads
    assert payload["status"] == "failed"
    assert payload["result"] == {"indeterminate": True, "operation": "retry_task"}


@pytest.mark.parametrize("action", ["cancel_task", "reconcile_task"])
def test_repeatable_work_begun_earlier_runs_again(desk, action):
    """What may be done twice is done again after a crash."""
    desk.buffer.begin_command("cmd:c", 0)
    desk.dispatcher.submit(Command("c", action))
    desk.pool.run_all()
    desk.settle()
    assert len(desk.ran) == 1


def test_deadline_of_a_running_command(desk):
    """A command that hangs is answered as timed out and uncertain; its late end is dropped."""
    desk._run = None
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=60))
    (held,) = desk.dispatcher._held.values()
    assert held.start.acquire(blocking=False)
    desk.settle(61)
    (payload,) = desk.payloads
    assert payload["error"] == "timeout: it did not end within 58 s"
    assert payload["result"] == {"indeterminate": True, "operation": "retry_task"}
    assert desk.pool.replaced == 1
    desk.dispatcher._finish(held, SUCCESS)
    assert len(desk.answers) == 1


def test_deadline_of_a_waiting_command(desk):
    """A command that no thread was free for never runs after its answer."""
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=60))
    desk.settle(61)
    desk.pool.run_all()
    assert desk.ran == []
    assert desk.payloads[0]["error"].endswith("it had not been started")
    assert desk.payloads[0]["result"] is None
    assert desk.pool.replaced == 0


def test_too_many_stuck_commands_are_told(desk, caplog):
    """When the pool cannot make up for a stuck thread the log says so."""
    desk.pool.has_spare = False
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=2))
    next(iter(desk.dispatcher._held.values())).start.acquire()
    desk.settle(3)
    assert "commands_stuck" in [getattr(r, "action", "") for r in caplog.records]


@pytest.mark.parametrize(("timeout_s", "answered_at"), [(0, 1), (-5, 1), (10**9, 3600)])
def test_deadlines_are_bounded(desk, timeout_s, answered_at):
    """Nonsensical deadlines of a brain become one second or one hour."""
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=timeout_s))
    desk.settle(answered_at * 0.89)
    assert desk.answers == []
    desk.settle(answered_at * 0.11)
    assert len(desk.answers) == 1


def test_thread_that_is_ended_is_answered(desk):
    """SystemExit in an adapter is an uncertain outcome, not a silent one."""
    desk.outcome = SystemExit()
    desk.dispatcher.submit(Command("c", "retry_task"))
    with pytest.raises(SystemExit):
        desk.pool.run_all()
    desk.settle()
    assert desk.payloads[0]["result"]["indeterminate"] is True


def test_drain_waits_for_running_commands(desk):
    """Commands that end in time are answered with their own result."""

    async def scene():
        desk.dispatcher.submit(Command("c", "retry_task"))
        desk.loop.call_later(1, desk.pool.run_all)
        return await desk.dispatcher.drain(5)

    assert desk.loop.run_until_complete(scene()) == 0
    assert desk.payloads[0]["status"] == "success"


def test_drain_answers_what_does_not_end(desk):
    """At the end of its time drain answers for the rest, and refuses what comes then."""

    async def scene():
        desk.dispatcher.submit(Command("c-1", "retry_task"))
        left = await desk.dispatcher.drain(5)
        desk.dispatcher.submit(Command("c-2", "retry_task"))
        return left

    assert desk.loop.run_until_complete(scene()) == 1
    assert desk.payloads[0]["error"].startswith("timeout: the agent stopped")
    assert desk.payloads[1]["error"] == ("refused: the agent is stopping; send the command again")


def test_drain_without_commands_returns_at_once(desk, loop):
    """Nothing to wait for takes no time."""
    assert loop.run_until_complete(desk.dispatcher.drain(5)) == 0
    assert loop.now_s == 0


def test_command_ending_after_the_loop_is_dropped(desk, loop):
    """A thread that ends when the agent is gone harms nothing."""
    desk.dispatcher.submit(Command("c", "retry_task"))
    for handle in list(loop._scheduled):
        handle.cancel()
    loop.close()
    desk.pool.run_all()
    assert desk.answers == []


class BrokenMemory:
    """A buffer whose disk is away."""

    def recall_result(self, key):
        """Fail."""
        raise BufferError_("disk")

    recall_story = recall_result

    def remember_result(self, key, result, *, now_ns):
        """Fail."""
        raise BufferError_("disk")


def test_commands_run_without_a_memory(loop, clock):
    """A broken disk costs the memory of commands, not the commands."""
    desk = Desk(loop, clock, BrokenMemory())
    desk.dispatcher.submit(Command("c", "retry_task"))
    desk.pool.run_all()
    desk.settle()
    assert desk.payloads[0]["status"] == "success"


def test_expired_command_is_refused(desk):
    """What comes after the brain has given up on it never runs."""
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=60, age_s=61))
    desk.pool.run_all()
    assert desk.ran == []
    (payload,) = desk.payloads
    assert payload["error"] == "timeout: it came 61 s after it was sent, and was not started"
    assert payload["result"] is None


def test_deadline_counts_from_when_the_command_was_sent(desk):
    """A command that was on its way for long has only the rest of its time."""
    desk.dispatcher.submit(Command("c", "retry_task", timeout_s=60, age_s=50))
    desk.settle(7.9)
    assert desk.answers == []
    desk.settle(0.2)
    assert len(desk.answers) == 1


def test_held_commands_are_bounded(desk):
    """A flood of commands is refused beyond a thousand."""
    for number in range(1001):
        desk.dispatcher.submit(Command(f"c-{number}", "retry_task"))
    (payload,) = desk.payloads
    assert "1000 commands wait here already" in payload["error"]


def on(scheduler, command_id, action="schedule.external.mutate"):
    """Return a command on a scheduler."""
    return Command(command_id, action, parameters={"scheduler": scheduler})


def test_commands_on_one_scheduler_run_in_order(desk):
    """Each waits for the one before it; other schedulers and firings do not."""
    for command in (on("beat", "c-1"), on("beat", "c-2"), on("other", "c-3")):
        desk.dispatcher.submit(command)
    desk.dispatcher.submit(on("beat", "c-4", "schedule.fire"))
    assert len(desk.pool.jobs) == 3
    desk.pool.run_all()
    desk.settle()
    desk.pool.run_all()
    assert [command.id for command in desk.ran] == ["c-1", "c-3", "c-4", "c-2"]


def test_a_scheduler_waits_for_its_stuck_command(desk):
    """Behind a command that hangs nothing begins, and what expired meanwhile is passed over."""
    desk.dispatcher.submit(on("beat", "c-1"))
    desk.dispatcher.submit(on("beat", "c-2"))
    stuck = desk.pool.jobs.pop()
    desk.dispatcher._held["cmd:c-1"].start.acquire()
    desk.settle(61)
    assert [payload["status"] for payload in desk.payloads] == ["failed", "failed"]
    assert desk.payloads[1]["error"].endswith("it had not been started")
    desk.dispatcher.submit(on("beat", "c-3"))
    assert desk.pool.jobs == []
    stuck()
    for _ in range(3):
        desk.settle()
        desk.pool.run_all()
    assert [command.id for command in desk.ran] == ["c-3"]


def test_lost_commands_are_answered(desk, clock):
    """What an earlier life began is answered through the sink, what runs now is not."""
    desk.dispatcher.submit(Command("c-1", "retry_task"))
    following = desk.make(clock)
    following.submit(Command("c-2", "retry_task"))
    following.answer_lost()
    assert [answer["command_id"] for answer in desk.answers] == ["c-1"]


def test_command_carries_the_traces_of_its_runs(desk):
    """The runner is told which runs the command is about."""
    story = encode_story(Story(span=(f"{5:032x}", f"{6:016x}", True)))
    desk.buffer.append([], now_ns=0, stories={"celery/t": story})
    desk.dispatcher.submit(Command("c", "retry_task", parameters={"task_id": "t"}))
    desk.pool.run_all()
    assert desk.ran[0].traces == (f"00-{5:032x}-{6:016x}-01",)
