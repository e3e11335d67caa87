"""Commands the embedded brain has issued: their wire form, their status, their end.

Theory of operation::

    pending --delivered--> dispatched --result--> completed | failed
       |                       |
       +------deadline---------+--> timeout

The deadline counts from issue while pending and from delivery after that (PROTOCOL §6.1).
The first result wins; what comes after the end of a command changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from z4j_otel.commands import CommandResult
from z4j_otel.wire.frames import CommandPayload, CommandTarget

__all__ = ["FINAL", "REPEATABLE", "IssuedCommand", "OrderStatus", "build_payload"]

_MAX_ERROR_CHARS: Final = 1024

REPEATABLE: Final = frozenset(
    [
        "schedule.fire",
        "schedule.trigger_now",
        "schedule.trigger_now.via_scheduler",
        "cancel_task",
        "reconcile_task",
        "schedule.resync",
        "schedule.enable",
        "schedule.disable",
    ]
)
"""Actions the brain may deliver more than once."""

_WORKER_ACTIONS: Final = frozenset(
    ["restart_worker", "pool_grow", "pool_shrink", "add_consumer", "cancel_consumer"]
)


class OrderStatus(str, Enum):
    """Where a command stands."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"


FINAL: Final = frozenset({OrderStatus.COMPLETED, OrderStatus.FAILED, OrderStatus.TIMEOUT})


@dataclass(slots=True, eq=False)
class IssuedCommand:
    """One command; its attributes change as the agent answers."""

    id: str
    project_id: str
    agent_id: str
    payload: CommandPayload
    issued_at_ns: int
    waiter: Callable[[Callable[[], bool], float], bool] = field(repr=False)
    """The brain's ``wait_for``."""
    status: OrderStatus = OrderStatus.PENDING
    is_acked: bool = False
    result: Any = None
    error: str | None = None
    dispatched_at_ns: int | None = None
    completed_at_ns: int | None = None
    session_id: str | None = None
    """The session it was last delivered to."""
    deliveries: int = 0
    delivered_ns: int | None = None
    """When it was last delivered."""

    @property
    def action(self) -> str:
        """The action's name."""
        return self.payload.action

    @property
    def is_done(self) -> bool:
        """Whether the command has ended."""
        return self.status in FINAL

    @property
    def deadline_ns(self) -> int:
        """When the brain stops waiting."""
        since_ns = self.dispatched_at_ns or self.issued_at_ns
        return since_ns + int(self.payload.timeout_seconds * 1_000_000_000)

    def wait(self, timeout_s: float = 10.0) -> IssuedCommand:
        """Block until the command has ended; call from outside the brain's loop.

        Raises:
            TimeoutError: It had not ended after ``timeout_s`` seconds.
        """
        if not self.waiter(lambda: self.is_done, timeout_s):
            raise TimeoutError(f"command {self.action} is {self.status.value} after {timeout_s} s")
        return self

    def deliver(self, session_id: str, now_ns: int) -> None:
        """Note that the command went out on a session."""
        self.session_id = session_id
        self.deliveries += 1
        self.delivered_ns = now_ns
        if self.status is OrderStatus.PENDING:
            self.status = OrderStatus.DISPATCHED
            self.dispatched_at_ns = now_ns

    def may_answer(self, session_id: str, claim_token: str | None) -> bool:
        """Whether an ack or result counts (PROTOCOL §4.6, §6.5, §6.8)."""
        token = self.payload.delivery_claim_token
        if token is None:
            return True
        if self.action.startswith("schedule.external."):
            return claim_token == token and session_id == self.session_id
        return claim_token == token or session_id == self.session_id

    def finish(self, result: CommandResult, now_ns: int) -> bool:
        """Take the outcome; False when the command had ended before."""
        if self.is_done:
            return False
        self.status = OrderStatus.COMPLETED if result.is_success else OrderStatus.FAILED
        self.result = result.result
        if not result.is_success:
            self.error = (result.error or "the agent reported a failure")[:_MAX_ERROR_CHARS]
        self.completed_at_ns = now_ns
        return True

    def expire(self, now_ns: int) -> bool:
        """End the command when its deadline has passed; True when it did so now."""
        if self.is_done or now_ns < self.deadline_ns:
            return False
        self.status = OrderStatus.TIMEOUT
        self.error = "no result within the deadline"
        self.completed_at_ns = now_ns
        return True


def build_payload(
    action: str,
    parameters: dict[str, Any],
    *,
    engine: str | None,
    task_id: str | None,
    timeout_s: float,
) -> CommandPayload:
    """Return the wire form of a command, as the real brain gives it (PROTOCOL §6.2-6.6)."""
    form = _FORMS.get(action, _generic)
    target, complete = form(engine, task_id, parameters)
    if action in _WORKER_ACTIONS:
        target = CommandTarget(type="worker", id=parameters.get("worker_name"), engine=engine)
        complete = {**parameters, "engine": engine}
    is_claimed = action.startswith(("schedule.external.", "schedule.fire"))
    timeout = int(timeout_s) if timeout_s == int(timeout_s) else timeout_s
    return CommandPayload(
        action=action,
        target=target,
        parameters=complete,
        timeout_seconds=timeout,
        delivery_claim_token=str(uuid.uuid4()) if is_claimed else None,
    )


_Form = tuple[CommandTarget, dict[str, Any]]


def _retry(engine: str | None, task_id: str | None, parameters: dict[str, Any]) -> _Form:
    complete = {
        "engine": engine,
        "task_id": task_id,
        "task_name": None,
        "args": None,
        "kwargs": None,
        "override_args": None,
        "override_kwargs": None,
        "original_had_args": True,
        "eta": None,
        "eta_seconds": None,
        "priority": "normal",
    }
    target = CommandTarget(type="task", id=f"{engine}:{task_id}", engine=engine)
    return target, {**complete, **parameters}


def _about_task(engine: str | None, task_id: str | None, parameters: dict[str, Any]) -> _Form:
    target = CommandTarget(type="task", id=f"{engine}:{task_id}", engine=engine)
    return target, {"engine": engine, "task_id": task_id, **parameters}


def _reconcile(engine: str | None, task_id: str | None, parameters: dict[str, Any]) -> _Form:
    target = CommandTarget(type="task", id=task_id, engine=engine)
    return target, {"task_id": task_id, "engine": engine, **parameters}


def _submit(engine: str | None, _task_id: str | None, parameters: dict[str, Any]) -> _Form:
    schedule_id = str(uuid.uuid4())
    complete = {
        "name": None,
        "args": [],
        "kwargs": {},
        "queue": None,
        "filter": {"engine": engine},
        "schedule_id": schedule_id,
        "schedule_name": "schedule",
        **parameters,
    }
    return CommandTarget(type="schedule", id=complete["schedule_id"], engine=engine), complete


def _bulk(engine: str | None, _task_id: str | None, parameters: dict[str, Any]) -> _Form:
    selection = {"engine": engine, **parameters.get("filter", {})}
    complete = {"max": 1000, **parameters, "filter": selection}
    return CommandTarget(type="bulk", engine=engine), complete


def _purge(_engine: str | None, _task_id: str | None, parameters: dict[str, Any]) -> _Form:
    complete = {"queue": None, "confirm_token": None, "force": False, **parameters}
    return CommandTarget(type="queue", id=complete["queue"]), complete


def _dead_letters(engine: str | None, _task_id: str | None, parameters: dict[str, Any]) -> _Form:
    complete = {"engine": engine, "queue": None, "limit": 100, "cursor": None, **parameters}
    return CommandTarget(type="queue", id=complete["queue"], engine=engine), complete


def _rate_limit(_engine: str | None, _task_id: str | None, parameters: dict[str, Any]) -> _Form:
    complete = {"worker_name": None, **parameters}
    return CommandTarget(type="task", id=complete.get("task_name")), complete


def _generic(engine: str | None, task_id: str | None, parameters: dict[str, Any]) -> _Form:
    known = {"engine": engine, "task_id": task_id}
    complete = {key: value for key, value in known.items() if value is not None} | parameters
    return CommandTarget(type="task" if task_id else "", id=task_id, engine=engine), complete


_FORMS: Final[dict[str, Callable[[str | None, str | None, dict[str, Any]], _Form]]] = {
    "retry_task": _retry,
    "cancel_task": _about_task,
    "requeue_dead_letter": _about_task,
    "reconcile_task": _reconcile,
    "submit_task": _submit,
    "bulk_retry": _bulk,
    "purge_queue": _purge,
    "dlq.list": _dead_letters,
    "rate_limit": _rate_limit,
}
