"""The shared secret, what a signature covers, and how it is made (PROTOCOL §3)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionBinding", "decode_secret", "purge_token"]


@dataclass(frozen=True, slots=True)
class SessionBinding:
    """The three members that enter every signature and are never transmitted."""

    agent_id: str
    project_id: str
    session_id: str


def decode_secret(text: str) -> bytes:
    """Return the key that ``hmac_secret`` stands for.

    Raises:
        ConfigError: The text is not the URL-safe base64 of at least 32 bytes.
    """
    raise NotImplementedError


def purge_token(key: bytes, queue: str, depth: int) -> str:
    """Return the token an operator's purge of ``queue`` must carry at ``depth`` messages."""
    raise NotImplementedError
