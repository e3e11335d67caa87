"""The brain that tests of applications are given."""

from __future__ import annotations

import asyncio
import threading

import pytest
from celery import Celery

from z4j_otel import sinks
from z4j_otel.devbrain.admission import IssueRefused
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.instrumentors.celery import Z4JCeleryInstrumentor
from z4j_otel.testing.stub import StubBrain


@pytest.fixture
def app():
    """Return a Celery application that needs no broker."""
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="shop.pay", shared=False)
    def pay(amount, password=None):
        return amount

    @app.task(name="shop.flaky", bind=True, max_retries=2, shared=False)
    def flaky(task):
        if task.request.retries < 2:
            raise task.retry(countdown=0)

    yield app
    app.close()


def emit(kind=EventKind.TASK_STARTED, task_id="t", **details):
    """Let the process's sink have a record."""
    facts = TaskFacts("celery", task_id, "shop.pay")
    now_ns = 1_767_323_045_000_000_000
    sinks.current_sink().emit(LifecycleRecord(kind, facts, now_ns, details))


def test_sending_a_task_is_an_event(stub_brain, app):
    """The event is there when the application's call returns, without its secrets."""
    app.tasks["shop.pay"].delay(5, password="hunter2")
    event = stub_brain.events[0]
    assert (event.event_type, event.kind) == ("task_sent", "task.sent")
    assert event.data["task_name"] == "shop.pay"
    assert event.data["kwargs"] == {"password": "[REDACTED]"}


def test_eager_tasks_have_their_whole_life(stub_brain, app):
    """Received, started and succeeded are told without a worker."""
    app.conf.task_always_eager = True
    result = app.tasks["shop.pay"].delay(5)
    stub_brain.wait_for("task_succeeded")
    assert [event.kind for event in stub_brain.events] == [
        "task.received",
        "task.started",
        "task.succeeded",
    ]
    assert stub_brain.task(result.id).state == "success"


def test_eager_retries_within_a_second_are_all_told(stub_brain, app):
    """The agent's own arbiter keeps the brain from taking them for duplicates."""
    app.conf.task_always_eager = True
    result = app.tasks["shop.flaky"].delay()
    kinds = [event.kind for event in stub_brain.events]
    assert kinds.count("task.started") == 3
    assert kinds.count("task.retried") == 2
    assert stub_brain.task(result.id).retry_count == 2


def test_wait_for_accepts_kinds_and_predicates(stub_brain):
    """Both spellings of a kind, or any condition."""
    emit(task_id="a")
    emit(task_id="b")
    assert stub_brain.wait_for("task.started").task_id == "a"
    assert stub_brain.wait_for(lambda event: event.task_id == "b").task_id == "b"
    with pytest.raises(TimeoutError):
        stub_brain.wait_for("task.failed", 0)


def test_wait_for_sees_other_threads(stub_brain):
    """An event that comes later ends the wait."""
    thread = threading.Thread(target=emit)
    thread.start()
    assert stub_brain.wait_for("task.started", 5)
    thread.join()


def test_failures_are_made_up_for(stub_brain):
    """What was lost or cut off is sent again."""
    stub_brain.fail_next(2)
    stub_brain.fail_next(close=1012)
    emit()
    assert stub_brain.wait_for("task.started").task_id == "t"
    assert len(stub_brain.events) == 1


def test_a_brain_that_refuses_keeps_events_waiting(stub_brain):
    """The application notices nothing; nothing is stored."""
    stub_brain.fail_next(close=1011, count=50)
    emit()
    assert stub_brain.events == []


def test_commands_reach_their_handlers(stub_brain):
    """A handler's answer or error is the command's outcome."""
    stub_brain.on_command("cancel_task", lambda command: {"task_id": command.parameters["task_id"]})
    stub_brain.on_command("submit_task", lambda command: 1 / 0)
    done = stub_brain.issue("cancel_task", task_id="t")
    failed = stub_brain.issue("submit_task", name="shop.pay")
    assert (done.status.value, done.result, done.is_acked) == ("completed", {"task_id": "t"}, True)
    assert (failed.status.value, failed.error) == ("failed", "division by zero")
    assert stub_brain.commands == [done, failed]


def test_unhandled_commands_stay_open(stub_brain):
    """Without a handler a command is acknowledged and no more; some are refused."""
    assert stub_brain.issue("cancel_task", task_id="t").status.value == "dispatched"
    with pytest.raises(IssueRefused):
        stub_brain.issue("requeue_dead_letter", task_id="t")


def test_an_agent_of_one_s_own_may_connect(stub_brain):
    """The transport speaks to the same brain."""

    async def scenario():
        connection = await stub_brain.transport().connect()
        await connection.close()

    asyncio.run(scenario())
    assert stub_brain.brain.counts["connections"] >= 1


def test_the_process_is_left_as_it_was():
    """Hooks and sink are gone afterwards; what the application had hooked stays."""
    instrumentor = Z4JCeleryInstrumentor()
    with StubBrain() as brain:
        host = sinks.current_host()
        assert host.is_enabled()
        assert host.defers_upstream()
        host.worker_starting("celery")
        host.worker_ready("celery", None)
        host.child_started()
        host.worker_stopping()
        assert instrumentor.is_instrumented_by_opentelemetry
        with StubBrain():
            pass
        assert instrumentor.is_instrumented_by_opentelemetry
    assert not instrumentor.is_instrumented_by_opentelemetry
    assert sinks._opener is None
    assert brain.events == []
