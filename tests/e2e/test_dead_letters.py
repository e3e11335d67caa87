"""Dead letters of a real RabbitMQ: shown, sent back, run again, and never lost by a look."""

from __future__ import annotations

import gc
import uuid
from urllib.parse import urlsplit

import pytest
from celery import Celery
from kombu import Exchange, Queue

from z4j_otel.commands import Command, Target
from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.adapter import CeleryEngineAdapter
from z4j_otel.instrumentors.celery.browsing import Look
from z4j_otel.instrumentors.celery.message_copy import from_message
from z4j_otel.instrumentors.celery.queued import find_queued
from z4j_otel.redaction import Redactor
from z4j_otel.testing import FaultyProxy

pytestmark = pytest.mark.timeout(60)


class Shop:
    """An app on RabbitMQ whose broken tasks lie in a queue of their own."""

    def __init__(self, broker, **dead_arguments):
        token = uuid.uuid4().hex[:8]
        self.work, self.dead, self.exchange = (
            f"{name}-{token}" for name in ("work", "dead", "dlx")
        )
        self.app = Celery("shop", broker=broker, backend="cache+memory://", set_as_current=False)
        letters = {
            "x-dead-letter-exchange": self.exchange,
            "x-dead-letter-routing-key": self.work,
        }
        self.app.conf.update(
            task_default_queue=self.work,
            broker_transport_options={"shop": token},
            task_queues=[
                Queue(self.work, queue_arguments=letters),
                Queue(
                    self.dead,
                    Exchange(self.exchange),
                    routing_key=self.work,
                    queue_arguments=dead_arguments or None,
                ),
            ],
        )
        self.adapter = CeleryEngineAdapter(self.app)
        with self.app.connection_for_write() as connection:
            for queue in self.app.amqp.queues.values():
                queue(connection.default_channel).declare()

    def close(self):
        """Delete the queues."""
        with self.app.connection_for_write() as connection:
            for name in (self.work, self.dead):
                connection.channel().queue_delete(name)
            connection.channel().exchange_delete(self.exchange)
        self.app.pool.force_close_all()
        self.app.close()

    def send(self, *args, **options):
        """Publish a task and return its id."""
        return self.app.send_task("shop.pay", args, {"note": "n"}, **options).id

    def reject(self, count=1):
        """Do what a worker does with a task that raises ``Reject``."""
        with self.app.connection_for_read() as connection:
            for _ in range(count):
                message = connection.default_channel.basic_get(self.work)
                connection.default_channel.basic_reject(message.delivery_tag, requeue=False)

    def kill(self, *args, **options):
        """Publish a task, have it rejected, and return its id."""
        task_id = self.send(*args, **options)
        before = self.depth(self.dead)
        self.wait_depth(self.work)
        self.reject()
        self.wait_depth(self.dead, at_least=before + 1)
        return task_id

    def depth(self, queue):
        """Return how many messages wait."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            return channel.queue_declare(queue=queue, passive=True).message_count

    def wait_depth(self, queue, *, at_least=1):
        """Wait until so many messages wait."""
        for _ in range(2000):
            if self.depth(queue) >= at_least:
                return
        raise AssertionError(f"{queue} has {self.depth(queue)} messages")

    def do(self, action, **parameters):
        """Carry a command out."""
        return self.adapter.execute(
            Command("c", action, Target("task", None, "celery"), parameters)
        )

    def take(self, queue):
        """Take a message away and return it."""
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            channel.auto_decode = False
            message = channel.basic_get(queue, no_ack=True)
            return None if message is None else (message.body, message.properties)


@pytest.fixture
def shop(rabbitmq_url):
    """An app with a classic dead-letter queue."""
    shop = Shop(rabbitmq_url)
    yield shop
    shop.close()


def test_letters_are_listed_and_stay(shop):
    """Newest first, page by page, with where, when and why they died."""
    ids = {shop.kill(number) for number in range(3)}
    first = shop.do("dlq.list", engine="celery", queue=None, limit=2, cursor=None)
    assert (len(first["entries"]), first["total"], first["engine"]) == (2, 3, "celery")
    second = shop.do("dlq.list", queue=shop.work, limit=2, cursor=first["next_cursor"])
    assert second["next_cursor"] is None
    entries = first["entries"] + second["entries"]
    assert {entry["task_id"] for entry in entries} == ids
    for entry in entries:
        assert entry["failed_at"].endswith("+00:00")
        assert {**entry, "task_id": "", "failed_at": ""} == {
            "task_id": "",
            "task_name": "shop.pay",
            "queue": shop.work,
            "failed_at": "",
            "error_excerpt": "rejected by a worker",
            "attempts": 1,
        }
    assert Redactor().redact(first) == first
    assert shop.depth(shop.dead) == 3


def test_requeued_letter_is_the_same_message(shop):
    """It keeps id and body, loses its history, and leaves the dead-letter queue."""
    first, second = shop.kill(1), shop.kill(2)
    answer = shop.do("requeue_dead_letter", engine="celery", task_id=second)
    assert answer == {
        "task_id": second,
        "queue": shop.work,
        "dead_letter_queue": shop.dead,
        "dead_letters_before": 2,
        "dead_letters_after": 1,
    }
    body, properties = shop.take(shop.work)
    headers = properties["application_headers"]
    assert body.startswith(b'[[2], {"note": "n"}, {')
    assert headers["id"] == second
    assert not [name for name in headers if name.startswith("x-")]
    assert [e["task_id"] for e in shop.do("dlq.list")["entries"]] == [first]
    with pytest.raises(CommandRefused, match="no dead letter of this task"):
        shop.do("requeue_dead_letter", task_id=second)


def test_letter_of_an_expired_task_stays(shop):
    """A worker would only drop it again."""
    task_id = shop.send(1, expires=0.001)
    shop.wait_depth(shop.dead)
    (entry,) = shop.do("dlq.list")["entries"]
    assert (entry["error_excerpt"], entry["attempts"]) == ("expired before a worker took it", 0)
    with pytest.raises(CommandRefused, match="retry it instead"):
        shop.do("requeue_dead_letter", task_id=task_id)
    assert shop.depth(shop.dead) == 1


def test_queue_that_has_gone_keeps_the_letter(shop):
    """The broker returns the message, so nothing is acked."""
    task_id = shop.kill(1)
    with shop.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(shop.work)
    with pytest.raises(CommandRefused, match="does not exist any more"):
        shop.do("requeue_dead_letter", task_id=task_id)
    assert shop.depth(shop.dead) == 1


def test_full_queue_keeps_the_letter(rabbitmq_url):
    """The broker refuses the message, so nothing is acked."""
    shop = Shop(rabbitmq_url)
    try:
        task_id = shop.kill(1)
        with shop.app.connection_for_write() as connection:
            channel = connection.default_channel
            channel.queue_delete(shop.work)
            full = {"x-max-length": 0, "x-overflow": "reject-publish"}
            channel.queue_declare(shop.work, durable=True, auto_delete=False, arguments=full)
        with pytest.raises(AdapterError, match="may be full") as caught:
            shop.do("requeue_dead_letter", task_id=task_id)
        assert not caught.value.indeterminate
        assert shop.depth(shop.dead) == 1
    finally:
        shop.close()


# The client library leaves a socket open that was reset; it is let go here, in no later test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_connection_that_is_cut_before_the_ack_loses_nothing(shop, rabbitmq_url, monkeypatch):
    """The message runs, its letter stays, and the operator is told to look."""
    task_id = shop.kill(1)
    parts = urlsplit(rabbitmq_url)
    remove = Look.remove
    with FaultyProxy(parts.port) as proxy:
        host = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
        shop.app.conf.broker_url = parts._replace(netloc=host).geturl()

        def cut(look, letter):
            proxy.reset()
            remove(look, letter)

        monkeypatch.setattr(Look, "remove", cut)
        with pytest.raises(AdapterError, match="was published, and its dead letter may") as caught:
            shop.do("requeue_dead_letter", task_id=task_id)
        assert caught.value.indeterminate
        shop.app.conf.broker_url = rabbitmq_url
    del caught
    gc.collect()
    shop.wait_depth(shop.dead)
    assert (shop.depth(shop.work), shop.depth(shop.dead)) == (1, 1)


@pytest.mark.parametrize("where", ["dead", "work"])
def test_retry_takes_the_arguments_from_the_message(shop, where):
    """The message stays; the new task has its arguments, and goes where the old one went."""
    task_id = shop.kill(7, priority=4) if where == "dead" else shop.send(7, priority=4)
    queue = getattr(shop, where)
    shop.wait_depth(queue)
    answer = shop.do("retry_task", engine="celery", task_id=task_id, task_name="unknown")
    assert (answer["task_name"], answer["priority"]) == ("shop.pay", 4)
    assert answer["new_task_id"] != task_id
    shop.wait_depth(shop.work, at_least=1 if where == "dead" else 2)
    found = find_queued(shop.app, answer["new_task_id"], [shop.work])
    again = from_message(shop.app, answer["new_task_id"], found)
    assert (list(again.args), again.kwargs) == ([7], {"note": "n"})
    assert again.options["queue"] == shop.work
    assert found.headers["parent_id"] == task_id
    assert shop.depth(queue) == (1 if where == "dead" else 2)


def test_one_override_is_completed_from_the_letter(shop):
    """The operator's half counts, the other comes from the message."""
    task_id = shop.kill(7)
    answer = shop.do("retry_task", task_id=task_id, override_args=[9])
    shop.wait_depth(shop.work)
    body, _ = shop.take(shop.work)
    assert body.startswith(b'[[9], {"note": "n"}')
    assert answer["task_name"] == "shop.pay"


def test_dead_letters_are_retried_together(shop):
    """Those that are there; the others are told one by one."""
    ids = [shop.kill(number) for number in range(3)]
    answer = shop.do("bulk_retry", filter={"task_ids": [*ids, "no-such-task"]}, max=10)
    assert (answer["requested"], answer["succeeded"], answer["failed"]) == (4, 3, 1)
    shop.wait_depth(shop.work, at_least=3)
    bodies = sorted(shop.take(shop.work)[0] for _ in range(3))
    assert [body[:5] for body in bodies] == [b"[[0],", b"[[1],", b"[[2],"]
    assert shop.depth(shop.dead) == 3


def test_quorum_queue_is_not_looked_into(rabbitmq_url):
    """A look counts as a delivery there, and at the limit the message is gone."""
    shop = Shop(rabbitmq_url, **{"x-queue-type": "quorum", "x-delivery-limit": 1})
    try:
        assert not {"list_dead_letters", "requeue_dead_letter"} & set(shop.adapter.capabilities())
        task_id = shop.kill(1)
        for _ in range(3):
            with pytest.raises(CommandRefused):
                shop.do("retry_task", task_id=task_id)
            assert shop.do("dlq.list")["entries"] == []
        assert shop.depth(shop.dead) == 1
    finally:
        shop.close()


def test_queue_of_another_form_is_not_looked_into(shop):
    """What the app does not know to be classic may be anything."""
    with shop.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(shop.dead)
        quorum = {"x-queue-type": "quorum"}
        channel.queue_declare(shop.dead, durable=True, auto_delete=False, arguments=quorum)
    with pytest.raises(CommandRefused, match="is not looked into"):
        shop.do("dlq.list")


def test_queue_that_was_never_declared_has_no_letters(shop):
    """Nothing is made by looking."""
    with shop.app.connection_for_write() as connection:
        connection.default_channel.queue_delete(shop.dead)
    assert shop.do("dlq.list") == {
        "entries": [], "next_cursor": None, "total": 0, "engine": "celery"
    }  # fmt: skip
    with shop.app.connection_for_write() as connection:
        with pytest.raises(connection.channel_errors):
            connection.default_channel.queue_declare(shop.dead, passive=True)
        connection.channel().queue_declare(shop.dead, durable=True, auto_delete=False)


def test_capability_is_there_where_letters_are(shop, redis_url):
    """An app on Redis, or without a dead-letter queue, does not offer it."""
    both = {"list_dead_letters", "requeue_dead_letter"}
    assert both <= set(shop.adapter.capabilities())
    on_redis = Celery("r", broker=redis_url, set_as_current=False)
    on_redis.conf.task_queues = shop.app.conf.task_queues
    plain = Celery("p", broker=shop.app.conf.broker_url, set_as_current=False)
    for app in (on_redis, plain):
        assert not both & set(CeleryEngineAdapter(app).capabilities())
