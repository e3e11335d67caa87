"""Which tasks the worker of this process can run."""

from __future__ import annotations

import json
import sys
import threading
from types import SimpleNamespace

import pytest
from celery import Celery

from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.registry import TaskInventory, describe_tasks
from z4j_otel.instrumentors.celery.worker import WorkerView

SOURCE = "@app.task\ndef pay(): return 1\n"


@pytest.fixture
def app(tmp_path, monkeypatch):
    """Return an app with one task, defined in the module ``shop_registry``."""
    path = tmp_path / "shop_registry.py"
    path.write_text(SOURCE)
    monkeypatch.setitem(sys.modules, "shop_registry", SimpleNamespace(__file__=str(path)))
    app = Celery("x", broker="memory://", set_as_current=False)

    @app.task(name="shop_registry.pay", rate_limit="5/m", shared=False)
    def pay():
        """Pay."""

    app.tasks["shop_registry.pay"].__module__ = "shop_registry"
    app.path = path
    return app


@pytest.fixture
def inventory(app):
    """Return the inventory of a worker of the app."""
    handle = CeleryHandle(app)
    handle.worker = WorkerView(SimpleNamespace(app=app, hostname="w@here"))
    inventory = TaskInventory(handle)
    yield inventory
    if inventory._watcher is not None:
        inventory._watcher.stop()


def test_tasks_are_described(app):
    """Own tasks come with module and options that are set, as JSON values."""
    app.tasks["shop_registry.pay"].time_limit = object()
    described = describe_tasks(app)
    assert list(described) == ["shop_registry.pay"]
    entry = described["shop_registry.pay"]
    assert (entry["module"], entry["rate_limit"]) == ("shop_registry", "5/m")
    assert entry["max_retries"] == 3
    assert "time_limit" not in entry
    json.dumps(described)


def test_outside_a_worker_nothing_is_known(app):
    """A publisher may have imported a part of the tasks only."""
    inventory = TaskInventory(CeleryHandle(app))
    assert inventory.tasks() is None
    assert inventory.watch(uses_events=False) == ""


def test_changed_file_is_told(app, inventory, caplog):
    """The log says what a restart would bring, and the registry does, too."""
    caplog.set_level("INFO")
    assert inventory.watch(uses_events=False) == "polling"
    assert inventory.watch(uses_events=False) == ""
    app.path.write_text(SOURCE.replace("return 1", "return 2") + SOURCE.replace("pay", "refund"))
    inventory._look()
    tasks = inventory.tasks()
    assert [tasks[f"shop_registry.{name}"]["is_loaded"] for name in ("pay", "refund")] == [
        False,
        False,
    ]
    app.path.write_text("")
    inventory._look()
    assert inventory.tasks() == {}
    first, second = [r.getMessage() for r in caplog.records if r.action == "task_files_changed"]
    assert "added shop_registry.refund, updated shop_registry.pay; restart" in first
    assert "removed shop_registry.pay shop_registry.refund" in second


def test_comment_is_no_news(app, inventory, caplog):
    """A file that says the same is not told."""
    caplog.set_level("INFO")
    inventory.watch(uses_events=False)
    app.path.write_text("# why\n" + SOURCE)
    inventory._look()
    assert caplog.records == []


def test_worker_without_files_is_not_watched(app, inventory):
    """Tasks of an interactive session have no file."""
    app.tasks["shop_registry.pay"].__module__ = "nowhere"
    before = threading.active_count()
    assert inventory.watch(uses_events=True) == ""
    assert threading.active_count() == before
