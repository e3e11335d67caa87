"""The acting half of Celery: what can be done with its tasks, queues and workers.

Evidence, per action:

* ``submit_task``, ``schedule.fire``, ``retry_task``: the broker took the message; RabbitMQ
  confirmed that a queue has it. The new task's id follows from the command, so that what was
  published shows even where nobody lived to tell.
* ``cancel_task``: a worker answered that it flagged the task as revoked; a running task was
  also terminated by the worker that holds it. Celery has no sign of a task that waits in
  the broker, so cancelling an id that never existed succeeds: every worker that answered
  will refuse to run it.
* ``reconcile_task``: the worker's own state, then the result backend, then the other
  workers.
* commands to workers: the addressed worker's own answer, and what it says of itself
  afterwards (see :mod:`z4j_otel.instrumentors.celery.workers`).
* ``purge_queue``: how many messages the broker says it deleted.
* ``requeue_dead_letter``: the broker confirmed the message, and counts one letter less.

A retry never runs arguments the brain sent, other than an operator's overrides. It takes
them from the operator, from the recent messages of this worker, from the result backend, or
from a message that still waits or is a dead letter, in this order (see
:mod:`z4j_otel.instrumentors.celery.message_copy`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from z4j_otel.clock import Clock
from z4j_otel.commands import Action, Command, planned_task_id
from z4j_otel.errors import CommandUnsupported
from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.beat_runs import beats
from z4j_otel.instrumentors.celery.bulk import BulkRetry
from z4j_otel.instrumentors.celery.control import TaskControl
from z4j_otel.instrumentors.celery.dead_letters import DeadLetterControl
from z4j_otel.instrumentors.celery.depths import QueueMeter
from z4j_otel.instrumentors.celery.handle import CeleryHandle, log_unreadable
from z4j_otel.instrumentors.celery.offers import offered
from z4j_otel.instrumentors.celery.peers import Peers
from z4j_otel.instrumentors.celery.queues import QueueControl
from z4j_otel.instrumentors.celery.recent import RecentMessages
from z4j_otel.instrumentors.celery.registry import TaskInventory
from z4j_otel.instrumentors.celery.restarts import WorkerRestart, allow_exit, offer_exit
from z4j_otel.instrumentors.celery.retry_and_submit import TaskSender
from z4j_otel.instrumentors.celery.scheduler import beat_schedulers
from z4j_otel.instrumentors.celery.worker import WorkerView
from z4j_otel.instrumentors.celery.workers import WorkerControl
from z4j_otel.instrumentors.rules import LocalRules
from z4j_otel.instrumentors.schedules import Scheduler

__all__ = ["CeleryAdapter", "CeleryEngineAdapter"]


_ENGINE = "celery"


class CeleryEngineAdapter:
    """Carries out commands on one Celery app."""

    def __init__(
        self,
        celery_app: Any = None,
        *,
        app: Any = None,
        name: str = _ENGINE,
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
        peers = Peers(self._handle)
        workers = WorkerControl(self._handle, peers)
        self._rules = LocalRules()
        self._queues = QueueControl(self._handle)
        self._letters = DeadLetterControl(self._handle)
        self._sender = sender
        self._schedulers: list[Scheduler] | None = None
        self._meter = QueueMeter(lambda: self.app)
        self._inventory = TaskInventory(self._handle)
        self._publishers: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
            Action.SUBMIT_TASK.value: self._submit_task,
            Action.SCHEDULE_FIRE.value: self._fire,
            Action.RETRY_TASK.value: sender.retry,
        }
        self._actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            Action.CANCEL_TASK.value: control.cancel,
            Action.RECONCILE_TASK.value: control.reconcile,
            Action.PURGE_QUEUE.value: self._queues.purge,
            Action.LIST_DEAD_LETTERS.value: self._list_dead_letters,
            Action.REQUEUE_DEAD_LETTER.value: self._letters.requeue,
            Action.RATE_LIMIT.value: workers.rate_limit,
            Action.POOL_GROW.value: workers.pool_grow,
            Action.POOL_SHRINK.value: workers.pool_shrink,
            Action.ADD_CONSUMER.value: workers.add_consumer,
            Action.CANCEL_CONSUMER.value: workers.cancel_consumer,
            Action.RESTART_WORKER.value: WorkerRestart(peers).restart,
        }

    @property
    def role(self) -> str:
        """What this process is besides a worker, as ``hello`` says it; empty for nothing."""
        return "beat" if beats else ""

    engine = _ENGINE
    """What this is an instance of, whatever its own name."""

    @property
    def app(self) -> Any:
        """The Celery app that is acted on."""
        return self._handle.app

    def attach(self) -> None:
        """Have the app's tasks told under this adapter's name, and keep their messages."""
        app = self._handle.given_app
        self._handle.take_hint()
        if self.name != _ENGINE:
            instances.name_app(self.app, self.name)
        elif app is not None:
            instances.name_app(app, None)
        instances.listen(app, self.recent.remember)

    def bind_worker(self, worker: Any) -> None:
        """Tell the adapter which worker runs in this process; one of another app is not ours.

        Args:
            worker: A ``WorkController``, its ``Consumer``, or None for no worker.
        """
        app = getattr(worker, "app", None)
        if app is not None and not instances.are_one_app(app, self._handle.given_app or app):
            return
        self._handle.worker = None if worker is None else WorkerView(worker)
        if worker is not None:
            offer_exit(lambda: allow_exit(self._rules.restart_by_exit))

    def obey(self, rules: LocalRules) -> None:
        """Take the local rules for commands; without this the strictest hold."""
        self._rules = self._queues.rules = rules

    def capabilities(self) -> list[str]:
        """Return the capability tokens of Celery that this app and process have."""
        return offered(self._handle, self._rules)

    def execute(self, command: Command) -> dict[str, Any]:
        """Carry out one command.

        Raises:
            CommandUnsupported: Celery cannot do the action.
            CommandRefused: The parameters or the task's state do not allow it.
            AdapterError: Broker, result backend or worker failed or did not answer.
        """
        publish = self._publishers.get(command.action)
        if publish is not None:
            return publish(command.parameters, planned_task_id(command))
        if command.action == Action.BULK_RETRY.value:
            return BulkRetry(self._sender.for_many().retry, self._handle.clock).retry(command)
        action = self._actions.get(command.action)
        if action is None:
            raise CommandUnsupported(f"Celery cannot do {command.action[:64]}")
        return action(command.parameters)

    def queue_depths(self) -> dict[str, int]:
        """Return how many messages wait in the worker's queues, or in those of the app."""
        try:
            worker = self._handle.worker
            queues = worker.queues() if worker is not None else []
            return self._meter.measure(queues or list(self.app.amqp.queues.consume_from))
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

    def schedulers(self) -> list[Scheduler]:
        """Return the scheduler of the app; none where nothing is scheduled."""
        if self._schedulers is None:
            self._schedulers = beat_schedulers(self._handle, self._sender, self.name)
        return self._schedulers

    def task_registry(self) -> dict[str, dict[str, Any]] | None:
        """Return the tasks of this process's worker by name; None where they are not known."""
        try:
            return self._inventory.tasks()
        except Exception as error:  # noqa: BLE001 -- a heartbeat goes on without tasks
            log_unreadable("tasks", error)
            return None

    def watch_sources(self, *, uses_events: bool = True) -> str:
        """Follow the files that define the worker's tasks; for developers.

        Args:
            uses_events: Whether the system may be asked to tell of changes.

        Returns:
            How changes are noticed: ``watchdog``, ``polling``, or empty for not at all.
        """
        return self._inventory.watch(uses_events=uses_events)

    def _list_dead_letters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._letters.list_letters(parameters, self.name)

    def _submit_task(self, parameters: dict[str, Any], task_id: str) -> dict[str, Any]:
        return {"task_id": self._sender.submit(parameters, task_id), "engine": self.name}

    def _fire(self, parameters: dict[str, Any], task_id: str) -> dict[str, Any]:
        return {"task_id": self._sender.fire(parameters, task_id), "engine": self.name}


CeleryAdapter = CeleryEngineAdapter
"""The same class under the name that the existing agents' documentation uses."""
