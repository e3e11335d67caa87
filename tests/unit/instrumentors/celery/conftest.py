"""A Celery application whose steps are recorded instead of delivered."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from z4j_otel import sinks
from z4j_otel.events import LifecycleRecord
from z4j_otel.instrumentors.celery.instrumentor import CeleryCapture
from z4j_otel.instrumentors.tracing import TaskTracer


class Recorder:
    """A sink and a process host in one: it keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[LifecycleRecord] = []
        self.calls: list[str] = []

    def emit(self, record: LifecycleRecord) -> None:
        """Keep a record."""
        self.records.append(record)

    def sink(self, _settings: Any = None) -> Recorder:
        """Return itself."""
        return self

    def is_enabled(self, engine: str = "") -> bool:
        """Hook engines."""
        return True

    def defers_upstream(self) -> bool:
        """Leave upstream alone."""
        return True

    def __getattr__(self, name: str) -> Any:
        return lambda *_args: self.calls.append(name)

    def kinds(self) -> list[str]:
        """Return the kinds recorded, short."""
        return [record.kind.value.partition(".")[2] for record in self.records]

    def last(self, kind: str) -> LifecycleRecord:
        """Return the last record of a kind."""
        return next(r for r in reversed(self.records) if r.kind.value == f"task.{kind}")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Give a recorder that hosts the process."""
    recorder = Recorder()
    sinks.set_opener(lambda: recorder)
    yield recorder
    sinks.set_opener(None)


@pytest.fixture
def capture(recorder: Recorder) -> Iterator[CeleryCapture]:
    """Give connected hooks that report to the recorder."""
    capture = CeleryCapture(TaskTracer("celery", sink=recorder.sink))
    capture.connect()
    yield capture
    capture.disconnect()


class LonelyCelery(Celery):
    """An application whose tasks do not turn up in others, as Celery's usually do."""

    def task(self, *args: Any, **kwargs: Any) -> Any:
        """Register a task here only."""
        return super().task(*args, **{"shared": False, **kwargs})


@pytest.fixture
def app(capture: CeleryCapture) -> Celery:
    """Give an application with an in-memory broker."""
    app = LonelyCelery("unit", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_store_eager_result = False
    return app


@pytest.fixture
def request_of() -> Any:
    """Build what a worker's main process has of a message."""

    def build(task_id: str = "t1", name: str = "shop.add", **headers: Any) -> SimpleNamespace:
        return SimpleNamespace(
            id=task_id,
            name=name,
            hostname="w1@host",
            delivery_info={"routing_key": "orders", "priority": None, "redelivered": False},
            eta=None,
            expires=None,
            request_dict={"id": task_id, "task": name, "args": [1], "kwargs": {}, **headers},
        )

    return build
