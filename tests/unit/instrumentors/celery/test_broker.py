"""Talking to the broker."""

import gc
import uuid
import weakref
from multiprocessing import util
from types import SimpleNamespace

import pytest
from celery import Celery

from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery.broker import (
    broadcast,
    broker_connection,
    broker_priority,
)
from z4j_otel.instrumentors.celery.depths import count_waiting

from .scripted import control_of


class Connection:
    """A connection that opens or not, and says nothing further."""

    def __init__(self, error=None, *, is_asynchronous=True, driver_type="x"):
        self.error, self.is_closed = error, False
        self._default_channel = None
        implements = SimpleNamespace(asynchronous=is_asynchronous)
        self.transport = SimpleNamespace(implements=implements, driver_type=driver_type)

    def ensure_connection(self, *, max_retries, interval_start, timeout):
        """Open, in bounded time."""
        assert max_retries == 1
        if self.error is not None:
            raise self.error

    def release(self):
        """Close, and fail at it."""
        self.is_closed = True
        raise OSError


def app_with(connection, replies=None, error=None):
    """Make an app whose workers give these replies."""
    asked = {}

    def send(command, **options):
        asked.update(options, command=command)
        if error is not None:
            raise error
        return replies

    return SimpleNamespace(
        connection_for_write=lambda: connection,
        control=control_of(send),
        asked=asked,
    )


def test_connection_is_closed_after_use():
    """A connection serves one command, and an error at its end harms nobody."""
    connection = Connection()
    with broker_connection(app_with(connection)):
        assert not connection.is_closed
    assert connection.is_closed


def test_connection_is_closed_after_an_error():
    """What went wrong meanwhile is what the caller sees."""
    connection = Connection()
    with pytest.raises(KeyError), broker_connection(app_with(connection)):
        raise KeyError
    assert connection.is_closed


@pytest.mark.parametrize(("driver", "asks"), [("amqp", True), ("redis", False)])
def test_rabbitmq_is_asked_to_confirm(driver, asks):
    """Other brokers answer to each message by themselves."""
    connection = Connection(driver_type=driver)
    connection.transport_options, connection.default_channel = {}, object()
    with broker_connection(app_with(connection), confirms=True):
        assert connection.transport_options.get("confirm_publish", False) is asks


def test_answer_that_nobody_wants_is_not_waited_for():
    """A channel of Redis that still listens is told that it does not."""
    connection = Connection()
    connection._default_channel = channel = SimpleNamespace(_in_poll=object())
    with broker_connection(app_with(connection)):
        pass
    assert channel._in_poll is None
    assert connection.is_closed


def test_forked_children_do_not_know_the_channel(monkeypatch):
    """Those of the application's own connections they do close, as ever."""
    connection = Connection(driver_type="redis")
    connection.default_channel, other = object(), object()
    registry = {1: connection.default_channel, 2: other}
    monkeypatch.setattr(util, "_afterfork_registry", registry)
    with broker_connection(app_with(connection)):
        assert registry == {2: other}


def test_memory_keeps_its_messages():
    """A command does not close the channel, which would empty the queues of the process."""
    app = Celery("x", broker="memory://", set_as_current=False)
    queue = uuid.uuid4().hex
    app.send_task("t", queue=queue)
    for _ in range(2):
        with broker_connection(app) as connection:
            assert count_waiting(connection, [queue]) == {queue: 1}


def test_a_used_connection_to_memory_is_not_kept():
    """A test suite with thousands of commands does not grow by each."""
    app = Celery("unit", broker="memory://", set_as_current=False)
    connect, made = app.connection_for_write, []

    def connect_seen():
        connection = connect()
        made.append(weakref.ref(connection))
        return connection

    app.connection_for_write = connect_seen
    broadcast(app, "ping", {}, timeout_s=0.01)
    gc.collect()
    assert [connection() for connection in made] == [None]


def test_broker_that_is_away_is_certain():
    """Where no connection came about, nothing has happened, and no address is told."""
    connection = Connection(OSError("redis://:secret@h"))
    app = app_with(connection)
    text = r"cannot be reached \(OSError\)$"
    with pytest.raises(AdapterError, match=text) as raised, broker_connection(app):
        pass
    assert not raised.value.indeterminate
    assert connection.is_closed


def test_answers_are_merged_by_worker():
    """Every worker's answer is under its name; what is no answer is left out."""
    app = app_with(Connection(), [{"a@x": {"ok": 1}}, None, {"b@x": {"ok": 2}}])
    answers = broadcast(app, "revoke", {"task_id": "t"}, timeout_s=1.0)
    assert answers == {"a@x": {"ok": 1}, "b@x": {"ok": 2}}
    assert (app.asked["destination"], app.asked["timeout"]) == (None, 1.0)


def test_one_worker_can_be_asked():
    """A destination limits the question, and silence is an empty answer."""
    app = app_with(Connection())
    assert broadcast(app, "revoke", {}, timeout_s=1.0, worker="a@x") == {}
    assert app.asked["destination"] == ["a@x"]


def test_polling_transports_get_more_time():
    """A transport that looks for messages once a second is waited for longer."""
    app = app_with(Connection(is_asynchronous=False))
    broadcast(app, "revoke", {}, timeout_s=1.0)
    assert app.asked["timeout"] == 3.0


def test_error_on_the_way_is_uncertain():
    """Once the question may have left, its effect is not known."""
    app = app_with(Connection(), error=OSError("gone"))
    with pytest.raises(AdapterError, match="failed during revoke") as raised:
        broadcast(app, "revoke", {}, timeout_s=1.0)
    assert raised.value.indeterminate


@pytest.mark.parametrize(("broker", "expected"), [("redis://", (0, 9)), ("memory://", (9, 0))])
def test_priorities_follow_the_transport(broker, expected):
    """On Redis the smallest number comes first, elsewhere the largest."""
    app = Celery("x", broker=broker, set_as_current=False)
    assert tuple(broker_priority(app, label) for label in ("critical", "low")) == expected
