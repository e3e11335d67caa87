"""One conversation between an agent and a brain, without its socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from z4j_otel.errors import FrameMalformed, LocalWireError
from z4j_otel.ids import new_nonce
from z4j_otel.wire.frames import (
    DEFAULT_MAX_FRAME_BYTES,
    AgentStatus,
    CommandPayload,
    ErrorPayload,
    Heartbeat,
    Hello,
    HelloAck,
    RegistryDelta,
)
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchAcked,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    CommandReceived,
    ErrorReceived,
    HeartbeatReceived,
    HelloAccepted,
    HelloReceived,
    Ignored,
    Received,
)
from z4j_otel.wire.signing import SessionBinding

__all__ = [
    "AgentStatusReceived",
    "BatchAcked",
    "BatchReceived",
    "CommandAcked",
    "CommandFinished",
    "CommandReceived",
    "ErrorReceived",
    "FrameOversize",
    "FrameTooLarge",
    "HeartbeatReceived",
    "HelloAccepted",
    "HelloReceived",
    "Ignored",
    "Received",
    "Role",
    "Session",
    "State",
]


class Role(Enum):
    """The side of the conversation that a session speaks for."""

    AGENT = "agent"
    BRAIN = "brain"


class State(Enum):
    """Where a session stands."""

    NEW = "new"
    HELLO_SENT = "hello_sent"
    """The agent waits for ``hello_ack``; on the brain: ``hello`` came, the answer is due."""
    ESTABLISHED = "established"
    CLOSED = "closed"


class FrameTooLarge(LocalWireError):
    """The frame we were to send exceeds the peer's cap; it was not sent."""


class FrameOversize(FrameMalformed):
    """The peer's frame exceeds the cap (close code 4400, PROTOCOL §1.4)."""


class Session:
    """The conversation's state, sequence numbers, signatures and replay checks."""

    state: State
    binding: SessionBinding | None
    max_frame_bytes: int
    heartbeat_interval_s: float
    brain_version: str
    batch_overhead_bytes: int

    def __init__(self, role: Role, key: bytes, *, nonce: Callable[[], str] = new_nonce) -> None:
        self.state = State.NEW
        self.binding = None
        self.max_frame_bytes = DEFAULT_MAX_FRAME_BYTES
        self.heartbeat_interval_s = 10.0
        self.brain_version = ""
        self.batch_overhead_bytes = 512

    def send_hello(self, hello: Hello, *, frame_id: str) -> bytes:
        raise NotImplementedError

    def send_hello_ack(self, ack: HelloAck, *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_event_batch(self, events: Sequence[bytes], *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_event_batch_ack(
        self,
        acked_id: str,
        received: int,
        accepted: int,
        rejected: int,
        *,
        frame_id: str,
        now_ns: int,
    ) -> bytes:
        raise NotImplementedError

    def send_heartbeat(self, payload: Heartbeat, *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_agent_status(self, payload: AgentStatus, *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_command(self, command_id: str, payload: CommandPayload, *, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_command_ack(self, command_id: str, claim_token: str | None, *, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_command_result(self, command_id: str, payload: bytes, *, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_registry_delta(self, payload: RegistryDelta, *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def send_error(self, payload: ErrorPayload, *, frame_id: str, now_ns: int) -> bytes:
        raise NotImplementedError

    def receive(self, data: bytes | str, *, now_ns: int) -> Received:
        raise NotImplementedError
