"""The payload structs: their names on the wire, and their bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from z4j_otel.wire.frames import (
    AgentStatus,
    CommandPayload,
    CommandTarget,
    FrameType,
    Heartbeat,
    Hello,
    HelloAck,
    TelemetryLoss,
)

HELLO = {"agent_version": "1", "framework": "bare"}


@pytest.mark.parametrize(
    "change",
    [
        {"agent_version": 1},
        {"agent_version": "v" * 41},
        {"framework": None},
        {"engines": ["e"] * 65},
        {"engines": "celery"},
        {"schedulers": None},
        {"capabilities": {"celery": "retry_task"}},
        {"host": []},
        {"worker_id": "w" * 129},
        {"worker_role": "r" * 33},
        {"worker_pid": -1},
        {"worker_pid": 2**31},
        {"worker_pid": "5"},
        {"worker_pid": True},
        {"worker_pid": 1.0},
        {"worker_started_at": 1767323045},
        {"runtime_features": [1]},
    ],
    ids=repr,
)
def test_hello_has_bounds(change: dict[str, Any]) -> None:
    """Wrong types are not coerced and lengths are limited."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(HELLO | change, Hello)


def test_hello_at_its_bounds_is_valid() -> None:
    """The largest values are taken, and members we do not know are ignored."""
    largest = {
        "worker_id": "w" * 128,
        "worker_role": "r" * 32,
        "worker_pid": 2**31 - 1,
        "engines": ["e"] * 64,
        "later": 1,
    }
    hello = msgspec.convert(HELLO | largest, Hello)
    assert hello.worker_pid == 2**31 - 1
    assert hello.protocol_version == "2"


@pytest.mark.parametrize(
    "change",
    [
        {"heartbeat_interval_seconds": 0},
        {"heartbeat_interval_seconds": 3601},
        {"max_frame_size_bytes": 1023},
        {"max_frame_size_bytes": 67_108_865},
        {"session_id": None},
    ],
    ids=repr,
)
def test_hello_ack_has_bounds(change: dict[str, Any]) -> None:
    """An interval or a cap that makes no sense is refused."""
    ids = {"agent_id": "a", "project_id": "p", "session_id": "s"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(ids | change, HelloAck)


def test_payloads_have_the_brains_names() -> None:
    """The members are those of the reference's frames, defaults present."""
    assert msgspec.to_builtins(Heartbeat()) == {
        "buffer_size": 0,
        "last_flush_at": None,
        "dropped_events": 0,
        "telemetry_loss": None,
        "adapter_health": {},
    }
    assert set(msgspec.to_builtins(TelemetryLoss(buffer_id="b", runtime_id="r"))) == {
        "buffer_id",
        "runtime_id",
        "capacity_evicted_frames",
        "content_rejected_frames",
        "event_records",
        "command_results",
        "other_frames",
        "unclassified_frames",
        "adapter_events",
    }
    assert msgspec.to_builtins(AgentStatus())["protocol_version"] == "2"


def test_a_commands_target_says_only_what_is_known() -> None:
    """An absent engine is left out, as the brain leaves it out."""
    payload = CommandPayload(action="purge_queue", target=CommandTarget(type="queue", id="q"))
    assert msgspec.to_builtins(payload) == {
        "action": "purge_queue",
        "target": {"type": "queue", "id": "q"},
        "parameters": {},
        "timeout_seconds": 60,
        "issued_by": None,
        "delivery_claim_token": None,
    }


def test_there_are_eleven_types() -> None:
    """No goodbye, no heartbeat of the brain."""
    assert len(FrameType) == 11
