"""The acting half of Celery: submit, retry, cancel, reconcile, depths and worker details.

Evidence, per action:

* ``submit_task``, ``retry_task``: the broker took the message.
* ``cancel_task``: a worker answered that it flagged the task as revoked; a running task was
  also terminated by the worker that holds it. Celery has no sign of a task that waits in
  the broker, so cancelling an id that never existed succeeds: every worker that answered
  will refuse to run it.
* ``reconcile_task``: the worker's own state, then the result backend, then the other
  workers.

A retry never runs arguments the brain sent, other than an operator's overrides. It takes
them from the operator, from the recent messages of this worker, or from the result backend,
in this order (see :mod:`z4j_otel.instrumentors.celery.resend`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from z4j_otel.clock import Clock
from z4j_otel.commands import Action, Capability, Command
from z4j_otel.errors import CommandUnsupported
from z4j_otel.instrumentors.celery.broker import measure_queues
from z4j_otel.instrumentors.celery.control import TaskControl
from z4j_otel.instrumentors.celery.handle import CeleryHandle, log_unreadable
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.sender import TaskSender
from z4j_otel.instrumentors.celery.worker import WorkerView

__all__ = ["CeleryAdapter", "CeleryEngineAdapter"]


class CeleryEngineAdapter:
    """Carries out commands on one Celery app."""

    def __init__(
        self,
        celery_app: Any = None,
        *,
        app: Any = None,
        name: str = "celery",
        recent: RecentMessages | None = None,
        clock: Clock | None = None,
        reply_timeout_s: float = 1.0,
    ) -> None:
        """Build an adapter; opens nothing.

        Args:
            celery_app: The Celery app; the current app of the process by default.
            app: The same, under its other name.
            name: Name of this instance, where a process has several apps.
            recent: Where the worker keeps its latest messages; a new store by default.
            clock: Where the time comes from.
            reply_timeout_s: How long to wait for the workers' answers to a broadcast.
        """
        self.name = name
        self.recent = RecentMessages() if recent is None else recent
        """The latest messages of this worker; the instrumentor fills it."""
        self._handle = CeleryHandle(
            celery_app if celery_app is not None else app,
            clock=clock,
            reply_timeout_s=reply_timeout_s,
        )
        sender = TaskSender(self._handle, self.recent)
        control = TaskControl(self._handle)
        self._submit = sender.submit
        self._actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            Action.SUBMIT_TASK.value: self._submit_task,
            Action.RETRY_TASK.value: sender.retry,
            Action.CANCEL_TASK.value: control.cancel,
            Action.RECONCILE_TASK.value: control.reconcile,
        }

    @property
    def app(self) -> Any:
        """The Celery app that is acted on."""
        return self._handle.app

    def bind_worker(self, worker: Any) -> None:
        """Tell the adapter which worker runs in this process.

        Args:
            worker: A ``WorkController``, its ``Consumer``, or None for no worker.
        """
        self._handle.worker = None if worker is None else WorkerView(worker)

    def capabilities(self) -> list[str]:
        """Return the capability tokens of Celery."""
        return [
            Capability.SUBMIT_TASK.value,
            Capability.RETRY_TASK.value,
            Capability.CANCEL_TASK.value,
            Capability.RETRY_BY_REFERENCE.value,
        ]

    def execute(self, command: Command) -> dict[str, Any]:
        """Carry out one command.

        Raises:
            CommandUnsupported: Celery cannot do the action.
            CommandRefused: The parameters or the task's state do not allow it.
            AdapterError: Broker, result backend or worker failed or did not answer.
        """
        action = self._actions.get(command.action)
        if action is None:
            raise CommandUnsupported(f"Celery cannot do {command.action[:64]}")
        return action(command.parameters)

    def queue_depths(self) -> dict[str, int]:
        """Return how many messages wait in the worker's queues, or in those of the app."""
        try:
            worker = self._handle.worker
            queues = worker.queues() if worker is not None else []
            return measure_queues(self.app, queues or list(self.app.amqp.queues.consume_from))
        except Exception as error:  # noqa: BLE001 -- a heartbeat goes on without depths
            log_unreadable("queues", error)
            return {}

    def worker_details(self) -> dict[str, dict[str, Any]]:
        """Return what is known of this process's worker; empty outside a worker."""
        worker = self._handle.worker
        if worker is None:
            return {}
        try:
            return {worker.name: worker.details()}
        except Exception as error:  # noqa: BLE001 -- a heartbeat goes on without details
            log_unreadable("worker", error)
            return {}

    def _submit_task(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"task_id": self._submit(parameters), "engine": self.name}


CeleryAdapter = CeleryEngineAdapter
"""The same class under the name that the existing agents' documentation uses."""
