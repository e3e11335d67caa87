"""Apps that go by a name of their own."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_app

from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.adapter import CeleryAdapter


@pytest.fixture
def analytics(app: Celery) -> Any:
    """Give an app that goes by a name, and the adapter that names it."""
    adapter = CeleryAdapter(app=app, name="analytics")
    adapter.attach()
    yield app
    instances.name_app(app, None)
    instances.listen(app, None)


def test_events_of_a_named_app_carry_its_name(
    analytics: Celery, recorder: Any, request_of: Any, capture: Any
) -> None:
    """A run, a publish, an arrival and an unknown task are all told of the instance."""

    @analytics.task(name="unit.add")
    def add() -> int:
        return 1

    add.delay()
    add.apply()
    request = request_of()
    request.app = analytics
    capture.main_process.received(request=request)
    message = SimpleNamespace(headers={}, delivery_info={})
    consumer = SimpleNamespace(app=analytics, hostname="w@h")
    capture.main_process.unknown(message=message, name="x", id="1", sender=consumer)
    assert {"sent", "started", "succeeded", "received", "failed"} <= set(recorder.kinds())
    assert {record.facts.engine for record in recorder.records} == {"analytics"}


def test_other_apps_of_the_process_keep_the_engines_name(analytics: Celery, recorder: Any) -> None:
    """A task of an app without a name, published while another has one, is Celery's."""
    other = Celery("other", broker="memory://", set_as_current=False)
    other.send_task("unit.other")
    analytics.send_task("unit.ours")
    found = {record.facts.task_name: record.facts.engine for record in recorder.records}
    assert found == {"unit.other": "celery", "unit.ours": "analytics"}


def test_naming_before_the_hooks_works_too(analytics: Celery, capture: Any, recorder: Any) -> None:
    """An application may build its adapters before anything is instrumented."""
    capture.disconnect()
    capture.connect()
    analytics.send_task("unit.ours")
    assert recorder.last("sent").facts.engine == "analytics"
    capture.disconnect()
    assert not hasattr(Celery.send_task, "__wrapped__")
    capture.connect()


def test_an_adapter_with_the_engines_name_takes_a_name_back(analytics: Celery) -> None:
    """The last adapter of an app decides."""
    CeleryAdapter(app=analytics).attach()
    assert instances.name_for(SimpleNamespace(app=analytics), "celery") == "celery"


def test_apps_are_not_kept_alive() -> None:
    """An app that its owner drops goes, with its name."""
    app = Celery("short", set_as_current=False)
    instances.name_app(app, "short")
    app.close()
    del app
    gc.collect()
    assert "short" not in instances._names.values()


def test_each_adapter_hears_of_its_own_app(app: Celery) -> None:
    """Messages are kept by the adapter that can send them again."""
    own, others = [], []
    instances.listen(app, own.append)
    instances.listen(None, others.append)
    request = SimpleNamespace(app=app)
    for each in (request, SimpleNamespace(app=Celery("x", set_as_current=False))):
        listener = instances.listener_of(each)
        assert listener is not None
        listener(each)
    instances.listen(app, None)
    instances.listen(None, None)
    assert (own, len(others)) == ([request], 1)
    assert instances.listener_of(request) is None


def test_a_worker_of_another_app_is_not_bound(app: Celery) -> None:
    """Commands for one app must not look at the worker of another."""
    adapter = CeleryAdapter(app=app, name="analytics")
    worker = SimpleNamespace(app=Celery("x", set_as_current=False), hostname="w@h")
    adapter.bind_worker(worker)
    assert adapter._handle.worker is None
    worker.app = app
    adapter.bind_worker(worker)
    assert adapter._handle.worker is not None


def asked_on_a_thread() -> Any:
    """Return what a thread without a current app takes for the process's app."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(instances.app_of_process()))
    thread.start()
    thread.join()
    return found[0]


def test_threads_find_the_only_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of ours acts on the application's app, not on one that Celery makes up."""
    from celery import _state  # noqa: PLC0415 -- private, and only here

    mine = Celery("mine", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state, "_get_active_apps", lambda: [mine])
    assert asked_on_a_thread() is mine


def test_a_default_app_of_the_applications_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an application made the default is what it works with."""
    from celery import _state  # noqa: PLC0415 -- private, and only here

    mine = Celery("mine", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", mine)
    assert asked_on_a_thread() is mine
    assert instances.are_one_app(current_app, current_app._get_current_object())


def test_the_publishing_app_is_one_that_somebody_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its publish names it, else the process has it; Celery's stand-in is none."""
    app = Celery("shop", set_as_current=False)
    token = instances.publishing_app.set(app)
    assert instances.app_of_publisher() is app
    instances.publishing_app.reset(token)
    monkeypatch.setattr(instances, "app_of_process", lambda: app)
    assert instances.app_of_publisher() is app
    monkeypatch.setattr(
        instances, "app_of_process", lambda: Celery("default", set_as_current=False)
    )
    assert instances.app_of_publisher() is None
