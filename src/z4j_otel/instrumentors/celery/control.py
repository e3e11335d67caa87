"""Commands about an existing task: ``cancel_task`` and ``reconcile_task``.

A cancel first has the task flagged as revoked, so that it cannot start any more, and then
looks for the worker that may have started it already, to have it terminated. Both steps
wait for the worker's answer. When the worker of this process holds the task, only this
worker is asked, and the answer takes milliseconds; otherwise each step waits for all
workers, one reply time-out long.
"""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery import policies
from z4j_otel.instrumentors.celery.broker import broadcast
from z4j_otel.instrumentors.celery.handle import CeleryHandle, log_unreadable
from z4j_otel.instrumentors.celery.worker import Whereabouts
from z4j_otel.instrumentors.parameters import read_task_id

__all__ = ["TaskControl"]

_HELD_STATES: Final = {"active": "started", "reserved": "pending", "scheduled": "pending"}
_STORED_STATES: Final = {
    "SUCCESS": "success",
    "FAILURE": "failure",
    # The brain cannot take "revoked" here and would ask for ever.
    "REVOKED": "failure",
    # To Celery, pending is whatever nobody has heard of.
    "PENDING": "unknown",
    "REJECTED": "unknown",
    "RECEIVED": "pending",
    "RETRY": "pending",
}


class TaskControl:
    """Stops tasks and tells where they stand."""

    def __init__(self, handle: CeleryHandle) -> None:
        self._handle = handle

    def cancel(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Revoke a task, terminating it with SIGTERM where it runs.

        Returns:
            ``task_id`` and ``terminated``: whether it had left the queue already.

        Raises:
            CommandRefused: The task has finished, or its pool cannot stop it.
            AdapterError: No worker answered, or the one that answered could not do it.
        """
        task_id = read_task_id(parameters)
        place = self._handle.locate(task_id)
        if place is Whereabouts.ABSENT:
            stored = self._handle.stored(task_id)
            if stored.state == "REVOKED":
                return {"task_id": task_id, "terminated": False}
            if stored.is_finished:
                raise CommandRefused(f"the task has already finished ({stored.state})")
        self._refuse_unstoppable(place)
        self._revoke(task_id, worker=self._name_of(place))
        holder = self._find_holder(task_id)
        if holder is not None:
            self._revoke(task_id, worker=holder, terminate=True)
        return {"task_id": task_id, "terminated": holder is not None}

    def reconcile(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Tell what became of a task: this worker first, then the backend, then the others.

        Returns:
            ``task_id``, ``engine_state`` (``pending``, ``started``, ``success``,
            ``failure``, ``unknown``), ``finished_at`` (ISO time or None) and ``exception``
            (at most 500 characters, or None). A revoked task is a failure with
            ``TaskRevokedError``.

        Raises:
            CommandRefused: The task id is wrong.
        """
        task_id = read_task_id(parameters)
        place = self._handle.locate(task_id)
        if place is Whereabouts.RUNNING:
            return _answer(task_id, "started")
        if place is not Whereabouts.ABSENT:
            return _answer(task_id, "pending")
        stored = self._handle.stored(task_id)
        if not stored.is_finished:
            for held in self._ask_workers(task_id).values():
                if held in _HELD_STATES:
                    return _answer(task_id, _HELD_STATES[held])
        exception = policies.exception_of(stored)
        if stored.state == "REVOKED":
            exception = exception or "TaskRevokedError: revoked"
        # A state of the application's own is set from inside a running task.
        state = _STORED_STATES.get(stored.state, "started")
        return _answer(task_id, state, stored.finished_at, exception)

    def _name_of(self, place: Whereabouts) -> str | None:
        worker = self._handle.worker
        return None if worker is None or place is Whereabouts.ABSENT else worker.name

    def _find_holder(self, task_id: str) -> str | None:
        """Return the worker that runs a task (or has given it to its pool), or None."""
        place = self._handle.locate(task_id)
        if place is Whereabouts.WAITING:
            return None
        if place is not Whereabouts.ABSENT:
            self._refuse_unstoppable(place)
            return self._name_of(place)
        for worker, state in self._ask_workers(task_id).items():
            if state == "active":
                return worker
        return None

    def _revoke(self, task_id: str, *, worker: str | None, terminate: bool = False) -> None:
        answers = broadcast(
            self._handle.app,
            "revoke",
            {"task_id": task_id, "terminate": terminate, "signal": "SIGTERM"},
            timeout_s=self._handle.reply_timeout_s,
            worker=worker,
        )
        if any(isinstance(answer, dict) and "ok" in answer for answer in answers.values()):
            return
        if self._handle.stored(task_id).state == "REVOKED":
            return
        if answers:
            raise AdapterError(f"worker {next(iter(answers))} could not stop the task")
        raise AdapterError(
            "no worker answered the revoke: is one running, with worker_enable_remote_control?",
            indeterminate=True,
        )

    def _refuse_unstoppable(self, place: Whereabouts) -> None:
        worker = self._handle.worker
        if worker is None or place in (Whereabouts.ABSENT, Whereabouts.WAITING):
            return
        if not worker.can_terminate:
            text = f"the task is {place.value}, and a {worker.pool_name} pool cannot stop it"
            raise CommandRefused(text)

    def _ask_workers(self, task_id: str) -> dict[str, str]:
        """Return what each worker that holds a task calls its state."""
        try:
            answers = broadcast(
                self._handle.app,
                "query_task",
                {"ids": [task_id]},
                timeout_s=self._handle.reply_timeout_s,
            )
        except CommandError as error:
            log_unreadable("workers", error)
            return {}
        states: dict[str, str] = {}
        for worker, answer in answers.items():
            entry = answer.get(task_id) if isinstance(answer, dict) else None
            if isinstance(entry, list | tuple) and entry:
                states[worker] = str(entry[0])
        return states


def _answer(
    task_id: str, state: str, finished_at: str | None = None, exception: str | None = None
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "engine_state": state,
        "finished_at": finished_at,
        "exception": exception,
    }
