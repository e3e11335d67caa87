"""``restart_worker``: new pool processes where Celery allows it, else an exit on command.

Celery restarts a pool only with ``worker_pool_restarts``. Without it a worker that
somebody watches over can stop instead, finishing what it runs, and be started again. Only
the worker itself knows whether it is watched over, and the command may have come to any
process. So each worker with an agent answers one more control command, which looks at
its own process, answers, and has the worker stop with a status that asks for a new start.

Celery's own restart marks every pool process and wakes one. The others would run one more
task of their old lives before they notice. So a second control command of ours wakes them
too; a process that runs a task is replaced when the task has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.peers import Peers, WorkerDeclined
from z4j_otel.instrumentors.celery.workers import pool_kind
from z4j_otel.instrumentors.parameters import require_text
from z4j_otel.instrumentors.supervisors import (
    EXIT_STATUS,
    Supervisor,
    find_supervisor,
    read_facts,
)

__all__ = ["WorkerRestart", "allow_exit", "offer_exit"]

_COMMAND: Final = "z4j_restart_by_exit"
_WAKE: Final = "z4j_wake_pool"
_RESTARTABLE: Final = "prefork"


class WorkerRestart:
    """Restarts workers."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def restart(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Give a worker new pool processes, or have it exit where it will be started again.

        Returns:
            ``worker``; after an exit also ``restarted_via`` (``exit``), ``supervisor`` and
            ``exit_status``.

        Raises:
            CommandRefused: No such worker, or nothing here can restart it.
            AdapterError: It did not answer, or its pool has not been renewed.
        """
        worker = require_text(parameters, "worker_name")
        self._peers.require(worker)
        stats = self._peers.look(worker, "stats")
        if pool_kind(stats) != _RESTARTABLE:
            return self._exit(worker, f"a {pool_kind(stats) or 'nameless'} pool has no restart")
        if not self._is_allowed(worker):
            # Asked all the same, the worker would log it as an error of its own.
            return self._exit(worker, "worker_pool_restarts is off")
        before = _processes(stats)
        self._peers.order(worker, "pool_restart")
        self._wait_for_renewal(worker, before)
        return {"worker": worker}

    def _wait_for_renewal(self, worker: str, before: set[int]) -> None:
        # A worker without our agent does not know this: its processes take more time.
        with suppress(WorkerDeclined):
            self._peers.order(worker, _WAKE)

        def is_renewed() -> bool:
            now = _processes(self._peers.look(worker, "stats"))
            left = now & before
            return bool(now) and (not left or left <= self._busy(worker))

        if not self._peers.wait_for(is_renewed):
            raise AdapterError(
                f"idle processes of worker {worker} have not been replaced yet; each ends after"
                " its next task",
                indeterminate=True,
            )

    def _is_allowed(self, worker: str) -> bool:
        """Whether the addressed worker restarts its pool; it tells what is not default."""
        conf = self._peers.look(worker, "conf")
        return isinstance(conf, dict) and bool(conf.get("worker_pool_restarts"))

    def _busy(self, worker: str) -> set[object]:
        """Return the pool processes that run a task: they end when it does."""
        listed = self._peers.look(worker, "active")
        tasks = listed if isinstance(listed, list) else []
        return {task.get("worker_pid") for task in tasks if isinstance(task, dict)}

    def _exit(self, worker: str, why: str) -> dict[str, Any]:
        try:
            told = self._peers.order(worker, _COMMAND)
        except WorkerDeclined as error:
            # A worker without our agent has no such command, and says so by its name.
            reason = "it has no z4j agent" if _COMMAND in error.reason else error.reason
            raise CommandRefused(
                f"worker {worker} cannot be restarted from here: {why}, and it cannot exit to be"
                f" started again: {reason}. Set worker_pool_restarts = True in the Celery app"
                " (prefork), or run the worker under systemd, supervisord or in a container"
            ) from error
        name = told.get("supervisor") if isinstance(told, dict) else None
        return {
            "worker": worker,
            "restarted_via": "exit",
            "supervisor": name,
            "exit_status": EXIT_STATUS,
        }


def allow_exit(rule: str, facts: Callable[[], Any] = read_facts) -> Supervisor:
    """Decide whether this process may exit to be started again.

    Args:
        rule: ``auto``, ``always`` or ``never``; see ``LocalRules.restart_by_exit``.
        facts: Reads what the process shows of who runs it.
    """
    if rule == "always":
        return Supervisor("setting", "Z4J_RESTART_BY_EXIT is always")
    if rule == "never":
        return Supervisor(None, "Z4J_RESTART_BY_EXIT is never")
    return find_supervisor(facts())


def offer_exit(decide: Callable[[], Supervisor]) -> None:
    """Let the worker of this process answer our control commands; a later offer replaces them.

    Args:
        decide: Says, when the command comes, whether the worker may exit.
    """
    from celery.utils.functional import noop  # noqa: PLC0415 -- same
    from celery.worker import state as worker_state  # noqa: PLC0415 -- only inside a worker
    from celery.worker.control import Panel  # noqa: PLC0415 -- same

    def exit_to_restart(_state: Any, **_arguments: Any) -> dict[str, Any]:
        supervisor = decide()
        if supervisor.name is None:
            return {"error": supervisor.evidence}
        # The worker looks at this once a second and then stops as after SIGTERM.
        worker_state.should_stop = EXIT_STATUS
        return {"ok": {"supervisor": supervisor.name}}

    def wake_pool(state: Any, **_arguments: Any) -> dict[str, Any]:
        pool = state.consumer.pool
        for _ in range(pool.num_processes):
            pool._pool.apply_async(noop)  # noqa: SLF001 -- as Celery's own restart wakes one
        return {"ok": "woken"}

    Panel.register(exit_to_restart, name=_COMMAND, visible=False)
    Panel.register(wake_pool, name=_WAKE, visible=False)


def _processes(stats: Any) -> set[int]:
    pool = stats.get("pool") if isinstance(stats, dict) else None
    listed = pool.get("processes") if isinstance(pool, dict) else None
    return set(listed) if isinstance(listed, list) else set()
