"""Messages that still wait, read without taking them."""

from __future__ import annotations

import base64
import json
import uuid

import pytest
from celery import Celery

from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.message_copy import from_message
from z4j_otel.instrumentors.celery.queue_access import queue_depth
from z4j_otel.instrumentors.celery.queued import Seen, find_queued
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.retry_and_submit import TaskSender

from . import rabbit


class Client:
    """A Redis of lists."""

    def __init__(self, lists):
        self.lists = lists
        self.reads = 0

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return None

    def lrange(self, key, begin, end):
        """Return a part of a list, counted from its end."""
        self.reads += 1
        values = self.lists.get(key, [])
        return values[max(0, len(values) + begin) : max(0, len(values) + end + 1)]


class App:
    """A Celery app whose broker is such a Redis."""

    def __init__(self, lists, driver="redis"):
        self.client = Client(lists)
        self.transport = self.default_channel = self
        self.driver_type = driver
        self.priority_steps = [0, 3]
        self.connection_errors = ()
        self.conf = type("Conf", (), {"accept_content": ["json"]})

    def connection_for_write(self):
        """Open the connection, which is this object, too."""
        return self

    def ensure_connection(self, **_options):
        """Be there."""

    def release(self):
        """Close it."""

    def conn_or_acquire(self):
        """Lend the client."""
        if self.client is None:
            raise OSError
        return self.client

    def _q_for_pri(self, name, step):
        return f"{name}{step}" if step else name


def message(task_id="t", **changes):
    """Return a message as kombu writes it."""
    body = base64.b64encode(json.dumps([[7], {"y": 8}, {}]).encode()).decode()
    value = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"id": task_id, "task": "add"},
        "properties": {
            "body_encoding": "base64",
            "priority": 3,
            "delivery_info": {"exchange": "", "routing_key": "q"},
        },
    }
    return json.dumps({**value, **changes}).encode()


def test_waiting_message_can_run_again():
    """Its arguments, queue and priority are those that were sent."""
    app = App({"q3": [message("other"), message()]})
    found = from_message(app, "t", find_queued(app, "t", ["gone", "q"]))
    assert (found.name, found.args, found.kwargs) == ("add", [7], {"y": 8})
    assert {"queue": "q", "priority": 3}.items() <= found.options.items()


def test_search_is_bounded():
    """The oldest 5000 messages are looked at, a hundred at a time."""
    app = App({"q": [message("t"), *[b"x"] * 5000]})
    assert find_queued(app, "t", ["q", "q"]) is None
    assert app.client.reads == 50
    app = App({"q": [message("t"), *[b"x"] * 4999]})
    assert find_queued(app, "t", ["q"]) is not None


def test_keys_have_the_prefix_of_the_app():
    """`global_keyprefix` keeps apps apart that share a Redis."""
    app = App({"shop_q": [message()], "q": [message("other")]})
    app.global_keyprefix = "shop_"
    assert find_queued(app, "t", ["q"]) is not None
    assert find_queued(app, "other", ["q"]) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"t",
        b'"t"',
        message("t-2"),
        message(headers={"id": "t", "compression": "gzip"}),
        message(headers=["t"]),
        message(body="t", properties={"body_encoding": "base64"}),
        json.dumps({"headers": {"id": "t"}, "properties": {}}).encode(),
    ],
)
def test_what_cannot_be_read_is_passed_over(raw):
    """Foreign, damaged and compressed messages are no source, and no error."""
    assert find_queued(App({"q": [raw]}), "t", ["q"]) is None


def test_other_brokers_are_left_alone():
    """Where reading would change a message, nothing is read."""
    app = App({"q": [message()]}, driver="filesystem")
    assert find_queued(app, "t", ["q"]) is None
    assert app.client.reads == 0


def test_waiting_message_of_rabbitmq_can_run_again():
    """It is found in the queue, and stays there."""
    waiting = rabbit.message(death=None, properties={"priority": 4})
    waiting.delivery_info = {"exchange": "", "routing_key": "work"}
    broker = rabbit.Rabbit(work=[rabbit.message("other"), waiting], dead=[])
    app = rabbit.app_on(broker)
    found = from_message(app, "t", find_queued(app, "t", ["work"]))
    assert (found.name, found.args, found.kwargs) == ("shop.pay", [7], {"y": 8})
    assert {"queue": "work", "priority": 4}.items() <= found.options.items()
    assert len(broker.queues["work"]) == 2


def test_dead_letter_can_run_again():
    """It goes where it was published to, not to the exchange of dead letters."""
    death = {**rabbit.DEATH, "exchange": "tasks", "routing-keys": ["pay"]}
    broker = rabbit.Rabbit(dead=[rabbit.message(death=death)])
    app = rabbit.app_on(broker)
    found = from_message(app, "t", find_queued(app, "t", ["work"]))
    assert (found.options["exchange"], found.options["routing_key"]) == ("tasks", "pay")
    assert "headers" not in found.options
    assert len(broker.queues["dead"]) == 1


def test_many_tasks_are_looked_for_once():
    """The second one is known from the first look, and so is that there is no third."""
    broker = rabbit.Rabbit(dead=[rabbit.message("a"), rabbit.message(None), rabbit.message("b")])
    app, seen = rabbit.app_on(broker), Seen()
    found = [find_queued(app, task_id, ["work"], seen) for task_id in "bac"]
    assert [message and message.headers["id"] for message in found] == ["b", "a", None]
    assert broker.steps.count("get") == 4
    assert len(broker.queues["dead"]) == 3


def test_single_task_is_looked_for_no_further_than_it_is():
    """What lies behind it stays with the workers."""
    broker = rabbit.Rabbit(dead=[rabbit.message("a"), rabbit.message("b")])
    assert find_queued(rabbit.app_on(broker), "a", ["work"]) is not None
    assert broker.steps.count("get") == 1


def test_queue_that_must_not_be_looked_into_is_passed_over():
    """The next one may have the message; compressed ones are no source, as on Redis."""
    broker = rabbit.Rabbit(work=[rabbit.message(compression="gzip")], dead=[rabbit.message()])
    broker.kinds["dead"] = "quorum"
    assert find_queued(rabbit.app_on(broker), "t", ["work"]) is None
    assert len(broker.queues["dead"]) == 1


def test_plain_body_is_read():
    """A transport that encodes no bodies writes them as text."""
    raw = message(body="[[1], {}, {}]", properties={"delivery_info": {"routing_key": "q"}})
    app = App({"q": [raw]})
    assert from_message(app, "t", find_queued(app, "t", ["q"])).args == [1]


def test_refused_connection_keeps_its_own_words():
    """A broker that cannot be reached is told as such."""
    app = App({})

    def ensure_connection(**_options):
        raise OSError

    app.ensure_connection = ensure_connection
    with pytest.raises(AdapterError, match="cannot be reached"):
        find_queued(app, "t", ["q"])


def test_broken_broker_is_told():
    """A search that failed is no proof that nothing waits."""
    app = App({})
    app.client = None
    with pytest.raises(AdapterError, match="does not tell what waits"):
        find_queued(app, "t", ["q"])


@pytest.mark.e2e
@pytest.mark.parametrize("prefix", ["", "shop_"])
def test_real_redis_lists_are_read(redis_url, prefix):
    """Celery's own message is found in each priority list, and stays there."""
    app = Celery("q", broker=redis_url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": prefix}
    queue = uuid.uuid4().hex
    app.conf.task_default_queue = queue
    try:
        sent = app.send_task("add", [7], {"y": 8}, priority=6)
        for _ in range(2):
            found = from_message(app, sent.id, find_queued(app, sent.id, [queue]))
            assert (found.args, found.kwargs, found.options["priority"]) == ([7], {"y": 8}, 6)
            assert queue_depth(app, queue) == 1
        sender = TaskSender(CeleryHandle(app), RecentMessages())
        again = sender.retry({"task_id": sent.id, "task_name": "unknown"})["new_task_id"]
        found = from_message(app, again, find_queued(app, again, [queue]))
        assert (found.args, found.options["parent_id"]) == ([7], again)
        assert find_queued(app, "other", [queue]) is None
        assert find_queued(app, sent.id, ["other"]) is None
    finally:
        app.pool.force_close_all()
        app.close()
