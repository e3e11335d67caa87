"""What a checked frame means, to either side."""

from __future__ import annotations

from typing import Any

import pytest

from z4j_otel.commands import Command, CommandResult, CommandStatus, Target
from z4j_otel.errors import FrameMalformed, VersionUnsupported
from z4j_otel.ids import CommandId
from z4j_otel.wire.frames import FrameType
from z4j_otel.wire.reading import read_from_agent, read_from_brain, read_hello, read_hello_ack
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchAcked,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    CommandReceived,
    ErrorReceived,
    HeartbeatReceived,
    Ignored,
)

HELLO = {"protocol_version": "2", "agent_version": "1", "framework": "bare"}
ACK = {"protocol_version": "2", "agent_id": "a", "project_id": "p", "session_id": "s"}
TO_BRAIN = {
    FrameType.EVENT_BATCH,
    FrameType.HEARTBEAT,
    FrameType.AGENT_STATUS,
    FrameType.COMMAND_ACK,
    FrameType.COMMAND_RESULT,
    FrameType.ERROR,
}
TO_AGENT = {FrameType.EVENT_BATCH_ACK, FrameType.COMMAND, FrameType.ERROR}


def frame(payload: Any, frame_id: Any = "x_1") -> dict[str, Any]:
    """Return a frame as the parser leaves it."""
    return {"id": frame_id, "payload": payload}


@pytest.mark.parametrize("moment", [None, "2026-01-02T03:04:05", "2026-01-02T03:04:05.5+02:00"])
def test_hello_is_read(moment: str | None) -> None:
    """A start time needs no offset."""
    received = read_hello(frame(HELLO | {"worker_started_at": moment}, "h" * 64))
    assert received.frame_id == "h" * 64
    assert received.hello.framework == "bare"


@pytest.mark.parametrize(
    ("payload", "frame_id"),
    [
        (None, "x"),
        ({}, "x"),
        ({"agent_version": "1", "framework": "bare"}, "x"),
        (HELLO | {"engines": 1}, "x"),
        (HELLO | {"worker_started_at": "soon"}, "x"),
        (HELLO | {"worker_started_at": "0000-01-01T00:00:00"}, "x"),
        (HELLO, ""),
        (HELLO, "h" * 65),
        (HELLO, 5),
        (HELLO, None),
    ],
    ids=repr,
)
def test_a_hello_against_the_schema_is_malformed(payload: Any, frame_id: Any) -> None:
    """The brain would close with 4400."""
    with pytest.raises(FrameMalformed):
        read_hello(frame(payload, frame_id))


def test_another_protocol_is_unsupported() -> None:
    """The brain would close with 4426, and the agent waits long before it comes back."""
    with pytest.raises(VersionUnsupported):
        read_hello(frame(HELLO | {"protocol_version": "3"}))
    with pytest.raises(VersionUnsupported):
        read_hello_ack(frame(ACK | {"protocol_version": "1"}))


def test_hello_ack_is_read() -> None:
    """What is missing has the protocol's default."""
    ack = read_hello_ack(frame(ACK)).ack
    assert (ack.session_id, ack.heartbeat_interval_seconds) == ("s", 10)


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000),
        ("2026-01-02T03:04:05", None),
        ("0001-13-01T00:00:00+23:59", None),
        ("soon", None),
        (5, None),
        (None, None),
    ],
)
def test_the_brains_clock_is_read_from_hello_ack(ts: Any, expected: int | None) -> None:
    """A time with an offset is the brain's clock; anything else tells nothing."""
    assert read_hello_ack(frame(ACK) | {"ts": ts}).sent_ns == expected


@pytest.mark.parametrize("payload", [None, {}, ACK | {"agent_id": 5}])
def test_a_malformed_hello_ack_is_refused(payload: Any) -> None:
    """Without the three ids there is no session; the error does not quote the peer."""
    with pytest.raises(FrameMalformed) as caught:
        read_hello_ack(frame(payload))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("payload", "events"),
    [
        ({"events": [{"a": 1}, 5]}, [{"a": 1}, 5]),
        ({"events": None}, []),
        ({"events": "x"}, []),
        ({}, []),
        (None, []),
        ({"events": [0] * 5001}, [0] * 5000),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_batch_is_taken_as_the_brain_takes_it(payload: Any, events: list[Any]) -> None:
    """No list is an empty batch, and the tail beyond 5000 is lost."""
    received = read_from_agent(FrameType.EVENT_BATCH, frame(payload, "i" * 70))
    assert received == BatchReceived("i" * 64, events)


def test_a_batch_without_an_id_is_acked_with_an_empty_one() -> None:
    """The brain acknowledges it all the same."""
    assert read_from_agent(FrameType.EVENT_BATCH, frame({}, 5)) == BatchReceived("", [])


def test_signs_of_life_are_handed_on_as_they_are() -> None:
    """Their payload is not validated."""
    payload = {"buffer_size": "many"}
    heartbeat = read_from_agent(FrameType.HEARTBEAT, frame(payload))
    assert heartbeat == HeartbeatReceived(payload)
    assert read_from_agent(FrameType.HEARTBEAT, frame(None)) == HeartbeatReceived({})
    status = read_from_agent(FrameType.AGENT_STATUS, frame(payload))
    assert status == AgentStatusReceived(payload)


def test_an_ack_echoes_the_claim() -> None:
    """A token that is no text counts as none."""
    read = read_from_agent(FrameType.COMMAND_ACK, frame({"delivery_claim_token": "t"}, "c"))
    assert read == CommandAcked("c", "t")
    assert read_from_agent(FrameType.COMMAND_ACK, frame(None, "c")) == CommandAcked("c", None)


@pytest.mark.parametrize(
    ("payload", "result"),
    [
        (
            {"status": "success", "result": {"a": 1}},
            CommandResult(CommandStatus.SUCCESS, {"a": 1}),
        ),
        (
            {"status": "failed", "result": 5, "error": "refused: no"},
            CommandResult(CommandStatus.FAILED, None, "refused: no"),
        ),
        ({"status": "failed", "error": 7}, CommandResult(CommandStatus.FAILED)),
    ],
)
def test_a_result_is_read(payload: dict[str, Any], result: CommandResult) -> None:
    """Wrong members count as missing."""
    received = read_from_agent(
        FrameType.COMMAND_RESULT, frame(payload | {"delivery_claim_token": "t"}, "c")
    )
    assert received == CommandFinished("c", result, "t")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"code": "c", "message": "m", "fatal": True}, ErrorReceived("c", "m", fatal=True)),
        ({"code": 5, "fatal": "yes"}, ErrorReceived("", "", fatal=False)),
        (None, ErrorReceived("", "", fatal=False)),
    ],
)
def test_errors_come_from_either_side(payload: Any, error: ErrorReceived) -> None:
    """Only true is fatal."""
    assert read_from_agent(FrameType.ERROR, frame(payload)) == error
    assert read_from_brain(FrameType.ERROR, frame(payload)) == error


@pytest.mark.parametrize("kind", sorted(set(FrameType) - TO_BRAIN))
def test_what_the_brain_has_no_use_for_is_ignored(kind: FrameType) -> None:
    """Frames of the brain's own direction, and registry changes."""
    assert read_from_agent(kind, frame({})) == Ignored(kind.value)


@pytest.mark.parametrize("kind", sorted(set(FrameType) - TO_AGENT))
def test_what_only_agents_send_is_ignored_by_the_agent(kind: FrameType) -> None:
    """A reflected frame has no effect."""
    assert read_from_brain(kind, frame({})) == Ignored(kind.value)


def test_an_acknowledgement_needs_the_id_only() -> None:
    """Counts are information."""
    payload = {"acked_id": "ev_1", "received": 3, "accepted": "2"}
    read = read_from_brain(FrameType.EVENT_BATCH_ACK, frame(payload))
    assert read == BatchAcked("ev_1", 3, 0, 0)
    with pytest.raises(FrameMalformed):
        read_from_brain(FrameType.EVENT_BATCH_ACK, frame({"acked_id": 5}))


def test_a_command_is_read() -> None:
    """Everything an adapter needs to know, in our own words."""
    payload = {
        "action": "retry_task",
        "target": {"type": "task", "id": "celery:t-1", "engine": "celery"},
        "parameters": {"engine": "celery", "task_id": "t-1", "eta": 1767323045.25},
        "timeout_seconds": 30,
        "issued_by": "u",
        "delivery_claim_token": "t",
    }
    assert read_from_brain(FrameType.COMMAND, frame(payload, "c")) == CommandReceived(
        Command(
            CommandId("c"),
            "retry_task",
            Target("task", "celery:t-1", "celery"),
            {"engine": "celery", "task_id": "t-1", "eta": 1767323045.25},
            30.0,
            "u",
            "t",
        )
    )


def test_a_command_has_defaults() -> None:
    """An action alone is a command."""
    read = read_from_brain(FrameType.COMMAND, frame({"action": "later"}, "c"))
    assert read == CommandReceived(Command(CommandId("c"), "later"))


@pytest.mark.parametrize(
    ("payload", "command_id"),
    [
        ({"action": "x"}, ""),
        ({"action": "x"}, 5),
        (None, "c"),
        ({}, "c"),
        ({"action": 5}, "c"),
        ({"action": "x", "parameters": []}, "c"),
        ({"action": "x", "target": None}, "c"),
        ({"action": "x", "timeout_seconds": "soon"}, "c"),
    ],
    ids=repr,
)
def test_a_malformed_command_is_refused(payload: Any, command_id: Any) -> None:
    """The agent acts on commands, so it does not guess."""
    with pytest.raises(FrameMalformed):
        read_from_brain(FrameType.COMMAND, frame(payload, command_id))


def test_a_complaint_cannot_forge_a_line_of_the_log() -> None:
    """It is cut, and what does not print is replaced."""
    payload = {"code": "x" * 999, "message": "a\nERROR forged\x1b[2J", "fatal": 1}
    told = read_from_brain(FrameType.ERROR, {"payload": payload})
    assert told == ErrorReceived("x" * 64, "a\ufffdERROR forged\ufffd[2J", fatal=False)


@pytest.mark.parametrize("name", ["agent_id", "project_id", "session_id", "brain_version"])
def test_what_every_signature_covers_is_bounded(name: str) -> None:
    """A brain cannot have us hash a megabyte with every frame."""
    ids = {"agent_id": "a", "project_id": "p", "session_id": "s", "protocol_version": "2"}
    with pytest.raises(FrameMalformed):
        read_hello_ack({"payload": {**ids, name: "x" * 201}})
