"""How a command's result lies in the buffer, from the dispatcher to the uploader.

Theory of operation
    The body of a ``COMMAND_RESULT`` entry is the canonical JSON object
    ``{"command_id": …, "payload": {"delivery_claim_token", "error", "result", "status"}}``.
    ``payload`` is the frame's payload as it will be sent, already redacted. The same bytes
    are remembered under the command's key, and a redelivery is answered with them: under
    its own id and claim token, which may differ for two deliveries of one firing.

    Before a command begins, the answer is remembered that is true if this process does not
    live to give another one: that the outcome is unknown. It has the further member
    ``begun``: what the next agent needs to find out more. Keys are sorted, so such a body
    begins with it. No parameter of the command is in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from z4j_otel.commands import (
    Action,
    Command,
    CommandResult,
    CommandStatus,
    command_key,
    planned_task_id,
)
from z4j_otel.wire import canonical

__all__ = [
    "BEGUN_PREFIX",
    "MAX_ERROR_CHARS",
    "Begun",
    "StoredResult",
    "decode_begun",
    "decode_result",
    "encode_begun",
    "encode_result",
    "readdress",
    "without_begun",
]

MAX_ERROR_CHARS: Final = 1024
"""The brain stores no more of ``error`` (PROTOCOL §4.6)."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as found in the buffer."""

    command_id: str
    payload: bytes
    """Canonical bytes of the frame's payload."""
    is_success: bool


def encode_result(command: Command, result: CommandResult) -> bytes:
    """Write a result, whose values are redacted JSON values, as an entry's body."""
    error = None if result.error is None else result.error[:MAX_ERROR_CHARS]
    payload = {
        "status": result.status.value,
        "result": result.result,
        "error": error,
        "delivery_claim_token": command.claim_token,
    }
    return canonical.encode({"command_id": str(command.id), "payload": payload})


def decode_result(body: bytes) -> StoredResult:
    """Read an entry's body.

    Raises:
        FrameMalformed: The body is no JSON.
        KeyError: The body is no stored result.
    """
    value: dict[str, Any] = canonical.decode(body)
    payload = value["payload"]
    return StoredResult(
        command_id=value["command_id"],
        payload=canonical.encode(payload),
        is_success=payload["status"] == CommandStatus.SUCCESS.value,
    )


def readdress(body: bytes, command: Command) -> bytes:
    """Turn a remembered result into the answer to another delivery of the same work."""
    value: dict[str, Any] = canonical.decode(body)
    payload = value["payload"]
    payload["delivery_claim_token"] = command.claim_token
    if value["command_id"] != command.id:
        key = command_key(command)
        payload["result"] = {**(payload["result"] or {}), "deduplicated": True, "dedup_key": key}
    return canonical.encode({"command_id": str(command.id), "payload": payload})


BEGUN_PREFIX: Final = b'{"begun":'
"""How an answer begins whose command may not have ended."""
_PUBLISHING: Final = frozenset(
    {Action.RETRY_TASK.value, Action.SUBMIT_TASK.value, Action.SCHEDULE_FIRE.value}
)


@dataclass(frozen=True, slots=True)
class Begun:
    """What is known of a command whose process did not live to answer it."""

    command_id: str
    claim_token: str | None
    action: str
    engine: str
    """The engine's name; empty when the command named none."""
    task_id: str | None
    """The task that the command was to publish; None when it publishes none."""

    def as_published(self) -> dict[str, Any]:
        """Return the result of a command whose task is known to have been published."""
        if self.action == Action.RETRY_TASK.value:
            return {"new_task_id": self.task_id}
        return {"task_id": self.task_id, "engine": self.engine}


def encode_begun(command: Command, engine: str, result: CommandResult) -> bytes:
    """Write the answer to a command that nobody may live to answer.

    Args:
        command: It is about to run.
        engine: The name of the engine that it is for, or an empty text.
        result: What is true if nothing more becomes known.
    """
    is_publish = command.action in _PUBLISHING
    task_id = planned_task_id(command) if is_publish else None
    begun = Begun(str(command.id), command.claim_token, command.action, engine, task_id)
    value = canonical.decode(encode_result(command, result))
    return canonical.encode({**value, "begun": asdict(begun)})


def decode_begun(body: bytes) -> Begun:
    """Return what a remembered answer says of its command, which may not have ended.

    Raises:
        FrameMalformed: The body is no JSON.
        KeyError: The body was not written by ``encode_begun``.
    """
    begun: dict[str, Any] = canonical.decode(body)["begun"]
    return Begun(**{name: begun[name] for name in Begun.__slots__})


def without_begun(body: bytes) -> bytes:
    """Return the answer that a command was begun with, as that of one that has ended."""
    value: dict[str, Any] = canonical.decode(body)
    del value["begun"]
    return canonical.encode(value)
