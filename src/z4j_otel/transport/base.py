"""The ports between the agent and its network: a transport opens connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Confirming", "Connection", "Dated", "Transport"]


class Connection(Protocol):
    """An open, ordered, message-preserving channel to the brain.

    One task may send while another receives. Messages arrive whole or not at all.
    """

    async def send(self, data: bytes) -> None:
        """Hand one message to the network; waits while the peer does not read.

        Raises:
            ConnectionLost: The connection has ended; the message may not have arrived.
            FrameTooLarge: The way takes no message of this size; the message has not been
                sent, and the connection goes on.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        Raises:
            ConnectionLost: The connection has ended; carries the peer's close code.
            ConnectionSuperseded: The transport has a better connection open.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection. Never raises; closing twice is harmless.

        Args:
            code: WebSocket close code to tell the peer.
            reason: Text for the peer's log, at most 123 bytes.
        """
        ...


@runtime_checkable
class Confirming(Protocol):
    """What a connection also has whose peer sends no acks as frames (PROTOCOL §7)."""

    def on_delivered(self, callback: Callable[[str], None]) -> None:
        """Have the id of each batch told, from ``send``, once the peer has stored it."""
        ...


@runtime_checkable
class Dated(Protocol):
    """What a connection also has whose server told its clock when it was opened."""

    server_time_ns: int | None
    """Nanoseconds since the Unix epoch, exact to a second; None when it did not tell."""


class Transport(Protocol):
    """A way to the brain."""

    async def connect(self) -> Connection:
        """Open a connection, within the transport's own time limit.

        Raises:
            ConnectFailed: No connection came about; the reason is fit for an operator.
        """
        ...
