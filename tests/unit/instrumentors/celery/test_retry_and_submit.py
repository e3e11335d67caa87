"""Commands that send a message."""

import json
import uuid
from types import SimpleNamespace

import pytest
from amqp.exceptions import ChannelError, MessageNacked, NotFound
from celery import Celery
from celery.worker.request import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery import retry_and_submit as sender_module
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.retry_and_submit import TaskSender

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


@pytest.mark.parametrize(
    ("half", "text"),
    [
        ({}, "nothing here knows"),
        ({"override_args": [1]}, "override_args is given and override_kwargs is not"),
        ({"override_kwargs": {}}, "override_kwargs is given and override_args is not"),
    ],
)
def test_retry_without_source_is_refused(bench, half, text):
    """Without a copy of the arguments the refusal says what to change, and nothing is sent."""
    command = {"task_id": "x", "task_name": "add", "args": [1], "kwargs": {}, **half}
    with pytest.raises(CommandRefused, match=rf"{text}.*Set result_extended = True"):
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


def test_firing_publishes_the_schedules_task(bench):
    """Name, arguments and queue are those of the schedule, the id that of the firing."""
    queue = uuid.uuid4().hex
    fire = {"task_name": "add", "args": [1], "kwargs": {"y": 2}, "queue": queue, "fire_id": "f"}
    assert bench.sender.fire(fire, "chosen") == "chosen"
    sent = bench.sent(queue)
    assert (sent.id, sent.task, sent.args, sent.kwargs) == ("chosen", "add", [1], {"y": 2})
    with pytest.raises(CommandRefused, match="task_name is missing"):
        bench.sender.fire({"name": "add"})


def test_retry_takes_the_id_it_is_given(bench):
    """Two deliveries of one retry are one task to whoever looks for it."""
    bench.app.send_task("add", [7])
    answer = bench.sender.retry({"task_id": bench.receive()}, "chosen")
    assert answer["new_task_id"] == bench.sent().id == "chosen"


SHOWN = st.sampled_from(["[REDACTED]", "[REDACTED:email]", {"password": "[REDACTED]"}])
WHATEVER = st.one_of(st.none(), st.lists(SHOWN, max_size=2), st.dictionaries(st.text(), SHOWN))
TYPED = st.one_of(st.none(), st.just([9]))
SOURCES = ("recent", "backend", "nothing")


@settings(max_examples=80, deadline=None)
@given(
    shown=st.dictionaries(st.sampled_from(["args", "kwargs", "original_args"]), WHATEVER),
    typed_args=TYPED,
    typed_kwargs=st.one_of(st.none(), st.just({"y": 9})),
    source=st.sampled_from(SOURCES),
)
def test_what_the_brain_shows_is_never_run(shown, typed_args, typed_kwargs, source):
    """Whatever a retry carries, what runs is the engine's own or what the operator typed."""
    bench = Bench()
    try:
        bench.app.send_task("add", [7], {"y": 8})
        task_id = bench.receive()
        if source != "recent":
            bench.recent.forget(task_id)
        if source == "backend":
            own = {"args": [7], "kwargs": {"y": 8}, "hostname": "w", "retries": 0}
            bench.store(task_id, task="add", **own)
        typed = {"override_args": typed_args, "override_kwargs": typed_kwargs}
        is_known = source != "nothing" or None not in (typed_args, typed_kwargs)
        command = {"task_id": task_id, "task_name": "add", **shown, **typed}
        if not is_known:
            with pytest.raises(CommandRefused):
                bench.sender.retry(command)
            assert bench.take() is None
            return
        bench.sender.retry(command)
        sent = bench.sent()
        assert sent.args == (typed_args or [7])
        assert sent.kwargs == (typed_kwargs or {"y": 8})
        assert b"REDACTED" not in json.dumps([sent.args, sent.kwargs]).encode()
    finally:
        bench.app.close()


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (NotFound("no exchange"), CommandRefused, r"was not sent: .*exchange 'gone'"),
        (ChannelError("NO_ROUTE", reply_code=312), CommandRefused, "has no queue for it"),
        (ChannelError("NOT_ALLOWED", reply_code=530), AdapterError, "ChannelError"),
        (MessageNacked(), AdapterError, "MessageNacked"),
    ],
)
def test_amqp_says_what_became_of_a_message(bench, monkeypatch, error, raised, text):
    """What no queue takes was not sent; anything else is told as it is."""
    asked = {}

    def send_task(*_args, **options):
        asked.update(options)
        raise error

    monkeypatch.setattr(sender_module, "is_amqp", lambda _connection: True)
    monkeypatch.setattr(bench.app, "send_task", send_task)
    with pytest.raises(raised, match=text):
        bench.sender.publish("add", [1], {}, {"exchange": "gone", "routing_key": "k"}, "t")
    assert (asked["mandatory"], asked["retry"]) == (True, False)


@pytest.mark.e2e
@pytest.mark.parametrize("exchange", ["gone", "amq.direct"])
def test_real_rabbitmq_drops_nothing_unseen(rabbitmq_url, exchange):
    """A message to a missing exchange, or to one that nothing is bound to, is a refusal."""
    app = Celery("x", broker=rabbitmq_url, set_as_current=False)
    sender = TaskSender(CeleryHandle(app), RecentMessages())
    route = {"exchange": exchange, "routing_key": uuid.uuid4().hex}
    with pytest.raises(CommandRefused, match="has no queue for it"):
        sender.publish("add", [1], {}, route, "t")
    assert sender.publish("add", [1], {}, {"queue": uuid.uuid4().hex}, "t") == "t"
    app.close()
