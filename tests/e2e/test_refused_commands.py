"""What cannot be done is answered truthfully, and in time: the embedded brain asks."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import pytest
from celery import Celery
from celery.signals import before_task_publish

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.config import load_config
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.devbrain.state import BrainSettings
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.testing import FaultyProxy

pytestmark = pytest.mark.timeout(120)
TIMEOUT_S = 20


class Nothing:
    """A journal in which nothing is written."""

    def import_pending(self, now_ns):
        """Import nothing."""
        return 0

    def close(self):
        """Close nothing."""


class Slow:
    """An engine whose commands hang until they are let go, and count."""

    name = "slow"

    def __init__(self):
        self.free = threading.Event()
        self.runs = []

    def capabilities(self):
        """Say that it can cancel."""
        return ["cancel_task"]

    def execute(self, command):
        """Hang where the task is the stuck one."""
        self.runs.append(command.id)
        if command.parameters["task_id"] == "stuck":
            self.free.wait(60)
        return {"task_id": command.parameters["task_id"], "terminated": False}

    def queue_depths(self):
        """Know of none."""
        return {}

    def worker_details(self):
        """Know of none."""
        return {}


class Desk:
    """A brain, an agent with a Celery app that has no worker, and a slow engine."""

    def __init__(self, broker, *, timeout_s=TIMEOUT_S, **settings):
        self.thread = BrainThread(settings=BrainSettings(command_timeout_s=timeout_s))
        self.broker, self.settings = broker, settings

    def __enter__(self):
        self.thread.__enter__()
        self.brain = self.thread.brain
        # Apps with the same broker and options share one pool, and close it for each other.
        transport = {"max_retries": 1, "desk": id(self)}
        options = {"broker_connection_timeout": 2, "broker_transport_options": transport}
        self.app = Celery("none", broker=self.broker, backend="cache+memory://")
        self.app.conf.update(task_default_queue="no-worker", control_exchange="alone", **options)
        self.slow = Slow()
        buffer = MemoryBuffer()
        self.agent = AgentRuntime(
            load_config({**self.settings}, self.thread.env()),
            [CeleryEngineAdapter(self.app, reply_timeout_s=0.5), self.slow],
            buffer=buffer,
            importer=Nothing(),
            redactor=Redactor(),
        )
        self.agent.start()
        assert self.agent.wait_connected(10)
        return self

    def __exit__(self, *_error):
        self.slow.free.set()
        self.agent.shutdown(2)
        self.app.pool.force_close_all()
        self.thread.__exit__(None, None, None)

    def ask(self, action, *, engine="celery", **parameters):
        """Issue a command past the brain's own checks, and return it when it has ended."""
        return self.issue(action, engine=engine, **parameters).wait(30)

    def issue(self, action, *, engine="celery", **parameters):
        """Issue a command past the brain's own checks."""
        return self.brain.issue(action, engine=engine, unchecked=True, **parameters)


@pytest.fixture(scope="module")
def desk(redis_url):
    """An agent that allows everything but a purge."""
    with Desk(redis_url, commands="-purge_queue") as desk:
        yield desk


REFUSED = {
    "a task that nobody knows": ("retry_task", {"task_id": "x"}, "Set result_extended = True"),
    "one override of two": (
        "retry_task",
        {"task_id": "x", "task_name": "t", "override_args": [1]},
        "override_args is given and override_kwargs is not",
    ),
    "tasks that nobody knows": (
        "bulk_retry",
        {"filter": {"task_ids": ["x", "y"]}},
        "none of 2 tasks could be repeated",
    ),
    "a worker that is not there": (
        "pool_grow",
        {"worker_name": "celery@gone", "delta": 1},
        "celery@gone",
    ),
    "a queue without dead letters": ("dlq.list", {"queue": "q"}, "cannot 'dlq.list'"),
    "an engine of others": ("cancel_task", {"engine": "rq", "task_id": "x"}, "no engine 'rq'"),
    "an action that is not one": ("make_coffee", {}, "cannot 'make_coffee'"),
    "an action that is denied": ("purge_queue", {"queue": "q"}, "denied here by Z4J_COMMANDS"),
    "a moment in the past": (
        "retry_task",
        {"task_id": "x", "task_name": "t", "override_args": [], "override_kwargs": {}, "eta": 5},
        "eta must lie between",
    ),
    "a firing without a task": ("schedule.fire", {"fire_id": "f-0"}, "task_name is missing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals_say_why(desk, what):
    """Nothing is done, and the operator reads what to change."""
    action, parameters, text = REFUSED[what]
    ended = desk.ask(action, **parameters)
    assert (ended.status.value, ended.is_acked) == ("failed", True)
    assert text in ended.error
    assert not (ended.result or {}).get("indeterminate")


def test_what_is_denied_is_not_offered(desk):
    """The brain has no button for what would only be refused."""
    (agent,) = desk.brain.agents()
    assert "retry_task" in agent.capabilities["celery"]
    assert "purge_queue" not in agent.capabilities["celery"]


def test_an_absent_worker_is_no_success(desk):
    """A cancel that no worker answered may or may not have had an effect, and says so."""
    ended = desk.ask("cancel_task", task_id="x")
    assert ended.status.value == "failed"
    assert "no worker answered" in ended.error
    assert ended.result["indeterminate"] is True


def test_one_command_twice_is_done_once(desk):
    """A redelivery while it runs is absorbed, one afterwards gets the same answer."""
    before = len(desk.slow.runs)
    command = desk.issue("cancel_task", engine="slow", task_id="stuck")
    desk.brain.wait_for(lambda: command.is_acked)
    desk.brain.operator.redeliver(command)
    desk.slow.free.set()
    command.wait(10)
    desk.brain.operator.redeliver(command)
    assert desk.ask("cancel_task", engine="slow", task_id="later").status.value == "completed"
    desk.slow.free.clear()
    assert len(desk.slow.runs) == before + 2


def test_acks_do_not_wait_for_a_command_that_hangs(desk):
    """Each ack and each answer comes while it hangs; how soon is told by ``make bench``."""
    stuck = desk.issue("cancel_task", engine="slow", task_id="stuck")
    for number in range(10):
        command = desk.issue("cancel_task", engine="slow", task_id=f"t-{number}")
        desk.brain.wait_for(lambda command=command: command.is_acked)
        assert command.wait(10).status.value == "completed"
    assert (stuck.is_acked, stuck.is_done) == (True, False)
    desk.slow.free.set()
    assert stuck.wait(10).status.value == "completed"
    desk.slow.free.clear()


def test_fifty_at_once_beside_a_stuck_one(desk):
    """A flood is carried out by the other threads."""
    stuck = desk.issue("cancel_task", engine="slow", task_id="stuck")
    flood = [desk.issue("cancel_task", engine="slow", task_id=f"f-{n}") for n in range(50)]
    assert {command.wait(15).status.value for command in flood} == {"completed"}
    assert not stuck.is_done
    desk.slow.free.set()
    stuck.wait(10)
    desk.slow.free.clear()


def test_slower_than_its_deadline(redis_url):
    """The agent answers before the brain gives up, and says that it may have happened."""
    with Desk(redis_url, timeout_s=4) as desk:
        ended = desk.ask("cancel_task", engine="slow", task_id="stuck")
        assert ended.status.value == "failed"
        assert ended.error == "timeout: it did not end within 3.6 s"
        assert ended.result == {"indeterminate": True, "operation": "cancel_task"}


def test_broker_that_goes_away(redis_url):
    """Before a publish that is a plain failure, in the midst of one nobody knows."""
    parts = urlsplit(redis_url)
    with FaultyProxy(parts.port) as proxy:
        broker = parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()

        def break_off(**_kwargs):
            proxy.refuse()
            proxy.reset()

        with Desk(broker) as desk:
            both = {"task_name": "t", "override_args": [], "override_kwargs": {}}
            assert desk.ask("retry_task", task_id="a", **both).status.value == "completed"
            before_task_publish.connect(break_off)
            try:
                ended = desk.ask("retry_task", task_id="b", **both)
            finally:
                before_task_publish.disconnect(break_off)
            assert (ended.status.value, ended.result["indeterminate"]) == ("failed", True)
            ended = desk.ask("retry_task", task_id="c", **both)
            assert ended.status.value == "failed"
            assert "the broker cannot be reached" in ended.error
            proxy.heal()
            assert desk.ask("retry_task", task_id="d", **both).status.value == "completed"
