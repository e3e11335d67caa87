"""Depth, form and end of a single queue."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery import queue_access
from z4j_otel.instrumentors.celery.queue_access import (
    purge_queue,
    queue_depth,
    refuse_other_declaration,
)


class Refused(Exception):
    """What the client library raises when a channel is closed."""


class Channel:
    """A channel of AMQP that notes what was asked of it."""

    def __init__(self, error=None):
        self.error, self.asked, self.is_closed = error, [], False
        self.connection = SimpleNamespace(client=None)

    def prepare_queue_arguments(self, arguments, **_):
        """Leave the arguments as they are."""
        return arguments

    def queue_declare(self, **options):
        """Declare, or refuse."""
        self.asked.append(options)
        if self.error is not None:
            raise self.error
        return SimpleNamespace(message_count=4)

    def queue_purge(self, queue):
        """Delete four messages."""
        self.asked.append(queue)
        return 4


def world(monkeypatch, channel, driver="amqp", **queues):
    """Return an app and a connection that has only this channel."""

    def close(channel):
        channel.is_closed = True

    connection = SimpleNamespace(
        transport=SimpleNamespace(driver_type=driver),
        channel=lambda: channel,
        default_channel=channel,
        channel_errors=(Refused,),
        maybe_close_channel=close,
    )
    monkeypatch.setattr(queue_access, "broker_connection", lambda _: nullcontext(connection))
    table = type("Queues", (dict,), {"max_priority": queues.pop("max_priority", None)})(queues)
    return SimpleNamespace(amqp=SimpleNamespace(queues=table)), connection


@contextmanager
def declared(channel):
    """Return forms of queues that declare themselves on the channel."""
    yield lambda _channel: SimpleNamespace(queue_declare=lambda: channel.queue_declare(own=True))


def test_depth_is_known_or_the_queue_is_not(monkeypatch):
    """A queue that AMQP does not have has no depth."""
    app, _ = world(monkeypatch, Channel())
    assert queue_depth(app, "q") == 4
    app, _ = world(monkeypatch, Channel(Refused()))
    assert queue_depth(app, "q") is None


def test_broken_broker_is_an_error(monkeypatch):
    """Errors of the client library become ours; ours stay."""
    app, _ = world(monkeypatch, Channel(OSError()))
    with pytest.raises(AdapterError, match="OSError"):
        queue_depth(app, "q")

    def refuse(*_):
        raise AdapterError("away")

    monkeypatch.setattr(queue_access, "broker_connection", refuse)
    with pytest.raises(AdapterError, match="away"):
        queue_depth(app, "q")


@pytest.mark.parametrize(("driver", "is_closed"), [("amqp", True), ("redis", False)])
def test_purge_uses_a_channel_of_its_own_on_amqp(monkeypatch, driver, is_closed):
    """Elsewhere the default channel is kept."""
    channel = Channel()
    _, connection = world(monkeypatch, channel, driver)
    assert purge_queue(connection, "q") == 4
    assert channel.is_closed == is_closed


def test_queue_is_declared_as_a_worker_would(monkeypatch):
    """A listed queue in its own form, another in the app's usual one; no entry is made."""
    channel = Channel()
    with declared(channel) as form:
        app, _ = world(monkeypatch, channel, listed=form)
        refuse_other_declaration(app, "listed")
    assert channel.asked == [{"own": True}]
    assert channel.is_closed
    app, _ = world(monkeypatch, channel, max_priority=10)
    refuse_other_declaration(app, "other")
    assert channel.asked[-1]["arguments"] == {"x-max-priority": 10}
    assert channel.asked[-1]["durable"] is True
    assert app.amqp.queues == {}


def test_queue_in_another_form_is_refused(monkeypatch):
    """The refusal says what to do, and brokers without forms refuse nothing."""
    app, _ = world(monkeypatch, Channel(Refused()))
    with pytest.raises(CommandRefused, match="list it in task_queues"):
        refuse_other_declaration(app, "q")
    app, _ = world(monkeypatch, Channel(Refused()), "redis")
    refuse_other_declaration(app, "q")
