"""Everything that one connection says: signed and sent under one lock, within a time limit.

Sequence numbers must reach the wire in their order (PROTOCOL §3.3), so nothing comes between
signing a frame and handing it to the network. A brain that does not take a frame for 90 s has
stalled: its kernel keeps the connection up, and nothing else would ever end it.
"""

from __future__ import annotations

import asyncio
from typing import Final

from z4j_otel.agent.connection_failures import BrainStalled
from z4j_otel.agent.registry import halves
from z4j_otel.agent.uploader import Uploader
from z4j_otel.agent.waiting import within
from z4j_otel.clock import Clock
from z4j_otel.commands import Command
from z4j_otel.errors import LocalWireError
from z4j_otel.ids import new_frame_id
from z4j_otel.transport.base import Connection
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello, RegistryDelta
from z4j_otel.wire.session import FrameTooLarge, Session

__all__ = ["Speaker"]

_SEND_S: Final = 90.0


class Speaker:
    """The outward half of one connection.

    Args:
        connection: Where frames go.
        session: Signs them.
        clock: The brain's clock.

    Every method raises ``ConnectionLost`` when the connection has ended and
    ``BrainStalled`` when the brain does not read.
    """

    def __init__(self, connection: Connection, session: Session, clock: Clock) -> None:
        self._connection = connection
        self._session = session
        self._clock = clock
        self._lock = asyncio.Lock()

    async def hello(self, hello: Hello) -> None:
        """Introduce the agent."""
        await self._send(self._session.send_hello(hello, frame_id=new_frame_id("hello")))

    async def probe(self, uploader: Uploader) -> None:
        """Send the empty batch whose ack proves the signature."""
        async with self._lock:
            await self._send(uploader.probe(self._session))

    async def upload(self, uploader: Uploader) -> bool:
        """Send what the uploader has; False when that was nothing.

        Raises:
            BufferError_: The storage failed.
        """
        async with self._lock:
            frames = uploader.next_frames(self._session)
            try:
                for frame in frames:
                    await self._send(frame)
            except FrameTooLarge as refused:
                self._fit(refused)
                uploader.take_back()
        return bool(frames)

    async def command_ack(self, command: Command) -> None:
        """Confirm a command's arrival."""
        async with self._lock:
            await self._send(
                self._session.send_command_ack(
                    command.id, command.claim_token, now_ns=self._clock.now_ns()
                )
            )

    async def heartbeat(self, heartbeat: Heartbeat, *, is_bare: bool = False) -> None:
        """Send a heartbeat, without the engines' state where that cannot be sent.

        Args:
            heartbeat: What to say.
            is_bare: Say the least that counts as a sign of life.
        """
        async with self._lock:
            if is_bare:
                await self._send(self._sign_heartbeat(_barely(heartbeat)))
                return
            try:
                await self._send(self._sign_heartbeat(heartbeat))
            except LocalWireError as refused:
                if isinstance(refused, FrameTooLarge):
                    self._fit(refused)
                await self._send(self._sign_heartbeat(_without_health(heartbeat)))

    async def status(self, status: AgentStatus) -> None:
        """Send diagnostics."""
        async with self._lock:
            frame = self._session.send_agent_status(
                status, frame_id=new_frame_id("as"), now_ns=self._clock.now_ns()
            )
            await self._send(frame)

    async def registry(self, delta: RegistryDelta) -> None:
        """Tell which tasks appeared or went, in smaller pieces where a frame is too large."""
        try:
            async with self._lock:
                frame = self._session.send_registry_delta(
                    delta, frame_id=new_frame_id("rd"), now_ns=self._clock.now_ns()
                )
                await self._send(frame)
        except FrameTooLarge as refused:
            self._fit(refused)
            for half in halves(delta):
                await self.registry(half)

    async def _send(self, data: bytes) -> None:
        try:
            await within(self._connection.send(data), _SEND_S)
        except asyncio.TimeoutError:
            raise BrainStalled from None

    def _fit(self, refused: FrameTooLarge) -> None:
        """Make no more frames that the way to the brain does not take."""
        self._session.max_frame_bytes = min(self._session.max_frame_bytes, refused.max_bytes)

    def _sign_heartbeat(self, heartbeat: Heartbeat) -> bytes:
        return self._session.send_heartbeat(
            heartbeat, frame_id=new_frame_id("hb"), now_ns=self._clock.now_ns()
        )


def _without_health(heartbeat: Heartbeat) -> Heartbeat:
    return Heartbeat(
        buffer_size=heartbeat.buffer_size,
        dropped_events=heartbeat.dropped_events,
        telemetry_loss=heartbeat.telemetry_loss,
    )


def _barely(heartbeat: Heartbeat) -> Heartbeat:
    return Heartbeat(buffer_size=heartbeat.buffer_size, dropped_events=heartbeat.dropped_events)
