"""Which queues hold dead letters, as the app declares them."""

from __future__ import annotations

import pytest
from kombu import Exchange, Queue, binding

from z4j_otel.instrumentors.celery.dead_queues import dead_letter_queues

from .rabbit import Rabbit, app_on


def source(exchange="dlx", key="k", name="work", **more):
    """Return a queue whose dead letters go to an exchange."""
    arguments = {"x-dead-letter-exchange": exchange, **more}
    if key is not None:
        arguments["x-dead-letter-routing-key"] = key
    return Queue(name, Exchange("tasks"), routing_key="task", queue_arguments=arguments)


def dead(kind="direct", key="k", name="dead", **options):
    """Return a queue that is bound to the exchange of dead letters."""
    return Queue(name, Exchange("dlx", type=kind), routing_key=key, **options)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        ([source(), dead()], {"dead": ["work"]}),
        ([source(), dead(key="other")], {}),
        ([source(key=None), dead(key="task")], {"dead": ["work"]}),
        ([source(key=None), dead(key="work")], {"dead": ["work"]}),
        ([source(), dead("fanout", "")], {"dead": ["work"]}),
        ([source(), dead("headers", "k")], {}),
        ([source(key="a.b.c"), dead("topic", "a.#")], {"dead": ["work"]}),
        ([source(key="a.b.c"), dead("topic", "*.b.*")], {"dead": ["work"]}),
        ([source(key="a.b.c"), dead("topic", "a.b.c.#")], {"dead": ["work"]}),
        ([source(key="a.b.c"), dead("topic", "a.*")], {}),
        ([source(key="a"), dead("topic", "a.*")], {}),
        ([source("", "parked")], {"parked": ["work"]}),
        ([source("", None)], {"task": ["work"]}),
        ([source(), dead(), source(name="more")], {"dead": ["work", "more"]}),
        ([source(3), dead()], {}),
        ([Queue("work"), dead()], {}),
        ([source(), dead(queue_arguments={"x-queue-type": "quorum"})], {}),
        ([source("dlx", "k", "dead"), dead(name="dead")], {}),
    ],
)
def test_letters_are_where_the_declarations_lead(queues, expected):
    """Exchange, key and kind of exchange decide; a queue is never its own dead-letter queue."""
    assert dead_letter_queues(app_on(Rabbit(), *queues)) == expected


def test_further_bindings_count():
    """A queue may be bound to several exchanges, or to none."""
    bound = Queue("dead", bindings=[binding(Exchange("dlx"), "k"), binding(None)])
    assert dead_letter_queues(app_on(Rabbit(), source(), bound)) == {"dead": ["work"]}
