"""The Celery adapter as the port sees it."""

import hashlib
import uuid
from types import SimpleNamespace

import pytest
from celery import Celery

from z4j_otel.commands import Command
from z4j_otel.errors import CommandRefused, CommandUnsupported
from z4j_otel.ids import CommandId
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.celery.adapter import CeleryAdapter, CeleryEngineAdapter
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.rules import LocalRules


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
    """The promise is listed with what it is about."""
    tokens = CeleryAdapter(app=app).capabilities()
    assert {"retry_task", "bulk_retry", "retry_by_reference_v1"} < set(tokens)


def test_local_rules_reach_the_actions(app):
    """What the owner allows holds for purges, and for what is offered."""
    adapter = CeleryAdapter(app=app)
    adapter.execute(command("submit_task", name="t"))
    purge = command("purge_queue", queue=app.conf.task_default_queue, confirm_token="x" * 64)
    with pytest.raises(CommandRefused, match="not confirmed"):
        adapter.execute(purge)
    legacy = hashlib.sha256(f"purge|{app.conf.task_default_queue}|1".encode()).hexdigest()
    adapter.obey(LocalRules(accepts_legacy_purge_token=True, restart_by_exit="always"))
    purge.parameters["confirm_token"] = legacy
    assert adapter.execute(purge)["purged"] == 1
    assert "restart_worker" in adapter.capabilities()


def test_bulk_retry_reaches_the_sender(app):
    """A bulk retry of one unknown task ends with that task's refusal."""
    with pytest.raises(CommandRefused, match="result_extended"):
        CeleryAdapter(app=app).execute(command("bulk_retry", filter={"task_ids": ["x"]}))


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
