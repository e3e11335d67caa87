"""The drill's hand on an application, with the broker that lives in one process."""

from __future__ import annotations

import pytest
from celery import Celery

from z4j_otel.cli.drill.client import Hand, describe

CALLS = [("z4j.drill.quick", []), ("z4j.drill.nap", [0.1])]


@pytest.fixture
def app():
    """Return an application that sends all its tasks to one queue, by a rule of its own."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_routes = {"*": {"exchange": "own", "routing_key": "own", "queue": "own"}}
    app.conf.task_always_eager = False
    return app


def waiting(app, queue):
    """Return how many messages wait in a queue."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        return channel._size(queue)


def test_an_application_is_described(app):
    """Enough to know what may be played on its broker."""
    assert describe(app) == {
        "broker": "memory://:**@localhost//",
        "transport": "memory",
        "has_loop": False,
        "makes_queues": True,
        "other_agent": None,
    }


def test_tasks_go_to_the_drills_queue_only(app):
    """Whatever the application's own rules say."""
    with app.connection_for_write() as connection:
        app.amqp.queues["own"](connection.default_channel).declare()
    hand = Hand(app, "z4j-drill-only", {})

    ids = hand.publish(CALLS)

    assert waiting(app, "own") == 0
    assert waiting(app, "z4j-drill-only") == len(CALLS)
    assert sorted(hand.held()) == sorted(ids)
    assert hand.held() == []


def test_the_queue_is_deleted_with_what_is_in_it(app):
    """Also when it is there no more."""
    hand = Hand(app, "z4j-drill-gone", {})
    hand.publish(CALLS)

    assert hand.delete()
    assert hand.delete()
    assert hand.held() == []


def test_options_of_the_transport_are_added_to_the_applications(app):
    """The application's own stay."""
    app.conf.broker_transport_options = {"priority_steps": [0], "visibility_timeout": 3600}

    Hand(app, "z4j-drill-options", {"visibility_timeout": 10})

    assert app.conf.broker_transport_options == {"priority_steps": [0], "visibility_timeout": 10}
