"""The Celery adapter as the port sees it."""

import uuid
from types import SimpleNamespace

import pytest
from celery import Celery

from z4j_otel.commands import Command
from z4j_otel.errors import CommandUnsupported
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.celery.adapter import CeleryAdapter, CeleryEngineAdapter
from z4j_otel.instrumentors.celery.recent import RecentMessages


@pytest.fixture
def app():
    """An app whose broker is this process's memory."""
    app = Celery("x", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex
    yield app
    app.close()


def command(action, **parameters):
    """Make a command."""
    return Command(CommandId("c"), action, parameters=parameters)


def test_both_spellings_build_the_same(app):
    """The names of the existing agents' documentation all work."""
    assert CeleryAdapter is CeleryEngineAdapter
    assert isinstance(CeleryAdapter(app=app), EngineAdapter)
    assert CeleryEngineAdapter(celery_app=app).app is CeleryEngineAdapter(app).app is app
    assert CeleryAdapter(app=app, name="analytics").name == "analytics"


def test_store_may_be_shared(app):
    """An adapter brings its own store of messages, or takes one, even an empty one."""
    store = RecentMessages()
    assert CeleryAdapter(app=app, recent=store).recent is store
    assert len(CeleryAdapter(app=app).recent) == 0


def test_capabilities_promise_retry_by_reference(app):
    """The four tokens of Celery are listed."""
    tokens = ["submit_task", "retry_task", "cancel_task", "retry_by_reference_v1"]
    assert CeleryAdapter(app=app).capabilities() == tokens


def test_actions_are_carried_out(app):
    """A command reaches its action, and the answer names the instance."""
    adapter = CeleryAdapter(app=app, name="analytics")
    answer = adapter.execute(command("submit_task", name="t"))
    assert answer["engine"] == "analytics"
    assert adapter.queue_depths() == {app.conf.task_default_queue: 1}


def test_unknown_action_is_unsupported(app):
    """An action nobody has heard of fails as such, with its name cut."""
    with pytest.raises(CommandUnsupported, match=r"cannot do x{64}$"):
        CeleryAdapter(app=app).execute(command("x" * 100))


def test_details_are_those_of_the_bound_worker(app):
    """Outside a worker there are none; a worker that cannot be read costs nothing."""
    adapter = CeleryAdapter(app=app)
    assert adapter.worker_details() == {}
    adapter.bind_worker(SimpleNamespace(hostname="w@x"))
    assert adapter.worker_details() == {}
    adapter.bind_worker(None)
    assert adapter.worker_details() == {}


def test_depths_are_those_of_the_workers_queues(app):
    """Inside a worker its own queues are measured; what cannot be read is empty."""
    adapter = CeleryAdapter(app=app)
    consumer = SimpleNamespace(queues=[SimpleNamespace(name="mine")])
    adapter.bind_worker(SimpleNamespace(consumer=SimpleNamespace(task_consumer=consumer)))
    assert adapter.queue_depths() == {"mine": 0}
    consumer.queues = None
    assert adapter.queue_depths() == {}
