"""The shared secret, what a signature covers, and how it is made (PROTOCOL §3).

Theory of operation
-------------------
A signature is the HMAC-SHA256 of the frame's canonical bytes without ``hmac`` but with
three members that are never transmitted: agent, project and session. The canonical order
of the members is fixed::

    agent_id · id · nonce · payload · project_id · seq · session_id · ts · type · v

so a sender that has its payload in canonical bytes needs no encoder: ``Signer`` writes the
other members around the payload twice, once for the HMAC and once for the wire, where
``hmac`` stands first and the three bound members are missing. A receiver cannot rely on
the order or spacing of what it got, so ``signature_of`` encodes the parsed frame.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.clock import iso_z
from z4j_otel.errors import ConfigError
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import FrameType

__all__ = [
    "MIN_KEY_BYTES",
    "SessionBinding",
    "Signer",
    "decode_secret",
    "purge_token",
    "signature_of",
]

MIN_KEY_BYTES: Final = 32
_BASE64_ENDINGS: Final = {0: "", 2: "==", 3: "="}


@dataclass(frozen=True, slots=True)
class SessionBinding:
    """The three members that enter every signature and are never transmitted."""

    agent_id: str
    project_id: str
    session_id: str
    """Told in ``hello_ack``; with long-poll the session nonce, which may be empty."""


def decode_secret(text: str, *, source: str = "Z4J_HMAC_SECRET") -> bytes:
    """Return the key that ``hmac_secret`` stands for (PROTOCOL §3.5).

    White space around it and missing padding are forgiven.

    Args:
        text: The secret as the brain showed it.
        source: Where the text came from, for the error.

    Returns:
        The key, at least 32 bytes.

    Raises:
        ConfigError: The text is not the URL-safe base64 of at least 32 bytes.
    """
    bare = text.strip().rstrip("=")
    try:
        if "+" in bare or "/" in bare:
            raise binascii.Error
        padded = bare + _BASE64_ENDINGS[len(bare) % 4]
        key = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, KeyError):
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            "hmac_secret", source, "expected the 44 characters the brain showed with the token"
        )
    return key


def purge_token(key: bytes, queue: str, depth: int) -> str:
    """Return the token an operator's purge of ``queue`` must carry at ``depth`` messages."""
    return _hexdigest(key, f"purge|{queue}|{depth}".encode())


def signature_of(key: bytes, binding: SessionBinding, frame: dict[str, Any]) -> str:
    """Return the signature that a parsed frame must carry.

    Every member counts, known or not, save ``hmac``; members named like the bound ones are
    overwritten (PROTOCOL §3.1).

    Raises:
        LocalWireError: The frame has no canonical form.
    """
    signed = {
        **frame,
        "agent_id": binding.agent_id,
        "project_id": binding.project_id,
        "session_id": binding.session_id,
    }
    signed.pop("hmac", None)
    return _hexdigest(key, canonical.encode(signed))


class Signer:
    """Makes the frames of one direction of one session; numbers them from 1."""

    def __init__(self, key: bytes, binding: SessionBinding) -> None:
        self._mac = hmac.new(key, digestmod="sha256")
        self._agent = b'{"agent_id":%b,' % canonical.encode(binding.agent_id)
        self._project = b',"project_id":%b,"seq":' % canonical.encode(binding.project_id)
        self._session = b',"session_id":%b,' % canonical.encode(binding.session_id)
        self._seq = 0

    def seal(
        self, kind: FrameType, frame_id: str, *payload: bytes, nonce: str, now_ns: int
    ) -> bytes:
        """Return the signed frame around a payload, without counting it as sent.

        Args:
            kind: The frame's type.
            frame_id: The frame's id.
            payload: Canonical bytes of the payload, in any number of parts; not looked at.
            nonce: Never used before in this session.
            now_ns: Time of sending, nanoseconds since the Unix epoch.

        Returns:
            The wire text: canonical order and spacing.

        Raises:
            LocalWireError: The id or the nonce holds a lone surrogate.
        """
        seq = b"%d" % (self._seq + 1)
        head = b'"id":%b,"nonce":%b,"payload":' % (
            canonical.encode(frame_id),
            canonical.encode(nonce),
        )
        tail = b'"ts":"%b","type":"%b","v":2}' % (iso_z(now_ns).encode(), kind.value.encode())
        # Fed in parts: a copy of a large payload costs more than its HMAC.
        mac = self._mac.copy()
        mac.update(self._agent + head)
        for part in payload:
            mac.update(part)
        mac.update(b"%b%b%b%b" % (self._project, seq, self._session, tail))
        start = b'{"hmac":"%b",%b' % (mac.hexdigest().encode(), head)
        return b"".join((start, *payload, b',"seq":', seq, b",", tail))

    def count(self) -> None:
        """Count the frame made last as sent: the next one gets the next number."""
        self._seq += 1


def _hexdigest(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha256").hex()
