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
from z4j_otel.transport.close_codes import FailureClass, classify_close

__all__ = [
    "BatchesUnacked",
    "BrainComplained",
    "BrainStalled",
    "Failure",
    "HelloUnanswered",
    "Phase",
    "diagnose",
]


@dataclass(frozen=True, slots=True)
class Phase:
    """How far a connection had come when it ended."""

    established: bool = False
    """``hello_ack`` had arrived."""
    proven: bool = False
    """The brain had acknowledged a signed frame of ours."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection ended."""

    kind: FailureClass
    key: str
    """Equal for failures that are the same news to an operator."""
    text: str
    at_least_s: float = 0.0
    """How long the server asked us to stay away, seconds."""


class HelloUnanswered(Z4JOtelError):
    """The brain did not answer ``hello`` in time."""


class BrainStalled(Z4JOtelError):
    """The brain did not read what we sent for too long."""


class BatchesUnacked(Z4JOtelError):
    """The brain read our batches and acknowledged none for too long."""


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
    1011: "the brain failed over something that was sent, and closed",
    4002: "another process took this worker's place at the brain; two processes use one worker_id",
    4003: "the brain revoked this agent's token, or the project was archived; restore the project,"
    " or make a new token in the dashboard (Agents) and set Z4J_TOKEN",
    4401: "the brain does not accept the token, or the project is archived; check Z4J_TOKEN, or"
    " make a new one in the dashboard (Agents)",
    4408: "the brain heard nothing from this agent for too long",
    4426: "the brain does not speak protocol version 2; upgrade the brain or this package",
    4427: "the brain and this package are too far apart in version; upgrade one of them",
    4429: "the brain has no room for another connection of this agent; use fewer processes per"
    " token, or raise the brain's ws_per_agent_concurrency_cap",
}

_BAD_SIGNATURE: Final = (
    "the brain refused our signature: Z4J_HMAC_SECRET does not belong to this token's project;"
    " make a new token in the dashboard (Agents) and set the secret shown with it"
)
_LATE_BAD_SIGNATURE: Final = (
    "the brain refused a signature in mid-session, after it had accepted others"
)
_BAD_ADDRESS: Final = (
    "the brain does not accept connections from this address; see its agent_ip_allowlist"
)
_BAD_HELLO: Final = "the brain could not read our hello; is brain_url really a z4j brain?"
_TOO_LARGE: Final = "the brain refused a frame as too large"
_TOO_MANY: Final = (
    "the brain takes no more connections from this address for now; many processes start at"
    " once, or one restarts in a loop"
)
_PAUSED: Final = "this process did not answer the brain's pings; was it or its machine paused?"
_PING_TIMEOUT: Final = "ping timeout"
_BEHIND_PROXY: Final = "a proxy answers in the brain's place; is the brain behind it up?"
_UPGRADE: Final = {
    401: "an access check in front of the brain asks for a login",
    403: "brain_url does not lead to the agent's socket, or a proxy forbids it",
    404: "there is no agent socket at this address; check brain_url",
    426: "the server at this address does not speak WebSocket; check brain_url",
    429: "too many requests from this address",
    **dict.fromkeys((502, 503, 504), _BEHIND_PROXY),
}
_CHECK_ADDRESS: Final = "is the brain up, and Z4J_BRAIN_URL its address?"
_HINTS: Final = {
    "closed": "is the brain up, and Z4J_BRAIN_URL its address? Does it want a client certificate"
    " (Z4J_CLIENT_CERTIFICATE_FILE)?",
    "not_http": "is Z4J_BRAIN_URL the brain's address?",
    "no_tls": "use http:// for this port, or the port with TLS",
    "tls_expired": "renew it, or set this machine's clock",
    "tls_host": "use the name in the certificate for Z4J_BRAIN_URL",
    "tls_issuer": "set Z4J_CA_FILE to a PEM file with the certificate of who signed it",
    "tls_client": "set Z4J_CLIENT_CERTIFICATE_FILE and Z4J_CLIENT_KEY_FILE to one it accepts",
    "tls_version": "enable TLS 1.2 or newer there",
    "tls_files": "",
    "tls": "check its certificate, and whether it wants a client's (Z4J_CLIENT_CERTIFICATE_FILE)",
    "proxy": "check Z4J_PROXY or the variable named, or set Z4J_PROXY=none to go without",
    "proxy_login": "set Z4J_PROXY=http://user:password@host:port, or Z4J_PROXY_FILE to a file with"
    " that",
    "proxy_no": "allow the brain's host and port there, or set Z4J_PROXY=none to go without",
}
_AUTH_STATUS: Final = frozenset({401, 403})
_TOO_MANY_REQUESTS: Final = 429
# One condition, two codes: the second is what every further attempt gets.
_SAME_NEWS: Final = {4003: "token", 4401: "token"}


_NO_CODE: Final = 1006
_INTERNAL: Final = 1011
_OVERSIZE: Final = 4400
_REFUSED: Final = 4403
_BEFORE_HELLO_ACK: Final = {_OVERSIZE: _BAD_HELLO, _REFUSED: _BAD_ADDRESS, 4429: _TOO_MANY}
_SILENCES: Final = (
    (HelloUnanswered, "hello_timeout", "the brain did not answer hello; is it overloaded?"),
    (BrainStalled, "stalled", "the brain has stopped reading; is it overloaded or stopped?"),
    (
        BatchesUnacked,
        "unacked",
        "the brain reads but acknowledges nothing; is its database in trouble? (see its log)",
    ),
)


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
    if isinstance(error, VersionUnsupported):
        return Failure(FailureClass.INCOMPATIBLE, "version", _TEXTS[4426])
    if isinstance(error, RemoteWireError):
        text = f"a frame from the brain was refused ({name}) and the connection closed"
        return Failure(FailureClass.PROTOCOL, f"frame:{name}", text)
    for kind, key, text in _SILENCES:
        if isinstance(error, kind):
            return Failure(FailureClass.CONNECTION, key, text)
    kind_ = FailureClass.PROTOCOL if isinstance(error, WireError) else FailureClass.CONNECTION
    return Failure(kind_, f"internal:{name}", f"the connection was given up ({name})")


def _not_opened(error: ConnectFailed) -> Failure:
    status = error.http_status
    kind = FailureClass.CONNECTION
    if status is None or error.cause in _HINTS:
        if error.cause == "proxy_login":
            # Some companies lock an account that is tried too often.
            kind = FailureClass.AUTH
        hint = _HINTS.get(error.cause, _CHECK_ADDRESS)
        text = f"{error.reason}; {hint}" if hint else error.reason
        return Failure(kind, f"connect:{error.cause}", text, error.retry_after_s)
    if status in _AUTH_STATUS:
        kind = FailureClass.AUTH
    elif status == _TOO_MANY_REQUESTS:
        kind = FailureClass.CAPACITY
    advice = _UPGRADE.get(status)
    text = f"{error.reason}: {advice}" if advice else error.reason
    return Failure(kind, f"upgrade:{status}", text, error.retry_after_s)


def _closed(error: ConnectionLost, phase: Phase) -> Failure:
    if error.code == _NO_CODE:
        text = f"the connection broke ({error.reason or 'no reason given'})"
        return Failure(FailureClass.CONNECTION, "broke", text)
    known = _text_of(error, phase)
    text = str(error) if known is None else f"{known} (close code {error.code})"
    kind = classify_close(error.code, established=phase.established)
    key = _SAME_NEWS.get(error.code, f"close:{error.code}:{phase.established}")
    if error.code == _REFUSED and phase.proven:
        # The secret is right, or nothing would have been accepted.
        kind, key = FailureClass.PROTOCOL, "close:4403:late"
    return Failure(kind, key, text)


def _text_of(error: ConnectionLost, phase: Phase) -> str | None:
    code = error.code
    if code == _REFUSED and phase.established:
        return _LATE_BAD_SIGNATURE if phase.proven else _BAD_SIGNATURE
    if code == _OVERSIZE and phase.established:
        return _TOO_LARGE
    if code == _INTERNAL and _PING_TIMEOUT in error.reason:
        return _PAUSED
    early = None if phase.established else _BEFORE_HELLO_ACK.get(code)
    return early or _TEXTS.get(code)
