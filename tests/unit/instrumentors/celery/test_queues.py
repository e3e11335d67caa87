"""Purging queues."""

import uuid

import pytest
from celery import Celery

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery import queues
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.queues import QueueControl
from z4j_otel.instrumentors.rules import LocalRules
from z4j_otel.wire.signing import purge_token

SECRET = b"s" * 32


class Shop:
    """An app with messages in this process's memory."""

    def __init__(self):
        self.queue = uuid.uuid4().hex
        self.app = Celery("x", broker="memory://", set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        self.control = QueueControl(CeleryHandle(self.app))
        self.control.rules = LocalRules(purge_secret=SECRET, purge_threshold=3)

    def send(self, count):
        """Put messages into the queue."""
        for _ in range(count):
            self.app.send_task("t")

    def purge(self, **more):
        """Purge the queue."""
        return self.control.purge({"queue": self.queue, **more})


@pytest.fixture
def shop():
    """Give an app with an empty queue."""
    shop = Shop()
    yield shop
    shop.app.close()


def test_confirmed_purge_deletes_what_was_seen(shop):
    """The token of the present depth opens; the queue is empty afterwards."""
    shop.send(2)
    token = purge_token(SECRET, shop.queue, 2)
    answer = {"queue": shop.queue, "depth_before": 2, "purged": 2, "force": False}
    assert shop.purge(confirm_token=token) == answer
    with pytest.raises(CommandRefused, match="has 0 messages now"):
        shop.purge(confirm_token=token)


def test_moved_depth_is_refused(shop):
    """What came after the operator looked is not deleted."""
    shop.send(3)
    with pytest.raises(CommandRefused, match="has 3 messages now"):
        shop.purge(confirm_token=purge_token(SECRET, shop.queue, 2))
    assert shop.purge(confirm_token=purge_token(SECRET, shop.queue, 3))["purged"] == 3


def test_force_needs_no_token_and_no_threshold(shop):
    """Force is the operator's word."""
    shop.send(5)
    with pytest.raises(CommandRefused, match="Z4J_PURGE_THRESHOLD"):
        shop.purge(confirm_token=purge_token(SECRET, shop.queue, 5))
    assert shop.purge(force=True) == {
        "queue": shop.queue, "depth_before": 5, "purged": 5, "force": True,
    }  # fmt: skip


def test_queue_nobody_knows_is_refused(shop):
    """An unknown queue is no empty one."""
    with pytest.raises(CommandRefused, match="there is no queue"):
        shop.control.purge({"queue": uuid.uuid4().hex, "force": True})
    with pytest.raises(CommandRefused, match="force must"):
        shop.purge(force="yes")


def test_purge_without_effect_is_an_error(shop, monkeypatch):
    """A broker that deleted nothing is no success."""
    shop.send(1)
    monkeypatch.setattr(queues, "purge_queue", lambda *_: 0)
    with pytest.raises(AdapterError, match="deleted nothing"):
        shop.purge(force=True)


def test_broker_lost_during_the_purge_is_uncertain(shop, monkeypatch):
    """Nobody knows what was deleted when the connection breaks."""
    shop.send(1)

    def lose(*_):
        raise ConnectionResetError

    monkeypatch.setattr(queues, "purge_queue", lose)
    with pytest.raises(AdapterError, match="failed during the purge") as raised:
        shop.purge(force=True)
    assert raised.value.indeterminate


def test_own_errors_pass(shop, monkeypatch):
    """A broker that cannot be reached says so itself."""

    def refuse(*_):
        raise AdapterError("away")

    monkeypatch.setattr(queues, "purge_queue", refuse)
    with pytest.raises(AdapterError, match="away"):
        shop.purge(force=True)
