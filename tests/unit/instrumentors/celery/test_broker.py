"""Talking to the broker."""

import uuid
from types import SimpleNamespace

import pytest
from celery import Celery
from kombu.exceptions import LimitExceeded

from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery.broker import (
    broadcast,
    broker_connection,
    broker_priority,
    measure_queues,
)


class Pool:
    """A pool of one connection that notes what becomes of it."""

    def __init__(self, connection=None, error=None):
        self.connection, self.error, self.fate = connection, error, None

    def acquire(self, *, block, timeout):
        """Lend the connection, or be exhausted."""
        if self.error is not None:
            raise self.error
        return self.connection

    def replace(self, connection):
        """Take a connection back that cannot be trusted."""
        self.fate = "replaced"


class Connection:
    """A connection that opens or not, and says nothing further."""

    connection_errors = (ConnectionError,)

    def __init__(self, error=None, *, is_asynchronous=True):
        self.error, self.is_released = error, False
        implements = SimpleNamespace(asynchronous=is_asynchronous)
        self.transport = SimpleNamespace(implements=implements, driver_type="x")

    def ensure_connection(self, *, max_retries, interval_start, timeout):
        """Open, in bounded time."""
        assert max_retries == 1
        if self.error is not None:
            raise self.error

    def collect(self):
        """Close without a word."""

    def release(self):
        """Go back to the pool."""
        self.is_released = True


def app_with(pool, replies=None, error=None):
    """Make an app whose workers give these replies."""
    asked = {}
    errors = list(error) if isinstance(error, list) else [error] * 10

    def send(command, **options):
        asked.update(options, command=command)
        if errors and (now := errors.pop(0)) is not None:
            raise now
        return replies

    return SimpleNamespace(pool=pool, control=SimpleNamespace(broadcast=send), asked=asked)


def test_connection_goes_back_to_the_pool():
    """A connection that did its work is lent to the next."""
    pool = Pool(Connection())
    with broker_connection(app_with(pool)) as connection:
        assert not connection.is_released
    assert (connection.is_released, pool.fate) == (True, None)


def test_connection_in_doubt_is_replaced():
    """After an error the next borrower gets another connection."""
    pool = Pool(Connection())
    with pytest.raises(KeyError), broker_connection(app_with(pool)):
        raise KeyError
    assert pool.fate == "replaced"


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        (Pool(error=LimitExceeded(1)), "no broker connection is free"),
        (Pool(Connection(OSError("redis://:secret@h"))), r"cannot be reached \(OSError\)$"),
    ],
)
def test_broker_that_is_away_is_certain(pool, text):
    """Where no connection came about, nothing has happened, and no address is told."""
    with pytest.raises(AdapterError, match=text) as raised, broker_connection(app_with(pool)):
        pass
    assert not raised.value.indeterminate


def test_answers_are_merged_by_worker():
    """Every worker's answer is under its name; what is no answer is left out."""
    app = app_with(Pool(Connection()), [{"a@x": {"ok": 1}}, None, {"b@x": {"ok": 2}}])
    answers = broadcast(app, "revoke", {"task_id": "t"}, timeout_s=1.0)
    assert answers == {"a@x": {"ok": 1}, "b@x": {"ok": 2}}
    assert (app.asked["destination"], app.asked["reply"], app.asked["timeout"]) == (None, True, 1.0)


def test_one_worker_can_be_asked():
    """A destination limits the question, and silence is an empty answer."""
    app = app_with(Pool(Connection()))
    assert broadcast(app, "revoke", {}, timeout_s=1.0, worker="a@x") == {}
    assert app.asked["destination"] == ["a@x"]


def test_polling_transports_get_more_time():
    """A transport that looks for messages once a second is waited for longer."""
    app = app_with(Pool(Connection(is_asynchronous=False)))
    broadcast(app, "revoke", {}, timeout_s=1.0)
    assert app.asked["timeout"] == 3.0


def test_error_on_the_way_is_uncertain():
    """Once the question may have left, its effect is not known."""
    app = app_with(Pool(Connection()), error=OSError("gone"))
    with pytest.raises(AdapterError, match="failed during revoke") as raised:
        broadcast(app, "revoke", {}, timeout_s=1.0)
    assert raised.value.indeterminate


def test_dead_connection_of_the_pool_is_tried_once_more():
    """What a forked child did to the pooled connection costs no command."""
    pool = Pool(Connection())
    app = app_with(pool, [{"a@x": {"ok": 1}}], error=[ConnectionResetError()])
    assert broadcast(app, "revoke", {}, timeout_s=1.0) == {"a@x": {"ok": 1}}
    assert pool.fate == "replaced"


def test_two_dead_connections_are_a_broker_that_is_away():
    """There is no third attempt."""
    errors = [ConnectionResetError(), ConnectionResetError()]
    app = app_with(Pool(Connection()), [{"a@x": {"ok": 1}}], error=errors)
    with pytest.raises(AdapterError, match="failed during revoke"):
        broadcast(app, "revoke", {}, timeout_s=1.0)


@pytest.mark.parametrize(("broker", "expected"), [("redis://", (0, 9)), ("memory://", (9, 0))])
def test_priorities_follow_the_transport(broker, expected):
    """On Redis the smallest number comes first, elsewhere the largest."""
    app = Celery("x", broker=broker, set_as_current=False)
    assert tuple(broker_priority(app, label) for label in ("critical", "low")) == expected


def test_depths_count_waiting_messages():
    """What was sent and not taken is counted; a queue that never was is empty."""
    app = Celery("x", broker="memory://", set_as_current=False)
    queue = uuid.uuid4().hex
    for _ in range(2):
        app.send_task("t", queue=queue)
    assert measure_queues(app, [queue, "never-declared"]) == {queue: 2, "never-declared": 0}
    app.close()


class AmqpConnection(Connection):
    """A broker that closes a channel when a queue is missing."""

    channel_errors = (LookupError,)

    def __init__(self):
        super().__init__()
        self.transport.driver_type = "amqp"
        self.closed = 0

    def channel(self):
        """Open a channel."""
        return self

    def queue_declare(self, *, queue, passive):
        """Tell the depth of the one queue there is."""
        if queue != "here":
            raise LookupError
        return SimpleNamespace(message_count=5)

    def maybe_close_channel(self, channel):
        """Close a channel."""
        self.closed += 1


def test_amqp_queues_are_asked_on_a_channel_each():
    """A missing AMQP queue is left out and spoils no other, and no channel stays open."""
    connection = AmqpConnection()
    depths = measure_queues(app_with(Pool(connection)), ["gone", "here"])
    assert (depths, connection.closed) == ({"here": 5}, 2)


def test_depths_of_a_broker_that_is_away_are_empty():
    """A heartbeat goes on without depths."""
    assert measure_queues(app_with(Pool(Connection(OSError()))), ["q"]) == {}
