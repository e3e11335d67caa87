"""What the Celery worker of this process knows: its tasks, its queues, itself.

Read from the worker's own objects, from any thread of its main process. Nothing is asked
over the broker, and no argument, result or broker address is taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from z4j_otel.instrumentors.celery.policies import tells_of

__all__ = ["Whereabouts", "WorkerView"]

_MAX_LISTED: Final = 1000
_MAX_TOTALS: Final = 200

_CONF_NAMES: Final = (
    "task_serializer",
    "result_serializer",
    "accept_content",
    "task_default_queue",
    "worker_concurrency",
    "worker_prefetch_multiplier",
    "worker_max_tasks_per_child",
    "worker_max_memory_per_child",
    "task_acks_late",
    "task_reject_on_worker_lost",
    "task_time_limit",
    "task_soft_time_limit",
    "broker_pool_limit",
    "broker_heartbeat",
    "timezone",
    "enable_utc",
)
_QUEUE_NAMES: Final = ("name", "routing_key", "durable", "exclusive")
_POOL_NAMES: Final = (
    "implementation",
    "max-concurrency",
    "processes",
    "threads",
    "max-tasks-per-child",
    "timeouts",
)


class Whereabouts(Enum):
    """Where a task is, as far as one worker knows."""

    ABSENT = "absent"
    """Not in this worker's hands."""
    WAITING = "waiting"
    """Received, not yet given to the pool: a revoke stops it."""
    QUEUED_IN_POOL = "queued in pool"
    """Given to the pool, not yet started: a revoke comes too late."""
    RUNNING = "running"


class WorkerView:
    """A read-only look at the worker that runs in this process."""

    def __init__(self, worker: Any) -> None:
        """Look at a worker.

        Args:
            worker: A ``WorkController``, or its ``Consumer`` (the sender of
                ``worker_ready``).
        """
        self._controller = getattr(worker, "controller", worker)

    @property
    def name(self) -> str:
        """The worker's node name: ``celery@web-01``."""
        return str(self._controller.hostname)

    @property
    def app(self) -> Any:
        """The app it works for."""
        return self._controller.app

    @property
    def can_terminate(self) -> bool:
        """Whether its pool can stop a running task."""
        from celery.concurrency.base import BasePool  # noqa: PLC0415 -- only inside a worker

        # Prefork puts its own into the instance; a pool that cannot has what it inherited.
        terminate = self._controller.pool.terminate_job
        return getattr(terminate, "__func__", terminate) is not BasePool.terminate_job

    @property
    def pool_name(self) -> str:
        """The kind of pool in Celery's words: ``prefork``, ``threads``, ``solo``."""
        module = type(self._controller.pool).__module__.rpartition(".")[2]
        return "threads" if module == "thread" else module

    def locate(self, task_id: str) -> Whereabouts:
        """Tell where a task is in this worker."""
        state = self._controller.state
        request = state.requests.get(task_id)
        if request is None:
            return Whereabouts.ABSENT
        if request in state.active_requests:
            return Whereabouts.RUNNING
        # Celery keeps no public sign of a request that its pool holds but has not started.
        if getattr(request, "_apply_result", None) is not None:
            return Whereabouts.QUEUED_IN_POOL
        return Whereabouts.WAITING

    def queues(self) -> list[str]:
        """Return the names of the queues it consumes from."""
        return [queue.name for queue in self._consumed()]

    def _consumed(self) -> list[Any]:
        consumer = getattr(self._controller, "consumer", None)
        task_consumer = getattr(consumer, "task_consumer", None)
        return list(task_consumer.queues) if task_consumer else []

    def knows_task(self, task_name: str) -> bool:
        """Whether the worker can run tasks of this name."""
        return task_name in self._controller.app.tasks

    def details(self) -> dict[str, Any]:
        """Return what a heartbeat tells of a worker (PROTOCOL §4.3), JSON values only."""
        controller = self._controller
        return {
            "stats": self._stats(),
            "active": self._active(),
            "active_queues": [
                {key: _plain(getattr(queue, key, None)) for key in _QUEUE_NAMES}
                for queue in self._consumed()[:_MAX_LISTED]
            ],
            "registered": sorted(
                name for name in list(controller.app.tasks) if not name.startswith("celery.")
            )[:_MAX_LISTED],
            "conf": {name: _plain(controller.app.conf.get(name)) for name in _CONF_NAMES},
        }

    def _active(self) -> list[dict[str, str]]:
        state = self._controller.state
        # Walking the weak set while the consumer changes it would fail; a dict's values
        # are copied in one step.
        requests = [r for r in list(state.requests.values()) if tells_of(r)]
        running = [r for r in requests if r in state.active_requests]
        return [{"id": str(r.id), "name": str(r.name)} for r in running[:_MAX_LISTED]]

    def _stats(self) -> dict[str, Any]:
        controller = self._controller
        info = controller.info()
        stats: dict[str, Any] = {
            "pid": info.get("pid"),
            "uptime": info.get("uptime"),
            "total": dict(list(info.get("total", {}).items())[:_MAX_TOTALS]),
            "pool": {
                key: _plain(value)
                for key, value in controller.pool.info.items()
                if key in _POOL_NAMES
            },
        }
        processes = stats["pool"].get("processes")
        if isinstance(processes, list):
            # Celery goes on telling the number that the pool was started with.
            stats["pool"]["max-concurrency"] = len(processes)
        prefetch = getattr(getattr(controller.consumer, "qos", None), "value", None)
        if prefetch is not None:
            stats["prefetch_count"] = prefetch
        if hasattr(os, "getloadavg"):
            stats["loadavg"] = [round(value, 2) for value in os.getloadavg()]
        with suppress(NotImplementedError):
            stats["rusage"] = controller.rusage()
        return stats


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Iterable):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list | tuple) else sorted(items, key=str)
    return str(value)
