"""Turns the end of a connection into what to do about it: how to wait, what to say.

Every text names the cause as far as it can be known and the operator's next step. No text
holds a token or a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from z4j_otel.errors import (
    ConnectFailed,
    ConnectionLost,
    RemoteWireError,
    VersionUnsupported,
    WireError,
    Z4JOtelError,
)
from z4j_otel.transport.backoff import FailureClass, classify_close

__all__ = ["BrainComplained", "Failure", "HelloUnanswered", "Phase", "diagnose"]


@dataclass(frozen=True, slots=True)
class Phase:
    """How far a connection had come when it ended."""

    established: bool = False
    """``hello_ack`` had arrived."""
    proven: bool = False
    """The brain had accepted a signed frame of ours."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection ended."""

    kind: FailureClass
    key: str
    """Equal for failures that are the same news to an operator."""
    text: str


class HelloUnanswered(Z4JOtelError):
    """The brain did not answer ``hello`` in time."""


class BrainComplained(Z4JOtelError):
    """The brain sent a fatal ``error`` frame."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


_INCOMPATIBLE_CODES: Final = frozenset(
    {"scheduler_upgrade_required", "agent_incompatible", "protocol_incompatible"}
)

_TEXTS: Final = {
    1001: "the brain is shutting down",
    1012: "the brain is restarting",
    1009: "the brain refused a message as too large",
    4002: "another process took this worker's place at the brain; two processes use one worker_id",
    4003: "the brain revoked this agent's token, or the project was archived; make a new token"
    " in the dashboard (Agents) and set Z4J_TOKEN",
    4401: "the brain does not accept the token; check Z4J_TOKEN, or make a new one in the"
    " dashboard (Agents)",
    4408: "the brain heard nothing from this agent for too long",
    4426: "the brain does not speak protocol version 2; upgrade the brain or this package",
    4427: "the brain and this package are too far apart in version; upgrade one of them",
    4429: "the brain has no room for another connection of this agent; use fewer processes per"
    " token, or raise the brain's ws_per_agent_concurrency_cap",
}

_BAD_SIGNATURE: Final = (
    "the brain refused our signature: Z4J_HMAC_SECRET does not belong to this token's project,"
    " or this machine's clock is more than 60 s off"
)
_LATE_BAD_SIGNATURE: Final = (
    "the brain refused a signature in mid-session: the clock jumped by more than 60 s, or the"
    " project's secret was replaced (then set the new Z4J_HMAC_SECRET)"
)
_BAD_ADDRESS: Final = (
    "the brain does not accept connections from this address; see its agent_ip_allowlist"
)
_BAD_HELLO: Final = "the brain could not read our hello; is brain_url really a z4j brain?"
_TOO_LARGE: Final = "the brain refused a frame as too large"
_UPGRADE: Final = {
    401: "an access check in front of the brain asks for a login",
    403: "brain_url does not lead to the agent's socket, or a proxy forbids it",
    404: "there is no agent socket at this address; check brain_url",
    426: "the server at this address does not speak WebSocket; check brain_url",
}


def diagnose(error: Exception, phase: Phase) -> Failure:
    """Say why a connection ended and how to wait before the next.

    Args:
        error: What ended it.
        phase: How far it had come.
    """
    if isinstance(error, ConnectionLost):
        return _closed(error, phase)
    if isinstance(error, ConnectFailed):
        return _not_opened(error)
    if isinstance(error, BrainComplained):
        known = error.code in _INCOMPATIBLE_CODES
        kind = FailureClass.INCOMPATIBLE if known else FailureClass.PROTOCOL
        return Failure(kind, f"error:{error.code}", f"the brain reported {error}")
    return _other(error)


def _other(error: Exception) -> Failure:
    name = type(error).__name__
    if isinstance(error, HelloUnanswered):
        return Failure(FailureClass.CONNECTION, "hello_timeout", "the brain did not answer hello")
    if isinstance(error, VersionUnsupported):
        return Failure(FailureClass.INCOMPATIBLE, "version", _TEXTS[4426])
    if isinstance(error, RemoteWireError):
        text = f"a frame from the brain was refused ({name}) and the connection closed"
        return Failure(FailureClass.PROTOCOL, f"frame:{name}", text)
    kind = FailureClass.PROTOCOL if isinstance(error, WireError) else FailureClass.CONNECTION
    return Failure(kind, f"internal:{name}", f"the connection was given up ({name})")


def _not_opened(error: ConnectFailed) -> Failure:
    status = error.http_status
    if status is None:
        text = f"{error.reason}; is the brain up, and Z4J_BRAIN_URL its address?"
        return Failure(FailureClass.CONNECTION, "connect", text)
    kind = FailureClass.AUTH if status in {401, 403} else FailureClass.CONNECTION
    hint = _UPGRADE.get(status)
    text = f"{error.reason}: {hint}" if hint else error.reason
    return Failure(kind, f"upgrade:{status}", text)


def _closed(error: ConnectionLost, phase: Phase) -> Failure:
    text = _text_of(error.code, phase)
    text = str(error) if text is None else f"{text} (close code {error.code})"
    kind = classify_close(error.code, established=phase.established)
    return Failure(kind, f"close:{error.code}:{phase.established}", text)


def _text_of(code: int, phase: Phase) -> str | None:
    if code == 4403:  # noqa: PLR2004 -- a close code of PROTOCOL §1.6
        if not phase.established:
            return _BAD_ADDRESS
        return _LATE_BAD_SIGNATURE if phase.proven else _BAD_SIGNATURE
    if code == 4400:  # noqa: PLR2004 -- a close code of PROTOCOL §1.6
        return _TOO_LARGE if phase.established else _BAD_HELLO
    return _TEXTS.get(code)
