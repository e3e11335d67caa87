"""Markers by which equal secrets can be told from different ones: ``[REDACTED:3f2a]``.

Theory of operation. A token is the first 16 bits of the HMAC-SHA256 of the secret, under a
key derived from the deployment's signing secret. All processes of a deployment derive the
same key from their settings: forked children have it in memory, others make it again, and
it is on no disk.

What a token gives away. Without the key nothing but equality: the same four digits may be
the same secret, or by chance one of 65 536. With the key (whoever holds the signing secret,
so the brain's operator, too) candidates can be tried: of N of them, N / 65 536 remain
beside the right one. A password from a list of a million leaves fifteen equal to it and no
way to tell them apart; a value of few possibilities, such as a PIN of four digits or yes
and no, is as good as known. Which is why tokens are an option, and truth values and None
never get one.

Where the brain's own rule for a name would blank the marker (PROTOCOL §5.2), the plain
one is sent: what leaves the process is what the dashboard shows.
"""

from __future__ import annotations

import re
from typing import Any, Final

from z4j_otel.redaction.policy import REDACTED

__all__ = ["derive_key", "marker_of"]

_PURPOSE: Final = b"z4j-otel redaction tokens v1"
_HASHED_CHARS: Final = 4096
_BYTES: Final = 2
_BRAIN_BLANKS: Final = re.compile(
    r"password(?:_confirmation|_hash)?|passwd|pwd|(?:old|new)_password|secrets?"
    r"|(?:client|webhook|hmac)_?secret|(?:(?:access|refresh|id|api|bearer|session)_?)?token"
    r"|(?:x[-_])?api[-_]?key|authorization|auth|credentials|(?:set[-_])?cookie|ssn"
    r"|social_security(?:_number)?|credit_card(?:_number)?|card_number|cvv|cvc",
    re.IGNORECASE,
)


def derive_key(signing_key: bytes) -> bytes:
    """Return the key of a deployment's tokens, which tells nothing about its signing key."""
    return _hmac(signing_key, _PURPOSE)


def marker_of(key: bytes, secret: Any, name: str = "") -> str:
    """Return the marker for a secret; equal ones of a deployment get equal markers.

    Args:
        key: From :func:`derive_key`.
        secret: A text, a number or bytes; anything else gets the plain marker.
        name: The key under which the secret stood.
    """
    if type(secret) is str:
        data = secret[:_HASHED_CHARS].encode("utf-8", "surrogatepass")
    elif type(secret) is int or type(secret) is float:
        data = repr(secret).encode() if abs(secret) < 1 << 4096 else b""
    else:
        data = secret[:_HASHED_CHARS] if type(secret) is bytes else b""
    if not data or _BRAIN_BLANKS.fullmatch(name):
        return REDACTED
    return f"[REDACTED:{_hmac(key, data)[:_BYTES].hex()}]"


def _hmac(key: bytes, data: bytes) -> bytes:
    import hmac  # noqa: PLC0415 -- loads OpenSSL, and most deployments use no tokens

    return hmac.digest(key, data, "sha256")
