"""Whether a frame is what it claims to be: the checks of PROTOCOL §3.4, in its order."""

from __future__ import annotations

import hmac
from typing import Any, Final

import msgspec

from z4j_otel.errors import FrameMalformed, LocalWireError, SignatureInvalid
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType, TelemetryLoss
from z4j_otel.wire.replay import ReplayGuard
from z4j_otel.wire.signing import SessionBinding, signature_of

__all__ = ["UNSIGNED", "Verifier", "parse_frame"]

UNSIGNED: Final = frozenset({FrameType.HELLO, FrameType.HELLO_ACK})

_WIRE_VERSION: Final = 2
_TYPES: Final = {kind.value: kind for kind in FrameType}
_REPORTS_LOSS: Final = frozenset({FrameType.HEARTBEAT, FrameType.AGENT_STATUS})


def parse_frame(data: bytes | str) -> tuple[FrameType, dict[str, Any]]:
    """Read a frame's JSON and check the members that every frame has.

    Returns:
        The frame's type, and the frame itself; ``payload`` is an object, None or missing.

    Raises:
        FrameMalformed: It is no JSON object, or ``v``, ``type`` or ``payload`` is wrong.
    """
    frame = canonical.decode(data)
    if not isinstance(frame, dict):
        raise FrameMalformed("a frame is a JSON object")
    version, kind = frame.get("v"), frame.get("type")
    if type(version) is not int or version != _WIRE_VERSION:
        raise FrameMalformed("v is not 2")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise FrameMalformed("unknown type of frame")
    payload = frame.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise FrameMalformed("payload is no object")
    return _TYPES[kind], frame


class Verifier:
    """Checks the signed frames of one direction of one session."""

    def __init__(self, key: bytes, binding: SessionBinding) -> None:
        self._key = key
        self._binding = binding
        self._guard = ReplayGuard()

    def verify(self, kind: FrameType, frame: dict[str, Any], *, now_ns: int) -> None:
        """Accept a parsed frame and advance, or refuse it and stay.

        Args:
            kind: Its type, a signed one.
            frame: As ``parse_frame`` returned it.
            now_ns: Current time, nanoseconds since the Unix epoch.

        Raises:
            SignatureInvalid: ``hmac`` is missing or wrong.
            FrameMalformed: The signature holds, but a result's status is unknown or a
                ``telemetry_loss`` is out of bounds.
            FrameReplayed: ``ts``, ``seq`` or ``nonce`` is not fresh.
        """
        self._check_signature(frame)
        payload = frame.get("payload") or {}
        if kind is FrameType.COMMAND_RESULT and payload.get("status") not in (
            "success",
            "failed",
        ):
            raise FrameMalformed("status is neither success nor failed")
        if kind in _REPORTS_LOSS and payload.get("telemetry_loss") is not None:
            _check_loss(payload["telemetry_loss"])
        self._guard.admit(frame, now_ns=now_ns)

    def _check_signature(self, frame: dict[str, Any]) -> None:
        claimed = frame.get("hmac")
        if not isinstance(claimed, str) or not claimed:
            raise SignatureInvalid("hmac is missing")
        try:
            expected = signature_of(self._key, self._binding, frame)
        except LocalWireError:
            raise FrameMalformed("the frame has no canonical form") from None
        # As bytes: text with other than ASCII characters cannot be compared.
        if not hmac.compare_digest(claimed.encode(), expected.encode()):
            raise SignatureInvalid("hmac does not match")


def _check_loss(loss: Any) -> None:
    try:
        msgspec.convert(loss, TelemetryLoss)
    except msgspec.ValidationError:
        raise FrameMalformed("telemetry_loss is out of bounds") from None
