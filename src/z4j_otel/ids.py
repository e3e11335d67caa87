"""Identifiers: their types, and how new ones are made."""

from __future__ import annotations

import base64
import itertools
import os
import uuid
from collections.abc import Callable
from typing import NewType

__all__ = [
    "AgentId",
    "BootId",
    "CommandId",
    "TaskId",
    "new_boot_id",
    "new_event_id",
    "new_event_id_bytes",
    "new_frame_id",
    "new_nonce",
    "new_uuid",
]

TaskId = NewType("TaskId", str)
"""An engine's own id of a task or job, at most 200 characters on the wire."""
CommandId = NewType("CommandId", str)
"""The brain's id of a command: a UUID."""
AgentId = NewType("AgentId", str)
"""The brain's id of an agent: a UUID, told in ``hello_ack``."""
BootId = NewType("BootId", str)
"""One life of one agent process."""


class _EventIds:
    """The ids of one process's events: 74 random bits that are its own, then a count.

    An id only has to be unique, and one is made per event on the task's own thread: random
    to the last bit it costs five times as much (0.8 against 0.15 µs).
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Draw new random bits; a forked child would repeat its parent's ids."""
        self._prefix = new_uuid()[:-12].encode()
        self._numbers = itertools.count(1)

    def new(self) -> bytes:
        return b"%b%012x" % (self._prefix, next(self._numbers))


def new_uuid() -> str:
    """Return a random version 4 UUID, as text."""
    return str(uuid.uuid4())


_event_ids = _EventIds()
os.register_at_fork(after_in_child=_event_ids.begin)
new_event_id_bytes: Callable[[], bytes] = _event_ids.new
"""Returns an id that no other event has: a UUID in the form of version 4, in ASCII."""


def new_event_id() -> str:
    """Return an id that no other event has, as text."""
    return new_event_id_bytes().decode()


def new_frame_id(prefix: str) -> str:
    """Return a frame id such as ``ev_0f3a…``, at most 64 characters (PROTOCOL §2.1)."""
    return f"{prefix}_{os.urandom(16).hex()}"


def new_nonce() -> str:
    """Return 16 random bytes as 22 URL-safe characters (PROTOCOL §3.3)."""
    return base64.urlsafe_b64encode(os.urandom(16))[:22].decode("ascii")


def new_boot_id() -> BootId:
    """Return the id of this life of this process, 32 hexadecimal digits."""
    return BootId(os.urandom(16).hex())
