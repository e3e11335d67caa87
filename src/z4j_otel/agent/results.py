"""How a command's result lies in the buffer, from the dispatcher to the uploader.

Theory of operation
    The body of a ``COMMAND_RESULT`` entry is the canonical JSON object
    ``{"command_id": …, "payload": {"delivery_claim_token", "error", "result", "status"}}``.
    ``payload`` is the frame's payload as it will be sent, already redacted. The same bytes
    are remembered under the command's key, and a redelivery is answered with them: under
    its own id and claim token, which may differ for two deliveries of one firing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.wire import canonical

__all__ = ["StoredResult", "command_key", "decode_result", "encode_result", "readdress"]

MAX_ERROR_CHARS: Final = 1024
"""The brain stores no more of ``error`` (PROTOCOL §4.6)."""


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as found in the buffer."""

    command_id: str
    payload: bytes
    """Canonical bytes of the frame's payload."""
    is_success: bool


def command_key(command: Command) -> str:
    """Return what makes two deliveries the same work (PROTOCOL §6.1)."""
    fire_id = command.parameters.get("fire_id")
    if isinstance(fire_id, str) and fire_id:
        return f"fire:{fire_id}"
    return f"cmd:{command.id}"


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
