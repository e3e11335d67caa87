"""The app that actions share."""

import logging
from types import SimpleNamespace

from celery import Celery, current_app

from z4j_otel.clock import SystemClock
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.worker import Whereabouts


def test_current_app_is_the_default():
    """Without an app the process's own is taken, the object and not its proxy."""
    handle = CeleryHandle()
    assert handle.app is current_app._get_current_object()
    assert type(handle.app) is not type(current_app)
    assert isinstance(handle.clock, SystemClock)


def test_given_app_stays():
    """A given app is used whatever the current one is."""
    app = Celery("x", set_as_current=False)
    assert CeleryHandle(app).app is app


def test_task_is_nowhere_without_a_worker():
    """Outside a worker no task is here; inside, the worker knows."""
    handle = CeleryHandle(object())
    assert handle.locate("t") is Whereabouts.ABSENT
    handle.worker = SimpleNamespace(locate=lambda _: Whereabouts.RUNNING)
    assert handle.locate("t") is Whereabouts.RUNNING


def test_unreadable_backend_is_as_good_as_empty(caplog):
    """Where the backend fails or is missing, nothing is known, and the failure is noted."""
    broken = SimpleNamespace(tasks={}, backend=None)
    del broken.backend
    with caplog.at_level(logging.DEBUG):
        assert CeleryHandle(broken).stored("t").state == "PENDING"
    assert "result backend cannot be read" in caplog.text
    assert CeleryHandle(Celery("x", set_as_current=False)).stored("t").state == "PENDING"
