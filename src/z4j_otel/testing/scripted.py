"""A brain that follows a script, for tests of the agent's every reaction.

A script is a coroutine function that is given a :class:`ScriptedPeer`, one script per
connection. It speaks through the protocol's own session, so it can send anything signed,
and through ``send_bytes`` anything at all::

    async def accepts_then_closes(peer):
        await peer.accept()
        batch = await peer.receive()
        await peer.ack(batch)
        await peer.close(4403)

    transport = ScriptedBrain(accepts_then_closes, key=key)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.ids import new_frame_id
from z4j_otel.transport.base import Connection
from z4j_otel.wire.frames import CommandPayload, Hello, HelloAck
from z4j_otel.wire.session import BatchReceived, HelloReceived, Received, Role, Session

__all__ = ["Script", "ScriptedBrain", "ScriptedPeer"]

AGENT_ID = "11111111-1111-4111-8111-111111111111"
PROJECT_ID = "22222222-2222-4222-8222-222222222222"
SESSION_ID = "33333333-3333-4333-8333-333333333333"

T = TypeVar("T")


class ScriptedPeer:
    """The brain's end of one connection, in the hands of a script."""

    def __init__(self, key: bytes, clock: Clock, connection: _PipeEnd) -> None:
        self.session = Session(Role.BRAIN, key)
        self.received: list[Received] = []
        """What ``receive`` returned so far."""
        self._clock = clock
        self._connection = connection

    async def accept(self, **ack: Any) -> Hello:
        """Wait for ``hello`` and answer it; arguments replace members of the answer."""
        greeting = await self.receive()
        assert isinstance(greeting, HelloReceived), greeting
        ids = {"agent_id": AGENT_ID, "project_id": PROJECT_ID, "session_id": SESSION_ID}
        answer = HelloAck(**{"brain_version": "1.13.0", **ids, **ack})
        now_ns = self._clock.now_ns()
        await self.send_bytes(
            self.session.send_hello_ack(answer, frame_id="hack_scripted", now_ns=now_ns)
        )
        return greeting.hello

    async def receive(self) -> Received:
        """Return the agent's next frame.

        Raises:
            ConnectionLost: The agent has gone.
            RemoteWireError: The frame is against the protocol.
        """
        data = await self._connection.receive()
        received = self.session.receive(data, now_ns=self._clock.now_ns())
        self.received.append(received)
        return received

    async def receive_until(self, kind: type[T]) -> T:
        """Return the agent's next frame of one kind, passing over others."""
        while True:
            received = await self.receive()
            if isinstance(received, kind):
                return received

    async def ack(self, batch: BatchReceived, *, rejected: int = 0) -> None:
        """Settle a batch."""
        count = len(batch.events)
        await self.send_bytes(
            self.session.send_event_batch_ack(
                batch.frame_id,
                count,
                count - rejected,
                rejected,
                frame_id=new_frame_id("eba"),
                now_ns=self._clock.now_ns(),
            )
        )

    async def command(self, command_id: str, payload: CommandPayload) -> None:
        """Send a command."""
        now_ns = self._clock.now_ns()
        await self.send_bytes(self.session.send_command(command_id, payload, now_ns=now_ns))

    async def send_bytes(self, data: bytes) -> None:
        """Send a message as it is."""
        await self._connection.send(data)

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection."""
        await self._connection.close(code, reason)


Script = Callable[[ScriptedPeer], Awaitable[None]]


class ScriptedBrain:
    """A transport whose connections follow scripts, in order; then it refuses."""

    def __init__(self, *scripts: Script, key: bytes, clock: Clock | None = None) -> None:
        """Make a brain.

        Args:
            scripts: One per connection. When a script returns, its connection is closed
                with code 1000.
            key: The decoded project secret.
            clock: The brain's clock.
        """
        self.peers: list[ScriptedPeer] = []
        """The peers of the connections made so far."""
        self._scripts = list(scripts)
        self._key = key
        self._clock = clock or SystemClock()
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> Connection:
        """Open a connection and start its script."""
        if not self._scripts:
            raise ConnectFailed("the script is over")
        script = self._scripts.pop(0)
        ours, theirs = _pipe()
        peer = ScriptedPeer(self._key, self._clock, ours)
        self.peers.append(peer)
        self._tasks.append(asyncio.create_task(_follow(script, peer)))
        return theirs

    async def finish(self, timeout_s: float = 5.0) -> None:
        """Wait for all scripts to end and raise what a script raised."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), timeout_s)


async def _follow(script: Script, peer: ScriptedPeer) -> None:
    try:
        await script(peer)
    finally:
        await peer.close(1000)


class _PipeEnd:
    """One end of a two-way, ordered channel in memory."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[bytes | ConnectionLost] = asyncio.Queue()
        self._end: ConnectionLost | None = None
        self.peer: _PipeEnd = self

    async def send(self, data: bytes) -> None:
        if self._end is not None:
            raise self._end
        self.peer._inbox.put_nowait(data)  # noqa: SLF001 -- the other half of this object
        await asyncio.sleep(0)

    async def receive(self) -> bytes:
        if self._end is not None and self._inbox.empty():
            raise self._end
        item = await self._inbox.get()
        if isinstance(item, ConnectionLost):
            self._end = item
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        if self._end is None:
            self._end = ConnectionLost(code, reason)
            self.peer._inbox.put_nowait(self._end)  # noqa: SLF001 -- as above
            # Our own pending receive ends, too.
            self._inbox.put_nowait(self._end)


def _pipe() -> tuple[_PipeEnd, _PipeEnd]:
    left, right = _PipeEnd(), _PipeEnd()
    left.peer, right.peer = right, left
    return left, right
