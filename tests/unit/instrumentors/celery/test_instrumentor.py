"""Connecting, ordering and disconnecting the hooks."""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.app.task import Task
from celery.worker.request import Request

from z4j_otel.instrumentors.celery.instrumentor import CeleryCapture, Z4JCeleryInstrumentor
from z4j_otel.instrumentors.tracing import TaskTracer


def receivers(signal: Any) -> list[Any]:
    """Return a signal's receivers in the order they are called."""
    return [receiver for _key, receiver in signal.receivers]


def test_disconnecting_leaves_celery_as_it_was(recorder: Any) -> None:
    """No receiver and no wrapper of ours stays behind."""
    before = (Task.retry, Request.on_failure, Request.reject, list(signals.task_prerun.receivers))
    capture = CeleryCapture(TaskTracer("celery", sink=recorder.sink))
    capture.connect()
    assert Task.retry is not before[0]
    capture.disconnect()
    after = (Task.retry, Request.on_failure, Request.reject, list(signals.task_prerun.receivers))
    assert after == before


def test_ours_comes_last_at_the_start_and_first_at_the_end(capture: Any) -> None:
    """A start needs the span that upstream opens, an end the one it has not closed."""

    def upstream(**_kwargs: Any) -> None: ...

    signals.task_prerun.connect(upstream, weak=False)
    signals.task_postrun.connect(upstream, weak=False)
    try:
        capture.order_receivers()
        assert receivers(signals.task_prerun)[-1] == capture.runs.started
        assert receivers(signals.task_postrun)[0] == capture.runs.finished
    finally:
        signals.task_prerun.disconnect(upstream)
        signals.task_postrun.disconnect(upstream)


def test_the_list_of_receivers_stays_the_same_object(capture: Any) -> None:
    """Celery's tracer keeps a reference to it."""
    before = signals.task_prerun.receivers
    capture.order_receivers()
    assert signals.task_prerun.receivers is before


def test_nothing_is_hooked_where_z4j_is_not_configured(recorder: Any) -> None:
    """The package may be installed without being used."""
    recorder.is_enabled = lambda _engine: False
    instrumentor = Z4JCeleryInstrumentor()
    instrumentor.instrument()
    assert instrumentor.capture is None
    instrumentor.uninstrument()
