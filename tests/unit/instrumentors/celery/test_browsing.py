"""Looking into a queue of RabbitMQ without taking anything away."""

from __future__ import annotations

import pytest
from amqp.exceptions import AccessRefused
from kombu import Queue

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery import browsing
from z4j_otel.instrumentors.celery.browsing import Allowance, browse, headers_of
from z4j_otel.testing.clocks import ManualClock

from .rabbit import Lost, Rabbit, app_on, message


@pytest.fixture
def clock():
    """A clock that stands still."""
    return ManualClock()


def test_what_was_looked_at_is_given_back(clock):
    """In its old order, also when the one who looks fails."""
    rabbit = Rabbit(dead=[message("a"), message("b")])
    with browse(app_on(rabbit), rabbit, "dead", Allowance(clock)) as look:
        assert [headers_of(each)["id"] for each in look.messages()] == ["a", "b"]
        assert (look.depth, look.is_complete, rabbit.queues["dead"]) == (2, True, [])
    assert [headers_of(each)["id"] for each in rabbit.queues["dead"]] == ["a", "b"]
    rabbit.failing["get"] = Lost()
    with (
        pytest.raises(Lost),
        browse(app_on(rabbit), rabbit, "dead", Allowance(clock)) as look,
    ):
        list(look.messages())
    assert len(rabbit.queues["dead"]) == 2


def test_removed_message_has_gone(clock):
    """Only what was acked is not given back."""
    rabbit = Rabbit(dead=[message("a"), message("b")])
    with browse(app_on(rabbit), rabbit, "dead", Allowance(clock)) as look:
        look.remove(next(look.messages()))
    assert [headers_of(each)["id"] for each in rabbit.queues["dead"]] == ["b"]


@pytest.mark.parametrize(("bound", "value"), [("_MAX_MESSAGES", 1), ("_MAX_BYTES", 1)])
def test_look_is_bounded(clock, monkeypatch, bound, value):
    """Messages and bytes are counted over all queues of a command."""
    monkeypatch.setattr(browsing, bound, value)
    rabbit = Rabbit(dead=[message("a"), message("b")])
    allowance = Allowance(clock)
    with browse(app_on(rabbit), rabbit, "dead", allowance) as look:
        assert len(list(look.messages())) == 1
        assert not look.is_complete
    with browse(app_on(rabbit), rabbit, "dead", allowance) as look:
        assert list(look.messages()) == []


def test_look_ends_in_time(clock):
    """The brain does not wait for more."""
    rabbit = Rabbit(dead=[message("a"), message("b")])
    with browse(app_on(rabbit), rabbit, "dead", Allowance(clock)) as look:
        for _ in look.messages():
            clock.advance(9)
        assert not look.is_complete
    assert rabbit.steps.count("get") == 1


def test_missing_queue_is_empty(clock):
    """Nothing is asked of it, and nothing is made."""
    rabbit = Rabbit()
    with browse(app_on(rabbit), rabbit, "dead", Allowance(clock)) as look:
        assert list(look.messages()) == []
        assert look.is_complete
    assert rabbit.steps == ["declare"]


def test_only_classic_queues_are_looked_into(clock):
    """One that is declared as another is not even opened, one that turns out to be is left."""
    rabbit = Rabbit(dead=[message()])
    quorum = Queue("dead", queue_arguments={"x-queue-type": "quorum"})
    for kind, app in ((None, app_on(rabbit, quorum)), ("quorum", app_on(rabbit))):
        rabbit.kinds = {"dead": kind}
        with (
            pytest.raises(CommandRefused, match="is not looked into"),
            browse(app, rabbit, "dead", Allowance(clock)),
        ):
            pass
    assert rabbit.steps == ["declare", "declare"]


def test_broker_with_quorum_queues_by_default_is_asked_for_the_type(clock):
    """There the app's own declaration, which says no type, would be taken."""
    rabbit = Rabbit(dead=[message()])
    rabbit.default = "quorum"
    with (
        pytest.raises(CommandRefused, match="is not looked into"),
        browse(app_on(rabbit), rabbit, "dead", Allowance(clock)),
    ):
        pass
    assert "get" not in rabbit.steps


def test_other_refusals_are_the_brokers_own(clock):
    """What is forbidden is not the same as missing."""
    rabbit = Rabbit(dead=[])
    rabbit.failing["declare"] = AccessRefused()
    with (
        pytest.raises(AccessRefused),
        browse(app_on(rabbit), rabbit, "dead", Allowance(clock)),
    ):
        pass


def test_message_without_headers():
    """It has none."""
    assert headers_of(message().__class__(b"")) == {}
