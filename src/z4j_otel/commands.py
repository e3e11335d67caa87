"""Commands of the brain and their results, as values."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from z4j_otel.ids import CommandId

__all__ = [
    "BRAIN_ACTIONS",
    "Action",
    "Capability",
    "Command",
    "CommandResult",
    "CommandStatus",
    "Target",
    "capability_of",
    "command_key",
    "planned_task_id",
]

BRAIN_ACTIONS: Final = frozenset(
    {
        *("retry_task", "cancel_task", "bulk_retry", "reconcile_task", "submit_task"),
        *("requeue_dead_letter", "dlq.list", "purge_queue", "rate_limit"),
        *("restart_worker", "pool_grow", "pool_shrink", "add_consumer", "cancel_consumer"),
        *("schedule.fire", "schedule.trigger_now", "schedule.enable", "schedule.disable"),
        *("schedule.resync", "schedule.delete", "schedule.external.activate"),
        *("schedule.external.control", "schedule.external.mutate"),
    }
)
"""Every action that a brain may send (PROTOCOL §6.7), whether or not an engine here can do
it: the names that a policy may use."""

_OTHER_TOKENS: Final = {"dlq.list": "list_dead_letters", "schedule.fire": "submit_task"}
_TASK_IDS: Final = uuid.UUID("5f0f9b53-6f0c-4c3b-9b0c-4f2a5d8f2f10")


class Action(str, Enum):
    """The actions this agent knows (PROTOCOL §6.7)."""

    RETRY_TASK = "retry_task"
    CANCEL_TASK = "cancel_task"
    RECONCILE_TASK = "reconcile_task"
    SUBMIT_TASK = "submit_task"
    SCHEDULE_FIRE = "schedule.fire"
    BULK_RETRY = "bulk_retry"
    PURGE_QUEUE = "purge_queue"
    RATE_LIMIT = "rate_limit"
    POOL_GROW = "pool_grow"
    POOL_SHRINK = "pool_shrink"
    ADD_CONSUMER = "add_consumer"
    CANCEL_CONSUMER = "cancel_consumer"
    RESTART_WORKER = "restart_worker"
    LIST_DEAD_LETTERS = "dlq.list"
    REQUEUE_DEAD_LETTER = "requeue_dead_letter"
    SCHEDULE_ACTIVATE = "schedule.external.activate"
    SCHEDULE_CONTROL = "schedule.external.control"
    SCHEDULE_MUTATE = "schedule.external.mutate"
    SCHEDULE_RESYNC = "schedule.resync"
    SCHEDULE_TRIGGER = "schedule.trigger_now"
    SCHEDULE_ENABLE = "schedule.enable"
    SCHEDULE_DISABLE = "schedule.disable"


class Capability(str, Enum):
    """Tokens an engine or a scheduler lists in ``hello`` (PROTOCOL §2.4)."""

    SUBMIT_TASK = "submit_task"
    RETRY_TASK = "retry_task"
    CANCEL_TASK = "cancel_task"
    BULK_RETRY = "bulk_retry"
    PURGE_QUEUE = "purge_queue"
    RATE_LIMIT = "rate_limit"
    POOL_GROW = "pool_grow"
    POOL_SHRINK = "pool_shrink"
    ADD_CONSUMER = "add_consumer"
    CANCEL_CONSUMER = "cancel_consumer"
    RESTART_WORKER = "restart_worker"
    LIST_DEAD_LETTERS = "list_dead_letters"
    REQUEUE_DEAD_LETTER = "requeue_dead_letter"
    RETRY_BY_REFERENCE = "retry_by_reference_v1"
    LIST_SCHEDULES = "list"
    READ_SCHEDULE = "read"
    CREATE_SCHEDULE = "create"
    UPDATE_SCHEDULE = "update"
    DELETE_SCHEDULE = "delete"
    ENABLE_SCHEDULE = "enable"
    DISABLE_SCHEDULE = "disable"
    TRIGGER_SCHEDULE = "trigger_now"
    SCHEDULE_SNAPSHOT = "external_schedule_stable_snapshot_v1"
    SCHEDULE_MUTATION = "external_schedule_mutation_v1"


class CommandStatus(str, Enum):
    """The two outcomes the wire has (PROTOCOL §4.6)."""

    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Target:
    """What a command is about."""

    type: str = ""
    id: str | None = None
    engine: str | None = None
    scheduler: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One request of the brain."""

    id: CommandId
    action: str
    """As received: it may be an action that this agent does not know."""
    target: Target = field(default_factory=Target)
    parameters: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    """How long the brain waits, counted from when it sent the command."""
    issued_by: str | None = None
    """The operator's user id, or None for the brain itself."""
    claim_token: str | None = None
    """Echoed verbatim in ack and result (PROTOCOL §4.6)."""
    age_s: float = 0.0
    """How much of that was over when the command was handed on, by the brain's clock."""
    traces: tuple[str, ...] = ()
    """Spans of the runs that the command is about, where the agent has seen them, as W3C
    ``traceparent`` texts; at most 32."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The outcome of a command."""

    status: CommandStatus
    result: dict[str, Any] | None = None
    error: str | None = None
    """For the operator, at most 1024 characters; None on success."""

    @property
    def is_success(self) -> bool:
        """Whether the command did what it says."""
        return self.status is CommandStatus.SUCCESS


def capability_of(action: str) -> str:
    """Return the token that an engine lists which can do an action (PROTOCOL §2.4)."""
    return _OTHER_TOKENS.get(action, action)


def command_key(command: Command) -> str:
    """Return what makes two deliveries the same work (PROTOCOL §6.1)."""
    fire_id = command.parameters.get("fire_id")
    if isinstance(fire_id, str) and fire_id:
        return f"fire:{fire_id}"
    operation_id = command.parameters.get("operation_id")
    if isinstance(operation_id, str) and operation_id:
        return f"op:{operation_id}:{_wish_of(command)}"
    return f"cmd:{command.id}"


def _wish_of(command: Command) -> str:
    """Return what an operation on a schedule asks for, whatever session it came over."""
    names = ("operation", "schedule_id", "definition", "expected", "desired_projection")
    wish = [command.action, *(command.parameters.get(name) for name in names)]
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:16]


def planned_task_id(command: Command, *parts: str) -> str:
    """Return the id of the task that a command publishes: always the same one.

    So an agent that was killed before it could answer leaves a trace by which the next one
    knows that the task was published.

    Args:
        command: The request.
        parts: What tells its tasks apart, where it publishes several.
    """
    return str(uuid.uuid5(_TASK_IDS, "/".join((command_key(command), *parts))))
