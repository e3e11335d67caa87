"""Commands of the brain and their results, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from z4j_otel.ids import CommandId

__all__ = ["Action", "Capability", "Command", "CommandResult", "CommandStatus", "Target"]


class Action(str, Enum):
    """The actions this agent knows (PROTOCOL §6.7)."""

    RETRY_TASK = "retry_task"
    CANCEL_TASK = "cancel_task"
    RECONCILE_TASK = "reconcile_task"
    SUBMIT_TASK = "submit_task"


class Capability(str, Enum):
    """Tokens an engine lists in ``hello`` (PROTOCOL §2.4)."""

    SUBMIT_TASK = "submit_task"
    RETRY_TASK = "retry_task"
    CANCEL_TASK = "cancel_task"
    RETRY_BY_REFERENCE = "retry_by_reference_v1"


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
    issued_by: str | None = None
    """The operator's user id, or None for the brain itself."""
    claim_token: str | None = None
    """Echoed verbatim in ack and result (PROTOCOL §4.6)."""


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
