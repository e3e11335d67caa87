"""From a checked frame to the value it stands for.

The embedded brain takes what a real brain takes: once a signature holds, wrong payload
members get defaults. The agent is stricter with commands, because it acts on them.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from z4j_otel.clock import parse_iso_ns
from z4j_otel.commands import Command, CommandResult, CommandStatus, Target
from z4j_otel.errors import FrameMalformed, VersionUnsupported, one_line
from z4j_otel.ids import CommandId
from z4j_otel.wire.frames import (
    MAX_BATCH_EVENTS,
    MAX_ID_CHARS,
    PROTOCOL_VERSION,
    CommandPayload,
    FrameType,
    Hello,
    HelloAck,
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

__all__ = ["read_from_agent", "read_from_brain", "read_hello", "read_hello_ack"]

_T = TypeVar("_T")
_MAX_CODE_CHARS: Final = 64


def read_hello(frame: dict[str, Any]) -> HelloReceived:
    """Read ``hello``, bounds included.

    Raises:
        FrameMalformed: A member is missing, of another type or out of bounds.
        VersionUnsupported: The agent speaks another protocol.
    """
    frame_id = frame.get("id")
    if not isinstance(frame_id, str) or not 1 <= len(frame_id) <= MAX_ID_CHARS:
        raise FrameMalformed("hello: id has 1 to 64 characters")
    hello = _convert(frame.get("payload"), Hello)
    if hello.worker_started_at is not None and not _is_time(hello.worker_started_at):
        raise FrameMalformed("hello: worker_started_at is no time")
    _check_version(frame, hello.protocol_version)
    return HelloReceived(hello, frame_id)


def read_hello_ack(frame: dict[str, Any]) -> HelloAccepted:
    """Read ``hello_ack``, bounds included.

    Raises:
        FrameMalformed: A member is missing, of another type or out of bounds.
        VersionUnsupported: The brain answers with another protocol.
    """
    ack = _convert(frame.get("payload"), HelloAck)
    _check_version(frame, ack.protocol_version)
    return HelloAccepted(ack, _time_or_none(frame.get("ts")))


def read_from_agent(kind: FrameType, frame: dict[str, Any]) -> Received:
    """Say what a verified frame means to the brain."""
    payload = frame.get("payload") or {}
    if kind is FrameType.EVENT_BATCH:
        events = payload.get("events")
        kept = events[:MAX_BATCH_EVENTS] if isinstance(events, list) else []
        return BatchReceived(_id_of(frame)[:MAX_ID_CHARS], kept)
    if kind is FrameType.HEARTBEAT:
        return HeartbeatReceived(payload)
    if kind is FrameType.AGENT_STATUS:
        return AgentStatusReceived(payload)
    if kind is FrameType.COMMAND_ACK:
        return CommandAcked(_id_of(frame), _text_or_none(payload.get("delivery_claim_token")))
    if kind is FrameType.COMMAND_RESULT:
        return _read_result(frame, payload)
    return _read_error(payload) if kind is FrameType.ERROR else Ignored(kind.value)


def read_from_brain(kind: FrameType, frame: dict[str, Any]) -> Received:
    """Say what a verified frame means to the agent.

    Raises:
        FrameMalformed: An acknowledgement or a command lacks what makes it one.
    """
    payload = frame.get("payload") or {}
    if kind is FrameType.EVENT_BATCH_ACK:
        acked_id = payload.get("acked_id")
        if not isinstance(acked_id, str):
            raise FrameMalformed("event_batch_ack: acked_id is no text")
        received, accepted, rejected = (
            _int_or_zero(payload.get(name)) for name in ("received", "accepted", "rejected")
        )
        return BatchAcked(acked_id, received, accepted, rejected)
    if kind is FrameType.COMMAND:
        return _read_command(frame)
    return _read_error(payload) if kind is FrameType.ERROR else Ignored(kind.value)


def _read_command(frame: dict[str, Any]) -> CommandReceived:
    command_id = _id_of(frame)
    if not command_id:
        raise FrameMalformed("command: id is missing")
    payload = _convert(frame.get("payload"), CommandPayload)
    target = payload.target
    return CommandReceived(
        Command(
            id=CommandId(command_id),
            action=payload.action,
            target=Target(target.type, target.id, target.engine, target.scheduler),
            parameters=payload.parameters,
            timeout_s=float(payload.timeout_seconds),
            issued_by=payload.issued_by,
            claim_token=payload.delivery_claim_token,
        ),
        sent_ns=_time_or_none(frame.get("ts")),
    )


def _read_result(frame: dict[str, Any], payload: dict[str, Any]) -> CommandFinished:
    result = payload.get("result")
    return CommandFinished(
        _id_of(frame),
        CommandResult(
            status=CommandStatus(payload["status"]),
            result=result if isinstance(result, dict) else None,
            error=_text_or_none(payload.get("error")),
        ),
        _text_or_none(payload.get("delivery_claim_token")),
    )


def _read_error(payload: dict[str, Any]) -> ErrorReceived:
    return ErrorReceived(
        one_line(_text_or_none(payload.get("code")) or "", _MAX_CODE_CHARS),
        one_line(_text_or_none(payload.get("message")) or ""),
        payload.get("fatal") is True,
    )


def _check_version(frame: dict[str, Any], version: str) -> None:
    if "protocol_version" not in frame["payload"]:
        raise FrameMalformed("protocol_version is missing")
    if version != PROTOCOL_VERSION:
        raise VersionUnsupported("the peer's protocol_version is not 2")


def _convert(payload: Any, shape: type[_T]) -> _T:
    try:
        return msgspec.convert(payload, shape)
    except msgspec.ValidationError:
        # The original text may quote what the peer sent.
        raise FrameMalformed(f"not the payload of a {shape.__name__}") from None


def _is_time(text: str) -> bool:
    for form in (text, text + "Z"):  # a time without an offset will do here
        try:
            parse_iso_ns(form)
        except (ValueError, OverflowError):
            continue
        return True
    return False


def _id_of(frame: dict[str, Any]) -> str:
    return _text_or_none(frame.get("id")) or ""


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _time_or_none(value: Any) -> int | None:
    try:
        return parse_iso_ns(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _int_or_zero(value: Any) -> int:
    return value if isinstance(value, int) else 0
