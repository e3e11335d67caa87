"""Measuring queues over one connection that is kept."""

from __future__ import annotations

import gc
import os
import threading
import uuid
from types import SimpleNamespace

import pytest
from celery import Celery

from z4j_otel.instrumentors.celery.depths import QueueMeter


class Broken(Exception):
    """What the client library raises when the broker has closed a connection."""


class Connection:
    """A connection that counts, or breaks as often as it is told."""

    connection_errors = (Broken,)
    channel_errors = (LookupError,)

    def __init__(self, breaks=0):
        self.breaks, self.is_released = breaks, False
        self.transport = SimpleNamespace(driver_type="redis")
        self.default_channel = self
        self.listeners_closed = 0
        self.async_pool = SimpleNamespace(disconnect=self.close_listeners)

    def close_listeners(self):
        """Close what messages would be received on."""
        self.listeners_closed += 1

    def ensure_connection(self, *, max_retries, interval_start, timeout):
        """Open, in bounded time."""
        assert (max_retries, timeout) == (1, 4.0)

    def queue_declare(self, *, queue, passive):
        """Tell the depth of a queue."""
        assert passive
        if self.breaks:
            self.breaks -= 1
            raise Broken
        if queue == "none":
            raise LookupError
        return SimpleNamespace(message_count=7)

    def release(self):
        """Close."""
        self.is_released = True
        raise OSError


class App:
    """An app that hands out the connections of a test."""

    def __init__(self, *connections):
        self.left = list(connections)

    def connection_for_read(self):
        """Return a connection that is not open yet."""
        return self.left.pop(0)


def meter_of(app):
    """Return a meter of this app."""
    return QueueMeter(lambda: app)


def test_one_connection_serves_all_questions():
    """The second question uses what the first one opened."""
    app = App(Connection())
    meter = meter_of(app)
    assert meter.measure(["a", "none"]) == {"a": 7, "none": 0}
    assert meter.measure(["a"]) == {"a": 7}
    assert app.left == []


def test_the_connection_that_redis_listens_on_is_not_held():
    """A meter receives no messages; what kombu opened for them is closed."""
    connection = Connection()
    assert meter_of(App(connection)).measure(["a"]) == {"a": 7}
    assert connection.listeners_closed == 1


def test_redis_with_a_prefix_for_its_keys_is_counted():
    """Kombu takes every queue there for one that does not exist."""
    connection = Connection()
    connection.global_keyprefix = "shop_"
    connection._size = {"a": 5, "none": 0}.__getitem__
    assert meter_of(App(connection)).measure(["a", "none"]) == {"a": 5, "none": 0}


def test_kept_connection_that_broke_is_opened_again_once():
    """A broker that closed an idle connection costs nothing but a new one."""
    first, second = Connection(), Connection()
    meter = meter_of(App(first, second))
    meter.measure(["a"])
    first.breaks = 1
    assert meter.measure(["a"]) == {"a": 7}
    assert first.is_released
    assert not second.is_released


def test_broker_that_is_away_is_tried_once_a_question():
    """A new connection that fails is not tried again, and not kept."""
    app = App(Connection(breaks=1), Connection())
    meter = meter_of(app)
    with pytest.raises(Broken):
        meter.measure(["a"])
    assert meter.measure(["a"]) == {"a": 7}


def test_second_question_at_a_time_is_not_answered():
    """The connection is used by one thread at a time, and nobody waits for it."""
    connection = Connection()
    meter = meter_of(App(connection))
    inner = []
    declare = connection.queue_declare

    def ask(**arguments):
        thread = threading.Thread(target=lambda: inner.append(meter.measure(["a"])))
        thread.start()
        thread.join(10)
        return declare(**arguments)

    connection.queue_declare = ask
    assert meter.measure(["a"]) == {"a": 7}
    assert inner == [{}]


def test_connection_goes_with_its_meter():
    """Nothing stays open when an adapter is gone."""
    connection = Connection()
    meter = meter_of(App(connection))
    meter.measure(["a"])
    del meter
    gc.collect()
    assert connection.is_released


def test_forked_child_neither_uses_nor_closes_it():
    """Closing it there would shut down the parent's socket."""
    connection = Connection()
    meter = meter_of(App(connection, Connection()))
    meter.measure(["a"])
    child = os.fork()
    if child == 0:
        answer = meter.measure(["a"])
        del meter
        gc.collect()
        os._exit(0 if answer == {"a": 7} and not connection.is_released else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert meter.measure(["a"]) == {"a": 7}
    assert not connection.is_released


def test_waiting_messages_are_counted_in_memory():
    """A real transport tells what was sent and not taken."""
    app = Celery("x", broker="memory://", set_as_current=False)
    queue = uuid.uuid4().hex
    app.send_task("t", queue=queue)
    assert meter_of(app).measure([queue]) == {queue: 1}
    app.close()
