"""Commands that send a message."""

import json
import uuid
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.worker.request import Request

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.sender import TaskSender

NOW_NS = 1_800_000_000 * 10**9


def add(x, y=0):
    """Add, as a task."""
    return x + y


class Bench:
    """A sender on an app whose messages stay in this process's memory."""

    def __init__(self, backend="cache+memory://"):
        self.queue = uuid.uuid4().hex
        self.app = Celery("x", broker="memory://", backend=backend, set_as_current=False)
        self.app.conf.update(task_default_queue=self.queue, result_extended=True)
        self.add = self.app.task(name="add", shared=False, time_limit=9)(add)
        clock = SimpleNamespace(now_ns=lambda: NOW_NS)
        self.handle = CeleryHandle(self.app, clock=clock)
        self.recent = RecentMessages()
        self.sender = TaskSender(self.handle, self.recent)

    def take(self, queue=None):
        """Take the next message off the queue."""
        with self.app.pool.acquire() as connection:
            return connection.default_channel.basic_get(queue or self.queue, no_ack=True)

    def sent(self, queue=None):
        """Take the next message and return its header, arguments and keyword arguments."""
        message = self.take(queue)
        args, kwargs, _ = message.payload
        return SimpleNamespace(args=args, kwargs=kwargs, **message.headers, raw=message)

    def receive(self):
        """Take the next message as a worker does, and remember it."""
        message = self.take()
        self.recent.remember(Request(message, app=self.app, task=self.add))
        return message.headers["id"]

    def store(self, task_id, **request):
        """Have the backend know a task."""
        context = SimpleNamespace(delivery_info={"routing_key": self.queue}, **request)
        self.app.backend.store_result(task_id, None, "SUCCESS", request=context)


@pytest.fixture
def bench():
    """A sender with a result backend."""
    bench = Bench()
    yield bench
    bench.app.close()


def test_submitted_task_is_published(bench):
    """A new task has the given arguments and what its class says."""
    task_id = bench.sender.submit({"name": "add", "args": [1], "kwargs": {"y": 2}})
    sent = bench.sent()
    assert (sent.id, sent.args, sent.kwargs) == (task_id, [1], {"y": 2})
    assert sent.timelimit == [9, None]


def test_submit_takes_queue_eta_and_priority(bench):
    """Queue, time and priority of the command are those of the message."""
    queue = uuid.uuid4().hex
    choices = {"queue": queue, "eta": 1_800_000_060, "priority": "high"}
    bench.sender.submit({"name": "elsewhere", **choices})
    sent = bench.sent(queue)
    assert sent.eta == "2027-01-15T08:01:00+00:00"
    assert sent.raw.properties["priority"] == 6


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "name is missing"),
        ({"name": "add", "args": "1"}, "args must be a list"),
        ({"name": "add", "args": [], "kwargs": []}, "kwargs must be an object"),
        ({"name": "add", "args": [1, 2, 3]}, "do not fit the task"),
        ({"name": "add", "args": [1], "priority": 3}, "priority must be"),
    ],
)
def test_bad_submissions_are_refused(bench, parameters, text):
    """Nothing is sent when the parameters are wrong."""
    with pytest.raises(CommandRefused, match=text):
        bench.sender.submit(parameters)
    assert bench.take() is None


def test_untyped_task_is_not_checked(bench):
    """A task that checks its own arguments gets them as they are."""
    bench.add.typing = False
    bench.sender.submit({"name": "add", "args": [1, 2, 3]})
    assert bench.sent().args == [1, 2, 3]


def test_own_worker_must_know_the_task(bench):
    """A task that our own worker could only fail is refused; other queues may know it."""
    bench.handle.worker = SimpleNamespace(
        name="w@x", knows_task="add".__eq__, queues=lambda: [bench.queue]
    )
    with pytest.raises(CommandRefused, match="worker w@x has no task gone"):
        bench.sender.submit({"name": "gone"})
    bench.sender.submit({"name": "gone", "queue": "other"})
    assert bench.sender.submit({"name": "add", "args": [1]}) == bench.sent().id


def test_failed_publish_is_uncertain(bench):
    """When Celery raises while sending, nobody knows whether the message left."""
    with pytest.raises(AdapterError, match="could not send elsewhere") as raised:
        bench.sender.submit({"name": "elsewhere", "kwargs": {"x": object()}})
    assert raised.value.indeterminate


def test_recent_task_runs_again(bench):
    """A task in the store runs again as it was sent, below the first one."""
    bench.app.send_task("add", [7], {"y": 8}, priority=5, expires=1)
    first = bench.receive()
    answer = bench.sender.retry({"task_id": first, "args": [0], "kwargs": {"y": 0}})
    sent = bench.sent()
    assert answer == {"new_task_id": sent.id, "task_name": "add", "priority": 5}
    assert (sent.args, sent.kwargs, sent.root_id, sent.parent_id) == ([7], {"y": 8}, first, first)
    assert (sent.id != first, sent.retries, sent.expires) == (True, 0, None)


def test_half_an_override_is_completed(bench):
    """One override is enough where the other half is known."""
    bench.app.send_task("add", [7], {"y": 8})
    bench.sender.retry({"task_id": bench.receive(), "override_kwargs": {"y": "as typed"}})
    sent = bench.sent()
    assert (sent.args, sent.kwargs) == ([7], {"y": "as typed"})


@pytest.mark.parametrize(("label", "expected"), [("normal", 5), (None, 5), ("low", 0)])
def test_normal_does_not_lower_a_priority(bench, label, expected):
    """The brain's default label leaves the task's own priority alone."""
    bench.app.send_task("add", [7], priority=5)
    answer = bench.sender.retry({"task_id": bench.receive(), "priority": label})
    assert answer["priority"] == bench.sent().raw.properties["priority"] == expected


def test_stored_task_runs_again(bench):
    """A task the backend knows runs again on its queue; the brain's name is not needed."""
    task_id = uuid.uuid4().hex
    bench.store(task_id, task="add", args=[3], kwargs={}, hostname="w", retries=0)
    answer = bench.sender.retry({"task_id": task_id, "task_name": "unknown"})
    sent = bench.sent()
    assert (sent.args, sent.root_id, answer["task_name"]) == ([3], task_id, "add")


def test_overrides_need_no_source(bench):
    """With both overrides the brain's name of the task is enough."""
    both = {"override_args": [1], "override_kwargs": {}}
    bench.sender.retry({"task_id": "x", "task_name": "add", **both})
    assert bench.sent().args == [1]
    with pytest.raises(CommandRefused, match="name of this task"):
        bench.sender.retry({"task_id": "x", "task_name": "unknown", **both})


@pytest.mark.parametrize("half", [{}, {"override_args": [1]}, {"override_kwargs": {}}])
def test_retry_without_source_is_refused(bench, half):
    """Without a copy of the arguments the refusal says what to change, and nothing is sent."""
    command = {"task_id": "x", "task_name": "add", "args": [1], "kwargs": {}, **half}
    with pytest.raises(CommandRefused, match="Set result_extended = True"):
        bench.sender.retry(command)
    assert bench.take() is None


def test_backend_error_matters_only_when_it_is_needed(tmp_path):
    """A backend that cannot be read stops a retry by reference, not one with overrides."""
    bench = Bench(f"file://{tmp_path}")
    (tmp_path / "celery-task-meta-x").write_text("{")
    with pytest.raises(AdapterError, match="result backend cannot be read"):
        bench.sender.retry({"task_id": "x"})
    both = json.loads('{"override_args": [1], "override_kwargs": {}}')
    bench.sender.retry({"task_id": "x", "task_name": "add", **both})
    assert bench.sent().args == [1]
    bench.app.close()
