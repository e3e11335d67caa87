"""Identifiers: their types, and how new ones are made."""

from __future__ import annotations

import base64
import os
from typing import NewType

__all__ = [
    "AgentId",
    "BootId",
    "CommandId",
    "TaskId",
    "new_boot_id",
    "new_event_id",
    "new_frame_id",
    "new_nonce",
]

TaskId = NewType("TaskId", str)
"""An engine's own id of a task or job, at most 200 characters on the wire."""
CommandId = NewType("CommandId", str)
"""The brain's id of a command: a UUID."""
AgentId = NewType("AgentId", str)
"""The brain's id of an agent: a UUID, told in ``hello_ack``."""
BootId = NewType("BootId", str)
"""One life of one agent process."""


def new_event_id() -> str:
    """Return a random version 4 UUID, as text."""
    # uuid.uuid4() costs three times as much, and this runs once per event.
    octets = os.urandom(16).hex()
    variant = "89ab"[int(octets[16], 16) & 3]
    return f"{octets[:8]}-{octets[8:12]}-4{octets[13:16]}-{variant}{octets[17:20]}-{octets[20:]}"


def new_frame_id(prefix: str) -> str:
    """Return a frame id such as ``ev_0f3a…``, at most 64 characters (PROTOCOL §2.1)."""
    return f"{prefix}_{os.urandom(16).hex()}"


def new_nonce() -> str:
    """Return 16 random bytes as 22 URL-safe characters (PROTOCOL §3.3)."""
    return base64.urlsafe_b64encode(os.urandom(16))[:22].decode("ascii")


def new_boot_id() -> BootId:
    """Return the id of this life of this process, 32 hexadecimal digits."""
    return BootId(os.urandom(16).hex())
