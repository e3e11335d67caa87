"""The view of this process's worker."""

import os
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.concurrency.base import BasePool
from celery.concurrency.solo import TaskPool as SoloPool
from kombu import Queue

from z4j_otel.instrumentors.celery.worker import Whereabouts, WorkerView

APP = Celery("x", broker="redis://user:hunter2@host/0", set_as_current=False)
# Otherwise the first look at its tasks does it, perhaps while a test has replaced ``conf``.
APP.finalize()


class KillingPool(BasePool):
    """A pool that can stop its tasks."""

    def terminate_job(self, pid, signal=None):
        """Stop a task."""

    @property
    def info(self):
        """Tell what prefork tells, and more."""
        return {"max-concurrency": 2, "processes": [1, 2], "timeouts": (0, 0), "writes": object()}


def worker(*, pool=None, **more):
    """Make a controller with one running and one waiting task."""
    running, queued = SimpleNamespace(id="r", name="t", args=("hunter2",)), SimpleNamespace(id="q")
    waiting = SimpleNamespace(id="w", _apply_result=None)
    queued._apply_result = object()

    def no_rusage():
        raise NotImplementedError

    controller = SimpleNamespace(
        hostname="celery@here",
        app=APP,
        pool=pool or KillingPool(),
        consumer=SimpleNamespace(
            task_consumer=SimpleNamespace(queues=[Queue("work", routing_key="w")]),
            qos=SimpleNamespace(value=8),
        ),
        state=SimpleNamespace(
            requests={"r": running, "w": waiting, "q": queued}, active_requests=[running]
        ),
        info=lambda: {"pid": 7, "uptime": 3, "total": {"t": 4}, "clock": "9"},
        rusage=no_rusage,
    )
    vars(controller).update(more)
    return controller


def test_tasks_are_located():
    """Each place a task can be in is told apart."""
    view = WorkerView(worker())
    places = [view.locate(name) for name in ("r", "w", "q", "x")]
    assert places == [
        Whereabouts.RUNNING,
        Whereabouts.WAITING,
        Whereabouts.QUEUED_IN_POOL,
        Whereabouts.ABSENT,
    ]


def test_consumer_stands_for_its_controller():
    """The sender of worker_ready is a consumer, and will do."""
    assert WorkerView(SimpleNamespace(controller=worker())).name == "celery@here"


@pytest.mark.parametrize(("pool", "expected"), [(KillingPool(), True), (SoloPool(), False)])
def test_pools_that_can_terminate(pool, expected):
    """A pool that only inherited terminate_job cannot stop a task."""
    assert WorkerView(worker(pool=pool)).can_terminate is expected


def test_terminate_may_be_set_on_the_instance():
    """Prefork puts a plain function into the pool when it starts."""
    pool = BasePool()
    pool.terminate_job = print
    assert WorkerView(worker(pool=pool)).can_terminate


def test_pools_are_named_as_in_celery():
    """Messages use the names of the command line."""
    assert WorkerView(worker(pool=SoloPool())).pool_name == "solo"
    KillingThreads = type("TaskPool", (BasePool,), {"__module__": "celery.concurrency.thread"})  # noqa: N806 -- a class
    assert WorkerView(worker(pool=KillingThreads())).pool_name == "threads"


def test_queues_and_tasks_are_the_workers():
    """Queues come from the consumer, tasks from the app; without a consumer there are none."""
    assert WorkerView(worker()).queues() == ["work"]
    assert WorkerView(worker(consumer=None)).queues() == []
    assert WorkerView(worker()).knows_task("celery.backend_cleanup")
    assert not WorkerView(worker()).knows_task("t")


def test_details_hold_what_the_brain_reads():
    """Stats, active tasks by id and name, queues, and the allowed settings only."""
    details = WorkerView(worker()).details()
    stats = details["stats"]
    assert stats["pool"] == {"max-concurrency": 2, "processes": [1, 2], "timeouts": [0, 0]}
    assert (stats["pid"], stats["total"], stats["prefetch_count"]) == (7, {"t": 4}, 8)
    assert len(stats["loadavg"]) == len(os.getloadavg())
    assert details["active"] == [{"id": "r", "name": "t"}]
    (queue,) = details["active_queues"]
    assert queue == {"name": "work", "routing_key": "w", "durable": True, "exclusive": False}
    assert details["conf"]["accept_content"] == ["json"]
    assert "broker_url" not in details["conf"]


def test_details_hold_no_secret():
    """Neither arguments nor the broker's address or user are in the details."""
    text = repr(WorkerView(worker()).details())
    assert "hunter2" not in text
    assert "redis" not in text


def test_details_without_extras():
    """A platform's resource usage is told where there is some; prefetch may be missing."""
    controller = worker(rusage=lambda: {"utime": 1.0})
    controller.consumer.qos = None
    stats = WorkerView(controller).details()["stats"]
    assert stats["rusage"] == {"utime": 1.0}
    assert "prefetch_count" not in stats


def test_settings_become_json(monkeypatch):
    """Sets are sorted, and objects become texts."""
    conf = {"accept_content": {"json", "yaml"}, "timezone": object}
    monkeypatch.setattr(APP, "conf", conf, raising=False)
    shown = WorkerView(worker()).details()["conf"]
    assert shown["accept_content"] == ["json", "yaml"]
    assert shown["timezone"] == str(object)


def test_platform_without_load(monkeypatch):
    """Where the system has no load average, there is none."""
    monkeypatch.delattr(os, "getloadavg")
    assert "loadavg" not in WorkerView(worker()).details()["stats"]
