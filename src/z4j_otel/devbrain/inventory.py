"""The brain's queues and workers: what events touch and heartbeats fill.

Events make rows and move their times; pid, concurrency, load and depths come only from a
heartbeat's ``adapter_health`` (PROTOCOL §4.3, §5.7). A worker is ``online`` for ever: the
real brain has no code that says otherwise.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from z4j_otel.clock import iso_z, parse_iso_ns
from z4j_otel.devbrain.rows import QueueRow, WorkerRow

__all__ = ["Inventory"]

_MAX_HEALTH_KEYS: Final = 256
_MAX_DEPTHS: Final = 1024
_MAX_MERGE_DEPTH: Final = 8
_CONF_KEYS: Final = frozenset(
    [
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
    ]
)


@dataclass(slots=True)
class _Queue:
    last_seen_ns: int
    pending: int | None = None


@dataclass(slots=True)
class _Worker:
    last_heartbeat_ns: int
    hostname: str | None = None
    pid: int | None = None
    concurrency: int | None = None
    queues: list[str] = field(default_factory=list)
    load_average: list[float] | None = None
    active_tasks: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)


class Inventory:
    """The queues and workers of one project."""

    def __init__(self, project_id: str) -> None:
        self._project_id = project_id
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._workers: dict[tuple[str, str], _Worker] = {}
        self._kinds: Counter[tuple[str, str, str]] = Counter()
        self._reporters: dict[tuple[str, str], set[str]] = {}

    def touch(self, engine: str, data: dict[str, Any], at_ns: int) -> None:
        """Note the queue and worker an event speaks of, new or duplicate."""
        queue = data.get("queue")
        if isinstance(queue, str) and queue:
            self._touch_queue(engine, queue, at_ns)
        worker = data.get("worker")
        if isinstance(worker, str) and worker:
            self._touch_worker(engine, worker, at_ns)

    def count(self, engine: str, kind: str, data: dict[str, Any], agent_id: str) -> None:
        """Count a newly stored event for its worker, and link worker and agent."""
        worker = data.get("worker")
        if not isinstance(worker, str) or not worker:
            return
        self._kinds[engine, worker, kind] += 1
        if kind.startswith("worker."):
            self._reporters.setdefault((engine, worker), set()).add(agent_id)

    def apply_heartbeat(self, payload: dict[str, Any], now_ns: int) -> None:
        """Take in ``adapter_health``; what has a wrong type is passed over."""
        health = payload.get("adapter_health")
        if not isinstance(health, dict):
            return
        flushed_ns = _time(payload.get("last_flush_at")) or now_ns
        for key in list(health)[:_MAX_HEALTH_KEYS]:
            engine, _, topic = key.partition(".")
            content = _json_object(health[key])
            if topic == "queue_depths":
                self._set_depths(engine, content, now_ns)
            elif topic == "worker_details":
                for name, details in content.items():
                    if isinstance(details, dict):
                        self._set_details(engine, name, details, flushed_ns, now_ns)

    def reporters(self, name: str, engine: str | None = None) -> set[str]:
        """Return the agents that sent ``worker.*`` events of a worker."""
        return {
            agent_id
            for (row_engine, row_name), agents in self._reporters.items()
            if row_name == name and engine in {None, row_engine}
            for agent_id in agents
        }

    def queues(self) -> list[QueueRow]:
        """Return snapshots of all queues."""
        return [
            QueueRow(
                project_id=self._project_id,
                engine=engine,
                name=name,
                pending_count=queue.pending,
                last_seen_at=iso_z(queue.last_seen_ns),
            )
            for (engine, name), queue in self._queues.items()
        ]

    def workers(self) -> list[WorkerRow]:
        """Return snapshots of all workers."""
        return [self._snapshot(*key, worker) for key, worker in self._workers.items()]

    def _touch_queue(self, engine: str, name: str, at_ns: int) -> _Queue:
        queue = self._queues.get((engine, name))
        if queue is None:
            queue = self._queues[engine, name] = _Queue(at_ns)
        elif at_ns > queue.last_seen_ns:
            queue.last_seen_ns = at_ns
        return queue

    def _touch_worker(self, engine: str, name: str, at_ns: int) -> _Worker:
        worker = self._workers.get((engine, name))
        if worker is None:
            worker = self._workers[engine, name] = _Worker(at_ns)
        elif at_ns > worker.last_heartbeat_ns:
            worker.last_heartbeat_ns = at_ns
        return worker

    def _set_depths(self, engine: str, depths: dict[str, Any], now_ns: int) -> None:
        for name in list(depths)[:_MAX_DEPTHS]:
            depth = depths[name]
            if isinstance(depth, int) and not isinstance(depth, bool):
                self._touch_queue(engine, name, now_ns).pending = depth

    def _set_details(
        self, engine: str, name: str, details: dict[str, Any], flushed_ns: int, now_ns: int
    ) -> None:
        worker = self._touch_worker(engine, name, flushed_ns)
        worker.hostname = name
        known = {
            key: details[key]
            for key in ("active", "active_queues", "registered")
            if isinstance(details.get(key), list)
        }
        if isinstance(details.get("conf"), dict):
            known["conf"] = {k: v for k, v in details["conf"].items() if k in _CONF_KEYS}
        stats = _json_object(details.get("stats"))
        if stats:
            known["stats"] = stats
            _lift_stats(worker, stats)
        if "active" in known:
            worker.active_tasks = len(known["active"])
        if "active_queues" in known:
            worker.queues = _names(known["active_queues"])
            for queue in worker.queues:
                self._touch_queue(engine, queue, now_ns)
        _merge(worker.metadata, known, 0)

    def _snapshot(self, engine: str, name: str, worker: _Worker) -> WorkerRow:
        succeeded, failed, retried = (
            self._kinds[engine, name, kind]
            for kind in ("task.succeeded", "task.failed", "task.retried")
        )
        reporters = self.reporters(name, engine)
        return WorkerRow(
            project_id=self._project_id,
            engine=engine,
            name=name,
            state="online",
            hostname=worker.hostname,
            pid=worker.pid,
            concurrency=worker.concurrency,
            queues=list(worker.queues),
            last_heartbeat=iso_z(worker.last_heartbeat_ns),
            load_average=worker.load_average,
            active_tasks=worker.active_tasks,
            processed=succeeded + failed,
            succeeded=succeeded,
            failed=failed,
            retried=retried,
            agent_id=next(iter(reporters)) if len(reporters) == 1 else None,
            metadata=dict(worker.metadata),
        )


def _lift_stats(worker: _Worker, stats: dict[str, Any]) -> None:
    if isinstance(stats.get("pid"), int):
        worker.pid = stats["pid"]
    pool = stats.get("pool")
    if isinstance(pool, dict):
        processes = pool.get("processes")
        size = pool.get("max-concurrency", len(processes) if isinstance(processes, list) else None)
        worker.concurrency = size if isinstance(size, int) else worker.concurrency
    if isinstance(stats.get("loadavg"), list):
        worker.load_average = list(stats["loadavg"])


def _merge(into: dict[str, Any], news: dict[str, Any], depth: int) -> None:
    for key, value in news.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and depth < _MAX_MERGE_DEPTH:
            _merge(known, value, depth + 1)
        else:
            into[key] = value


def _names(queues: list[Any]) -> list[str]:
    names = (queue.get("name") for queue in queues if isinstance(queue, dict))
    return [name for name in names if isinstance(name, str) and name]


def _json_object(value: object) -> dict[str, Any]:
    """Read JSON text as an object; empty when it is none."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _time(value: object) -> int | None:
    try:
        return parse_iso_ns(value) if isinstance(value, str) else None
    except ValueError:
        return None
