"""The sides and states of a session, and its two complaints about size."""

from __future__ import annotations

from enum import Enum

from z4j_otel.errors import FrameMalformed, LocalWireError

__all__ = ["FrameOversize", "FrameTooLarge", "Role", "State"]


class Role(Enum):
    """The side of the conversation that a session speaks for."""

    AGENT = "agent"
    BRAIN = "brain"


class State(Enum):
    """Where a session stands."""

    NEW = "new"
    HELLO_SENT = "hello_sent"
    """The agent's ``hello`` is out, or has come in; ``hello_ack`` is due."""
    ESTABLISHED = "established"
    CLOSED = "closed"


class FrameTooLarge(LocalWireError):
    """The frame we were to send exceeds the cap; it was not sent."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(size_bytes, max_bytes)
        self.size_bytes = size_bytes
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return f"frame of {self.size_bytes} bytes, {self.max_bytes} are allowed"


class FrameOversize(FrameMalformed):
    """The agent's frame exceeds the cap: close code 4400 (PROTOCOL §1.4)."""
