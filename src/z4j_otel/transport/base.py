"""The ports between the agent and its network: a transport opens connections."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Connection", "Transport"]


class Connection(Protocol):
    """An open, ordered, message-preserving channel to the brain.

    One task may send while another receives. Messages arrive whole or not at all.
    """

    async def send(self, data: bytes) -> None:
        """Hand one message to the network; waits while the peer does not read.

        Raises:
            ConnectionLost: The connection has ended; the message may not have arrived.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        Raises:
            ConnectionLost: The connection has ended; carries the peer's close code.
        """
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection. Never raises; closing twice is harmless.

        Args:
            code: WebSocket close code to tell the peer.
            reason: Text for the peer's log, at most 123 bytes.
        """
        ...


class Transport(Protocol):
    """A way to the brain."""

    async def connect(self) -> Connection:
        """Open a connection, within the transport's own time limit.

        Raises:
            ConnectFailed: No connection came about; the reason is fit for an operator.
        """
        ...
