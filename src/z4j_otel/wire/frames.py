"""The payloads of the frames this agent and the embedded brain exchange, as structs.

Bounds are those of the brain's schema (PROTOCOL §2.1, §4). Only ``hello``, ``hello_ack``
and ``telemetry_loss`` are validated on receipt; the brain checks nothing else once a
signature holds.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

__all__ = [
    "DEFAULT_MAX_FRAME_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_ID_CHARS",
    "PROTOCOL_VERSION",
    "AgentStatus",
    "CommandPayload",
    "CommandResultPayload",
    "CommandTarget",
    "ErrorPayload",
    "EventBatchAck",
    "FrameType",
    "Heartbeat",
    "Hello",
    "HelloAck",
    "RegistryDelta",
    "TelemetryLoss",
]

PROTOCOL_VERSION: Final = "2"
DEFAULT_MAX_FRAME_BYTES: Final = 1_048_576
MAX_ID_CHARS: Final = 64
MAX_BATCH_EVENTS: Final = 5000
"""The brain loses what a batch holds beyond this number (PROTOCOL §4.2)."""


class FrameType(str, Enum):
    """The types of frame (PROTOCOL §4.1)."""

    HELLO = "hello"
    HELLO_ACK = "hello_ack"
    EVENT_BATCH = "event_batch"
    EVENT_BATCH_ACK = "event_batch_ack"
    HEARTBEAT = "heartbeat"
    AGENT_STATUS = "agent_status"
    COMMAND = "command"
    COMMAND_ACK = "command_ack"
    COMMAND_RESULT = "command_result"
    REGISTRY_DELTA = "registry_delta"
    ERROR = "error"


_Told = Annotated[str, Meta(max_length=200)]
_ShortText = Annotated[str, Meta(max_length=40)]
_Names = Annotated[list[str], Meta(max_length=64)]
_Key = Annotated[str, Meta(min_length=1, max_length=64)]
_Counter = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Gauge = Annotated[int, Meta(ge=0, le=10_000_000)]
_Streak = Annotated[int, Meta(ge=0, le=1_000_000)]


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of itself; the first message, unsigned (PROTOCOL §2.1)."""

    protocol_version: _ShortText = PROTOCOL_VERSION
    agent_version: _ShortText
    framework: _ShortText
    """``bare``, ``django``, ``flask``, ``fastapi`` or any other word."""
    engines: _Names = []
    schedulers: _Names = []
    capabilities: dict[str, list[str]] = {}
    """Engine or scheduler name to capability tokens."""
    host: dict[str, Any] = {}
    """Only ``host["name"]`` is read by the brain."""
    worker_id: Annotated[str, Meta(max_length=128)] | None = None
    """Unique per process: two connections with one id evict each other."""
    worker_role: Annotated[str, Meta(max_length=32)] | None = None
    worker_pid: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    worker_started_at: str | None = None
    """ISO-8601."""
    runtime_features: _Names = []


class HelloAck(msgspec.Struct, frozen=True, kw_only=True):
    """The brain's answer to ``hello``, unsigned (PROTOCOL §2.2)."""

    protocol_version: _ShortText = PROTOCOL_VERSION
    brain_version: _Told = ""
    agent_id: _Told
    project_id: _Told
    session_id: _Told
    """Every signature covers the three ids, so what is hashed has to be bounded."""
    heartbeat_interval_seconds: Annotated[int, Meta(ge=1, le=3600)] = 10
    max_frame_size_bytes: Annotated[int, Meta(ge=1024, le=67_108_864)] = DEFAULT_MAX_FRAME_BYTES


class TelemetryLoss(msgspec.Struct, frozen=True, kw_only=True):
    """What was lost, as lifetime totals per buffer and runtime (PROTOCOL §4.4)."""

    buffer_id: _Key
    runtime_id: _Key
    capacity_evicted_frames: _Counter = 0
    content_rejected_frames: _Counter = 0
    event_records: _Counter = 0
    command_results: _Counter = 0
    other_frames: _Counter = 0
    unclassified_frames: _Counter = 0
    adapter_events: Annotated[dict[_Key, _Counter], Meta(max_length=32)] = {}


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life with the state of the buffer (PROTOCOL §4.3)."""

    buffer_size: _Gauge = 0
    last_flush_at: str | None = None
    """ISO-8601."""
    dropped_events: _Gauge = 0
    telemetry_loss: TelemetryLoss | None = None
    adapter_health: dict[str, str] = {}
    """``<engine>.queue_depths`` and ``<engine>.worker_details`` hold JSON as text."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Diagnostics sent beside heartbeats, at most 12 a minute (PROTOCOL §4.5)."""

    telemetry_loss: TelemetryLoss | None = None
    auth_failure_streak: _Streak = 0
    protocol_failure_streak: _Streak = 0
    connection_failure_streak: _Streak = 0
    last_successful_connect_at: str | None = None
    """ISO-8601."""
    current_session_age_seconds: int | None = None
    buffer_depth: int = 0
    buffer_oldest_age_seconds: int | None = None
    agent_version: str = ""
    protocol_version: str = PROTOCOL_VERSION
    engines: list[str] = []
    schedulers: list[str] = []


class EventBatchAck(msgspec.Struct, frozen=True, kw_only=True):
    """The batch ``acked_id`` is settled (PROTOCOL §4.2)."""

    acked_id: str
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    """``received - accepted``: also duplicates, so no error."""


class CommandTarget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command is about (PROTOCOL §4.6)."""

    type: str = ""
    id: str | None = None
    engine: str | None = None
    scheduler: str | None = None


class CommandPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the brain (PROTOCOL §4.6)."""

    action: Annotated[str, Meta(max_length=80)]
    target: CommandTarget = CommandTarget()
    parameters: dict[str, Any] = {}
    timeout_seconds: float = 60
    issued_by: str | None = None
    delivery_claim_token: str | None = None


class CommandResultPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a command (PROTOCOL §4.6)."""

    status: str
    """``success`` or ``failed``."""
    result: dict[str, Any] | None = None
    error: str | None = None
    """At most 1024 characters are kept by the brain."""
    delivery_claim_token: str | None = None


class RegistryDelta(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that appeared or went; logged by the brain, without effect (PROTOCOL §4.8)."""

    engine: _ShortText
    added: list[dict[str, Any]] = []
    removed: list[str] = []
    updated: list[dict[str, Any]] = []


class ErrorPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint of either side (PROTOCOL §4.7)."""

    code: str
    message: str = ""
    fatal: bool = False
