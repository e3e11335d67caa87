"""The workload's result backend, where the pool forks while a result is stored."""

from __future__ import annotations

import os
import threading

import pytest
from celery import Celery

from z4j_otel.cli.workload.results import Results

ASKED = threading.Event()
os.register_at_fork(before=ASKED.set)


@pytest.fixture
def app(tmp_path):
    """Return an application with such results."""
    url = f"z4j_otel.cli.workload.results:Results+sqlite:///{tmp_path / 'results.db'}"
    with Celery("results", backend=url, set_as_current=False) as app:
        yield app


def test_results_are_kept(app):
    """It is Celery's own backend."""
    assert isinstance(app.backend, Results)
    app.backend.mark_as_done("t1", {"sum": 3})
    assert app.AsyncResult("t1").result == {"sum": 3}


def test_a_fork_waits_for_a_transaction(app, monkeypatch):
    """The child has no part in it, and can write to the file."""
    order = []

    def fork():
        child = os.fork()
        if not child:
            os._exit(0)
        order.append("forked")
        os.waitpid(child, 0)

    forking = threading.Thread(target=fork)
    sessions = app.backend.ResultSession

    def amid_transaction(*args, **kwargs):
        if not forking.ident:
            ASKED.clear()
            forking.start()
            assert ASKED.wait(30)
            forking.join(0.3)  # time to fork, for one that does not wait
            order.append("amid")
        return sessions(*args, **kwargs)

    monkeypatch.setattr(app.backend, "ResultSession", amid_transaction)
    app.backend.mark_as_done("t1", 1)
    forking.join(30)
    assert order == ["amid", "forked"]
