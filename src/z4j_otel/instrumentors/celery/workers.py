"""Commands to workers: rate limits, pool size, queues to consume from.

Celery's workers answer ``ok`` as soon as they have taken an order, and to several orders
that changed nothing. So what counts is what the worker says of itself afterwards: the size
of its pool, the queues it consumes from.
"""

from __future__ import annotations

import re
from typing import Any, Final

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.peers import Peers, WorkerDeclined, accepted
from z4j_otel.instrumentors.celery.queue_access import refuse_other_declaration
from z4j_otel.instrumentors.parameters import read_text, require_text

__all__ = ["WorkerControl", "pool_kind"]

_RATE: Final = re.compile(r"[0-9]{1,9}(/[smh])?")
_MAX_DELTA: Final = 100
_FIXED_POOLS: Final = {"solo": "solo", "thread": "threads"}
_UNKNOWN_TASK: Final = "unknown task"


class WorkerControl:
    """Changes what running workers do."""

    def __init__(self, handle: CeleryHandle, peers: Peers) -> None:
        self._handle = handle
        self._peers = peers

    def rate_limit(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Limit how often tasks of a name start, on one worker or on all that have it.

        Returns:
            ``task_name``, ``rate`` and ``worker`` (None for all).

        Raises:
            CommandRefused: No such worker, or no worker has the task.
            AdapterError: No worker answered, or one could not do it.
        """
        name = require_text(parameters, "task_name")
        rate = require_text(parameters, "rate")
        if not _RATE.fullmatch(rate):
            raise CommandRefused("rate must be a number, alone or with /s, /m or /h; 0 is no limit")
        worker = read_text(parameters, "worker_name")
        order = {"task_name": name, "rate_limit": rate}
        if worker is None:
            self._limit_everywhere(name, order)
        else:
            self._peers.require(worker)
            try:
                self._peers.order(worker, "rate_limit", **order)
            except WorkerDeclined as error:
                if error.reason != _UNKNOWN_TASK:
                    raise
                raise CommandRefused(
                    f"worker {worker} has no task {name}; check the name"
                ) from None
        return {"task_name": name, "rate": rate, "worker": worker}

    def pool_grow(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Add processes to a worker's pool.

        Returns:
            ``worker`` and ``delta``.

        Raises:
            CommandRefused: No such worker, or its pool cannot change its size.
            AdapterError: The pool did not get bigger.
        """
        worker, delta = require_text(parameters, "worker_name"), _read_delta(parameters)
        before = self._pool_size(worker)
        self._peers.order(worker, "pool_grow", n=delta)
        self._wait_for_size(worker, before + delta)
        return {"worker": worker, "delta": delta}

    def pool_shrink(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Take processes from a worker's pool, idle ones, and never the last.

        Returns:
            ``worker`` and ``delta``.

        Raises:
            CommandRefused: No such worker, too few processes, or its pool cannot shrink.
            AdapterError: The pool did not get smaller by so much.
        """
        worker, delta = require_text(parameters, "worker_name"), _read_delta(parameters)
        before = self._pool_size(worker)
        if before - delta < 1:
            raise CommandRefused(
                f"the pool of worker {worker} has {before} processes and keeps at least one;"
                f" take {before - 1} or fewer"
            )
        try:
            self._peers.order(worker, "pool_shrink", n=delta)
        except WorkerDeclined as error:
            # It takes what idle processes it has before it declines.
            now = self._size_now(worker)
            if now == before:
                raise
            text = f"{error.message}; its pool went from {before} to {now} processes"
            raise AdapterError(text) from error
        self._wait_for_size(worker, before - delta)
        return {"worker": worker, "delta": delta}

    def add_consumer(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Have a worker consume from a queue, which is made where it does not exist.

        Returns:
            ``worker`` and ``queue``.

        Raises:
            CommandRefused: No such worker, or the queue exists in another form.
            AdapterError: The worker does not consume from it.
        """
        worker, queue = require_text(parameters, "worker_name"), require_text(parameters, "queue")
        self._peers.require(worker)
        if queue not in self._queues(worker):
            # The worker would lose its connection over it, again at each new attempt.
            refuse_other_declaration(self._handle.app, queue)
            self._peers.order(worker, "add_consumer", queue=queue)
            if not self._peers.wait_for(lambda: queue in self._queues(worker)):
                raise AdapterError(
                    f"worker {worker} does not consume from {queue} yet; look at its log",
                    indeterminate=True,
                )
        return {"worker": worker, "queue": queue}

    def cancel_consumer(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Have a worker consume from a queue no more; tasks it has taken still run.

        Returns:
            ``worker`` and ``queue``.

        Raises:
            CommandRefused: No such worker, or it does not consume from this queue.
            AdapterError: The worker still consumes from it.
        """
        worker, queue = require_text(parameters, "worker_name"), require_text(parameters, "queue")
        self._peers.require(worker)
        queues = self._queues(worker)
        if queue not in queues:
            shown = ", ".join(sorted(queues)) or "no queue"
            raise CommandRefused(f"worker {worker} does not consume from {queue}, but from {shown}")
        self._peers.order(worker, "cancel_consumer", queue=queue)
        if not self._peers.wait_for(lambda: queue not in self._queues(worker)):
            raise AdapterError(
                f"worker {worker} still consumes from {queue}; look at its log", indeterminate=True
            )
        return {"worker": worker, "queue": queue}

    def _limit_everywhere(self, name: str, order: dict[str, Any]) -> None:
        answers = self._peers.order_all("rate_limit", **order)
        if not answers:
            raise AdapterError(
                "no worker answered: is one running, with worker_enable_remote_control?",
                indeterminate=True,
            )
        declined: list[WorkerDeclined] = []
        for worker, answer in answers.items():
            try:
                accepted(worker, answer)
            except WorkerDeclined as error:
                declined.append(error)
        # Workers that do not have the task need no limit for it.
        if len(declined) == len(answers) and all(e.reason == _UNKNOWN_TASK for e in declined):
            raise CommandRefused(
                f"none of {len(answers)} workers has a task {name}; check the name"
            )
        for each in declined:
            if each.reason != _UNKNOWN_TASK:
                raise AdapterError(each.message, indeterminate=True) from each

    def _pool_size(self, worker: str) -> int:
        """Return how many processes a worker's pool has, and refuse one of a fixed size."""
        self._peers.require(worker)
        stats = self._peers.look(worker, "stats")
        kind = pool_kind(stats)
        if kind in _FIXED_POOLS:
            raise CommandRefused(
                f"a {_FIXED_POOLS[kind]} pool keeps its size; start worker {worker} with another"
                " --concurrency or --pool"
            )
        size = _size_in(stats)
        if size is None:
            raise AdapterError(f"worker {worker} does not tell the size of its pool")
        return size

    def _size_now(self, worker: str) -> int | None:
        return _size_in(self._peers.look(worker, "stats"))

    def _wait_for_size(self, worker: str, size: int) -> None:
        if not self._peers.wait_for(lambda: self._size_now(worker) == size):
            raise AdapterError(
                f"the pool of worker {worker} has {self._size_now(worker)} processes and not"
                f" {size} as asked; look at the worker before repeating it",
                indeterminate=True,
            )

    def _queues(self, worker: str) -> set[str]:
        listed = self._peers.look(worker, "active_queues")
        if not isinstance(listed, list):
            raise AdapterError(f"worker {worker} does not tell its queues")
        return {str(queue.get("name")) for queue in listed if isinstance(queue, dict)}


def pool_kind(stats: Any) -> str:
    """Return the kind of pool in a worker's ``stats``: ``prefork``, ``thread``; or empty."""
    pool = stats.get("pool") if isinstance(stats, dict) else None
    module = str(pool.get("implementation", "")) if isinstance(pool, dict) else ""
    return module.partition(":")[0].rpartition(".")[2]


def _size_in(stats: Any) -> int | None:
    pool = stats.get("pool") if isinstance(stats, dict) else None
    if not isinstance(pool, dict):
        return None
    # A prefork pool's limit stays what it was started with.
    processes = pool.get("processes")
    size = len(processes) if isinstance(processes, list) else pool.get("max-concurrency")
    return size if isinstance(size, int) else None


def _read_delta(parameters: dict[str, Any]) -> int:
    delta = parameters.get("delta")
    if isinstance(delta, bool) or not isinstance(delta, int) or not 1 <= delta <= _MAX_DELTA:
        raise CommandRefused(f"delta must be a whole number from 1 to {_MAX_DELTA}")
    return delta
