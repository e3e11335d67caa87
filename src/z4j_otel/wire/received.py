"""What a session makes of the peer's frames: one frozen value per kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from z4j_otel.commands import Command, CommandResult
from z4j_otel.wire.frames import Hello, HelloAck

__all__ = [
    "AgentStatusReceived",
    "BatchAcked",
    "BatchReceived",
    "CommandAcked",
    "CommandFinished",
    "CommandReceived",
    "ErrorReceived",
    "HeartbeatReceived",
    "HelloAccepted",
    "HelloReceived",
    "Ignored",
    "Received",
]


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """To the brain: an agent introduces itself."""

    hello: Hello
    frame_id: str


@dataclass(frozen=True, slots=True)
class HelloAccepted:
    """To the agent: the session is established."""

    ack: HelloAck
    sent_ns: int | None = None
    """The brain's clock when it answered, unsigned; None when the frame does not tell."""


@dataclass(frozen=True, slots=True)
class BatchReceived:
    """To the brain: events, unchecked; an element need not even be an object."""

    frame_id: str
    """The id to acknowledge, at most 64 characters; empty when the frame had none."""
    events: list[Any]


@dataclass(frozen=True, slots=True)
class BatchAcked:
    """To the agent: the batch ``acked_id`` is settled, whatever the counts say."""

    acked_id: str
    received: int
    accepted: int
    rejected: int
    """Includes duplicates: information, never a reason to resend (PROTOCOL §4.2)."""


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """To the brain: a sign of life."""

    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AgentStatusReceived:
    """To the brain: diagnostics."""

    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CommandReceived:
    """To the agent: acknowledge at once, then carry out."""

    command: Command
    sent_ns: int | None = None
    """The brain's clock when it sent the frame."""


@dataclass(frozen=True, slots=True)
class CommandAcked:
    """To the brain: the command has arrived."""

    command_id: str
    claim_token: str | None


@dataclass(frozen=True, slots=True)
class CommandFinished:
    """To the brain: the command's outcome."""

    command_id: str
    result: CommandResult
    claim_token: str | None


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """To either: the peer complains."""

    code: str
    message: str
    fatal: bool


@dataclass(frozen=True, slots=True)
class Ignored:
    """A valid frame without meaning here: another direction's, or a late handshake."""

    type: str


Received: TypeAlias = (
    HelloReceived
    | HelloAccepted
    | BatchReceived
    | BatchAcked
    | HeartbeatReceived
    | AgentStatusReceived
    | CommandReceived
    | CommandAcked
    | CommandFinished
    | ErrorReceived
    | Ignored
)
