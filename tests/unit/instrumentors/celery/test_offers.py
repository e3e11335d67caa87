"""Which commands an adapter offers."""

import pytest
from celery import Celery
from kombu import Exchange, Queue

from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.offers import offered
from z4j_otel.instrumentors.rules import LocalRules

NEVER = LocalRules(restart_by_exit="never")
WORK = Queue("work", queue_arguments={"x-dead-letter-exchange": "dlx"})
DEAD = Queue("dead", Exchange("dlx"), routing_key="work")
REMOTE = {"rate_limit", "pool_grow", "pool_shrink", "add_consumer", "cancel_consumer"}


@pytest.fixture
def app():
    """An app whose broker can fan out."""
    app = Celery("x", broker="memory://", set_as_current=False)
    yield app
    app.close()


def test_orders_to_workers_are_offered_where_workers_take_them(app):
    """Remote control may be switched off, or impossible on the broker."""
    assert set(offered(CeleryHandle(app), NEVER)) > REMOTE
    app.conf.worker_enable_remote_control = False
    assert not REMOTE & set(offered(CeleryHandle(app), NEVER))
    queue_only = Celery("x", broker="sqs://", set_as_current=False)
    queue_only.connection_for_write = lambda: app.connection_for_write("filesystem://")
    assert "purge_queue" in offered(CeleryHandle(queue_only), NEVER)


def test_restart_is_offered_where_it_is_possible(app):
    """Either Celery restarts pools, or the worker may exit."""
    assert "restart_worker" not in offered(CeleryHandle(app), NEVER)
    assert "restart_worker" in offered(CeleryHandle(app), LocalRules(restart_by_exit="always"))
    app.conf.worker_pool_restarts = True
    assert "restart_worker" in offered(CeleryHandle(app), NEVER)


@pytest.mark.parametrize(
    ("broker", "queues", "is_offered"),
    [
        ("amqp://", [WORK, DEAD], True),
        ("amqp://", [WORK], False),
        ("memory://", [WORK, DEAD], False),
    ],
)
def test_dead_letters_are_offered_where_there_are_any(broker, queues, is_offered):
    """RabbitMQ keeps them, in a queue that the app declares."""
    app = Celery("x", broker=broker, set_as_current=False)
    app.conf.task_queues = queues
    tokens = {"list_dead_letters", "requeue_dead_letter"}
    assert tokens & set(offered(CeleryHandle(app), NEVER)) == (tokens if is_offered else set())
    app.close()


def test_broken_configuration_offers_the_rest():
    """What cannot be found out is not offered, and nothing is raised."""

    class Broken:
        conf = property(lambda self: 1 / 0)

    tokens = offered(CeleryHandle(Broken()), NEVER)
    assert "retry_task" in tokens
    assert not REMOTE & set(tokens)
