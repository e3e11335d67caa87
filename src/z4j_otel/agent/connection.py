"""One connection to the brain, from opening to its end.

Theory of operation
    Opening, ``hello``, ``hello_ack`` within ten seconds. Then three tasks run until the
    first of them fails: one receives, one sends what the uploader has, one sends
    heartbeats. Signing and sending happen under one lock, so that sequence numbers reach
    the wire in their order (PROTOCOL §3.3).

    ``hello_ack`` proves neither our signature nor our place at the brain: both are refused
    only afterwards. So the first frames are a heartbeat and an empty batch, and the
    connection counts as *proven* when that batch is acked, or when two seconds pass without
    a refusal (a brain that does not ack empty batches). It counts as *stable* after 30 s,
    or after the first batch with events was acked; only then is the backoff reset.

    The receiving task carries nothing out: a command is acked at once and handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from z4j_otel.agent.diagnosis import BrainComplained, HelloUnanswered, Phase
from z4j_otel.agent.uploader import Uploader
from z4j_otel.agent.waiting import wait_set, within
from z4j_otel.clock import Clock
from z4j_otel.commands import Command
from z4j_otel.errors import ConnectionLost, FrameMalformed, WireError
from z4j_otel.ids import new_frame_id
from z4j_otel.transport.base import Connection, Transport
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello
from z4j_otel.wire.received import (
    BatchAcked,
    CommandReceived,
    ErrorReceived,
    HelloAccepted,
    Received,
)
from z4j_otel.wire.session import FrameTooLarge, Session

__all__ = ["BrainConnection", "Ended", "Reports"]

_logger = logging.getLogger(__name__)

_HELLO_S: Final = 10.0
_CLOSE_S: Final = 5.0
_PROVEN_AFTER_S: Final = 2.0
_STABLE_AFTER_S: Final = 30.0
_STATUS_EVERY_S: Final = 60.0
_EARLY_BEAT_S: Final = 2.0
_PROTOCOL_ERROR: Final = 1002
_NORMAL: Final = 1000
_NO_CODE: Final = 1006


class Reports(Protocol):
    """Where the periodic frames get their content."""

    def heartbeat(self) -> Heartbeat:
        """Build a heartbeat from the last known state; must not block."""
        ...

    def status(self, connected_at_ns: int) -> AgentStatus:
        """Build the diagnostics frame; must not block."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection came to its end."""

    error: Exception
    phase: Phase
    close_code: int
    """The peer's close code; 1006 when there was none."""


class BrainConnection:
    """Runs one connection.

    Args:
        transport: Opens it.
        session: A new session of the agent's side, used for this connection only.
        hello: What to say first.
        uploader: What to send, and whom to tell of acks.
        reports: Content of heartbeats and diagnostics.
        on_command: Takes a command that has been acked; must return at once.
        on_proven: Called once, when the brain has accepted a signed frame.
        on_stable: Called once, when the connection may count as a success.
        clock: For signatures and ages.
        heartbeat_s: Longest time between heartbeats; the brain may ask for less.
    """

    def __init__(
        self,
        transport: Transport,
        session: Session,
        hello: Hello,
        *,
        uploader: Uploader,
        reports: Reports,
        on_command: Callable[[Command], None],
        on_proven: Callable[[], None],
        on_stable: Callable[[], None],
        clock: Clock,
        heartbeat_s: float,
    ) -> None:
        self.session = session
        self.connected_at_ns = 0
        self._transport = transport
        self._hello = hello
        self._uploader = uploader
        self._reports = reports
        self._on_command = on_command
        self._on_proven = on_proven
        self._on_stable = on_stable
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._lock = asyncio.Lock()
        self._work = asyncio.Event()
        self._close_code = _NO_CODE
        self._is_established = False
        self._is_proven = False
        self._is_stable = False

    @property
    def phase(self) -> Phase:
        """How far the connection has come."""
        return Phase(established=self._is_established, proven=self._is_proven)

    def wake(self) -> None:
        """Tell that the uploader may have something to send."""
        self._work.set()

    async def run(self) -> Ended:
        """Open the connection and keep it until it fails.

        Cancelling closes it with code 1000. Everything that was out is released.
        """
        try:
            connection = await self._transport.connect()
        except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed by the caller
            return self._ended(error)
        code = _NORMAL
        try:
            await self._converse(connection)
        except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed by the caller
            code = _PROTOCOL_ERROR if isinstance(error, WireError) else _NORMAL
            return self._ended(error)
        finally:
            await self._close(connection, code)
            self._uploader.disconnected(self._close_code)
        raise AssertionError("a conversation ends by an error or by cancelling")

    def _ended(self, error: Exception) -> Ended:
        if isinstance(error, ConnectionLost):
            self._close_code = error.code
        return Ended(error, self.phase, self._close_code)

    async def _close(self, connection: Connection, code: int) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await within(connection.close(code), _CLOSE_S)

    async def _converse(self, connection: Connection) -> None:
        await self._handshake(connection)
        tasks = [
            asyncio.create_task(self._receive_all(connection)),
            asyncio.create_task(self._beat(connection)),
            asyncio.create_task(self._send_all(connection)),
        ]
        proof = asyncio.get_running_loop().call_later(_PROVEN_AFTER_S, self._prove)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The receiver knows best: it has the peer's close code.
            await next(task for task in tasks if task in done)
        finally:
            proof.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _handshake(self, connection: Connection) -> None:
        await connection.send(self.session.send_hello(self._hello, frame_id=new_frame_id("hello")))
        try:
            answer = await within(connection.receive(), _HELLO_S)
        except asyncio.TimeoutError:
            raise HelloUnanswered from None
        received = self.session.receive(answer, now_ns=self._clock.now_ns())
        if not isinstance(received, HelloAccepted):
            raise FrameMalformed("the first frame is no hello_ack")
        self.connected_at_ns = self._clock.now_ns()
        self._is_established = True

    async def _receive_all(self, connection: Connection) -> None:
        while True:
            data = await connection.receive()
            received = self.session.receive(data, now_ns=self._clock.now_ns())
            await self._take(received, connection)

    async def _take(self, received: Received, connection: Connection) -> None:
        if isinstance(received, BatchAcked):
            settled = self._uploader.acked(received)
            self._prove()
            if settled:
                self._settle()
            self._work.set()
        elif isinstance(received, CommandReceived):
            command = received.command
            async with self._lock:
                await connection.send(
                    self.session.send_command_ack(
                        command.id, command.claim_token, now_ns=self._clock.now_ns()
                    )
                )
            self._on_command(command)
        elif isinstance(received, ErrorReceived):
            if received.fatal:
                raise BrainComplained(received.code, received.message)
            _logger.warning("the brain reports %s", received.code, extra={"action": "brain_error"})
        else:
            _logger.debug("ignored a frame: %s", type(received).__name__)

    async def _send_all(self, connection: Connection) -> None:
        async with self._lock:
            await connection.send(self._uploader.probe(self.session))
        while True:
            self._work.clear()
            async with self._lock:
                frames = self._uploader.next_frames(self.session)
                for frame in frames:
                    await connection.send(frame)
            if not frames:
                await wait_set(self._work, self._uploader.wait_s())

    async def _beat(self, connection: Connection) -> None:
        interval_s = min(self._heartbeat_s, self.session.heartbeat_interval_s)
        started_s = self._clock.monotonic_s()
        status_due_s = started_s
        # The first heartbeat knows nothing yet of queues and workers; a second one follows
        # soon, so that a dashboard does not stay empty for a whole interval.
        pause_s = min(interval_s, _EARLY_BEAT_S)
        while True:
            await self._send_heartbeat(connection)
            now_s = self._clock.monotonic_s()
            if now_s >= status_due_s:
                status_due_s = now_s + _STATUS_EVERY_S
                await self._send_status(connection)
            if now_s - started_s >= _STABLE_AFTER_S:
                self._settle()
            await asyncio.sleep(pause_s)
            pause_s = interval_s

    async def _send_heartbeat(self, connection: Connection) -> None:
        heartbeat = self._reports.heartbeat()
        async with self._lock:
            try:
                frame = self._sign_heartbeat(heartbeat)
            except FrameTooLarge:
                frame = self._sign_heartbeat(_without_health(heartbeat))
            await connection.send(frame)

    def _sign_heartbeat(self, heartbeat: Heartbeat) -> bytes:
        return self.session.send_heartbeat(
            heartbeat, frame_id=new_frame_id("hb"), now_ns=self._clock.now_ns()
        )

    async def _send_status(self, connection: Connection) -> None:
        status = self._reports.status(self.connected_at_ns)
        async with self._lock:
            frame = self.session.send_agent_status(
                status, frame_id=new_frame_id("as"), now_ns=self._clock.now_ns()
            )
            await connection.send(frame)

    def _prove(self) -> None:
        if not self._is_proven:
            self._is_proven = True
            self._on_proven()

    def _settle(self) -> None:
        if not self._is_stable:
            self._is_stable = True
            self._on_stable()


def _without_health(heartbeat: Heartbeat) -> Heartbeat:
    return Heartbeat(
        buffer_size=heartbeat.buffer_size,
        dropped_events=heartbeat.dropped_events,
        telemetry_loss=heartbeat.telemetry_loss,
    )
