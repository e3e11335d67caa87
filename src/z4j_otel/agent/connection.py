"""One connection to the brain, from opening to its end.

Theory of operation
    Opening, ``hello``, ``hello_ack`` within ten seconds. Then three tasks run until the
    first of them fails: one receives, one sends what the uploader has, one sends
    heartbeats.

    ``hello_ack`` proves neither our signature nor our place at the brain: both are refused
    only afterwards. So the first frames are a heartbeat and an empty batch, and the
    connection is *proven* when that batch is acked. It is told as connected then, or when
    two seconds pass without a refusal (a brain that does not ack empty batches). It counts
    as *stable* after 30 s without an ack being overdue, or after the first batch with events
    was acked; only then is the backoff reset.

    The receiving task carries nothing out: a command is acked at once and handed over.
    Where this machine's clock had to be corrected, commands wait for the proof
    (:mod:`z4j_otel.agent.braintime`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from z4j_otel.agent.braintime import TOLERATED_S, BrainTime
from z4j_otel.agent.connection_failures import (
    BatchesUnacked,
    BrainComplained,
    BrainStalled,
    HelloUnanswered,
    Phase,
)
from z4j_otel.agent.speaker import Speaker
from z4j_otel.agent.uploader import Uploader
from z4j_otel.agent.waiting import wait_set, within
from z4j_otel.commands import Command
from z4j_otel.errors import (
    BufferError_,
    ConnectionLost,
    ConnectionSuperseded,
    FrameMalformed,
    WireError,
)
from z4j_otel.transport.base import Confirming, Connection, Dated, Transport
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello, RegistryDelta
from z4j_otel.wire.received import (
    BatchAcked,
    CommandReceived,
    ErrorReceived,
    HelloAccepted,
    Received,
)
from z4j_otel.wire.session import Session

__all__ = ["BrainConnection", "Ended", "Reports"]

_logger = logging.getLogger(__name__)

_HELLO_S: Final = 10.0
_CLOSE_S: Final = 6.0
"""A little more than a transport takes for its own polite end."""
_TOLD_AFTER_S: Final = 2.0
_STABLE_AFTER_S: Final = 30.0
_STATUS_EVERY_S: Final = 60.0
_EARLY_BEAT_S: Final = 2.0
_BARE_S: Final = 600.0
_BUFFER_RETRY_S: Final = 5.0
_MAX_HELD: Final = 500
"""The brain offers no more commands at a connect (PROTOCOL §1.5)."""
_PROTOCOL_ERROR: Final = 1002
_NORMAL: Final = 1000
_NO_CODE: Final = 1006
_NS: Final = 1_000_000_000


class Reports(Protocol):
    """Where the periodic frames get their content."""

    def heartbeat(self) -> Heartbeat:
        """Build a heartbeat from the last known state; must not block."""
        ...

    def ask(self) -> None:
        """Have the engines asked for what the next heartbeat tells; must not block."""
        ...

    def status(self, connected_at_ns: int) -> AgentStatus:
        """Build the diagnostics frame; must not block."""
        ...

    def registry(self, *, is_first: bool) -> list[RegistryDelta]:
        """Return which tasks appeared or went since the last call; must not block.

        Args:
            is_first: Return all tasks: this connection has been told none.
        """
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
        time: The clocks; set to the brain's at ``hello_ack``.
        heartbeat_s: Longest time between heartbeats; the brain may ask for less.
        tells_status: Whether diagnostics are sent.
        agent_id: Whom the user takes this agent for, if he says so.
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
        time: BrainTime,
        heartbeat_s: float,
        tells_status: bool = True,
        agent_id: str = "",
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
        self._time = time
        self._heartbeat_s = heartbeat_s
        self._tells_status = tells_status
        self._agent_id = agent_id
        self._work = asyncio.Event()
        self._held: list[CommandReceived] = []
        self._end = ConnectionLost(_NO_CODE)
        self._is_established = False
        self._is_told = False
        self._is_stable = False
        self._is_renewed = False

    @property
    def phase(self) -> Phase:
        """How far the connection has come."""
        return Phase(established=self._is_established, proven=self._uploader.is_proven)

    def wake(self) -> None:
        """Tell that the uploader may have something to send."""
        self._work.set()

    def renew(self) -> None:
        """End it as soon as nothing is out, so that the next one is opened at once."""
        self._is_renewed = True
        self._work.set()

    async def run(self) -> Ended:
        """Open the connection and keep it until it fails.

        Cancelling closes it with code 1000. Everything that was out is released.
        """
        asked_s = self._time.monotonic_s()
        try:
            connection = await self._transport.connect()
        except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed by the caller
            return self._ended(error)
        if isinstance(connection, Confirming):
            connection.on_delivered(self._delivered)
        code, is_stalled = _NORMAL, False
        try:
            await self._converse(connection, asked_s)
        except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed by the caller
            code = _PROTOCOL_ERROR if isinstance(error, WireError) else _NORMAL
            is_stalled = isinstance(error, BrainStalled)
            return self._ended(error)
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(connection.close(code), _CLOSE_S)
            self._uploader.disconnected(self._end.code, self._end.reason, is_stalled=is_stalled)
        raise AssertionError("a conversation ends by an error or by cancelling")

    def _ended(self, error: Exception) -> Ended:
        if isinstance(error, ConnectionLost):
            self._end = error
        return Ended(error, self.phase, self._end.code)

    async def _converse(self, connection: Connection, asked_s: float) -> None:
        speaker = Speaker(connection, self.session, self._time)
        await self._handshake(connection, speaker, asked_s)
        tasks = [
            asyncio.create_task(self._receive_all(connection, speaker)),
            asyncio.create_task(self._beat(speaker)),
            asyncio.create_task(self._send_all(speaker)),
        ]
        proof = asyncio.get_running_loop().call_later(_TOLD_AFTER_S, self._tell)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The receiver knows best: it has the peer's close code.
            await next(task for task in tasks if task in done)
        finally:
            proof.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _handshake(self, connection: Connection, speaker: Speaker, asked_s: float) -> None:
        greeted_s = self._time.monotonic_s()
        await speaker.hello(self._hello)
        try:
            answer = await within(connection.receive(), _HELLO_S)
        except asyncio.TimeoutError:
            raise HelloUnanswered from None
        received = self.session.receive(answer, now_ns=self._time.now_ns())
        if not isinstance(received, HelloAccepted):
            raise FrameMalformed("the first frame is no hello_ack")
        if received.sent_ns is not None:
            self._time.measure(received.sent_ns, asked_s=greeted_s)
        else:
            server_ns = connection.server_time_ns if isinstance(connection, Dated) else None
            self._time.measure(server_ns, asked_s=asked_s)
        self.connected_at_ns = self._time.machine.now_ns()
        self._is_established = True
        binding = self.session.binding
        if self._agent_id and binding is not None and binding.agent_id != self._agent_id:
            _logger.warning(
                "[z4j] the brain knows this token as another agent's than Z4J_AGENT_ID says (%s); "
                "set Z4J_TOKEN to that agent's token, or unset Z4J_AGENT_ID",
                binding.agent_id,
                extra={"action": "agent_id_differs"},
            )

    async def _receive_all(self, connection: Connection, speaker: Speaker) -> None:
        while True:
            data = await connection.receive()
            received = self.session.receive(data, now_ns=self._time.now_ns())
            await self._take(received, speaker)

    async def _take(self, received: Received, speaker: Speaker) -> None:
        if isinstance(received, BatchAcked):
            self._acked(received)
            await self._take_held(speaker)
        elif isinstance(received, CommandReceived):
            if self._held or (self._time.is_corrected and not self._uploader.is_proven):
                self._held = [*self._held, received][-_MAX_HELD:]
                return
            await self._take_command(received, speaker)
        elif isinstance(received, ErrorReceived):
            if received.fatal:
                raise BrainComplained(received.code, received.message)
            _logger.warning("the brain reports %s", received.code, extra={"action": "brain_error"})
        else:
            _logger.debug("ignored a frame: %s", type(received).__name__)

    async def _take_held(self, speaker: Speaker) -> None:
        while self._held and self._uploader.is_proven:
            held = self._held.pop(0)
            try:
                await self._take_command(held, speaker)
            except BaseException:
                # All of them came, and the brain was proven before the connection ended.
                left, self._held = self._held, []
                for received in left:
                    self._on_command(self._with_age(received))
                raise

    async def _take_command(self, received: CommandReceived, speaker: Speaker) -> None:
        command = self._with_age(received)
        try:
            await speaker.command_ack(command)
        finally:
            # Most commands are never delivered again: one that came is carried out even
            # where the connection ends under its ack.
            self._on_command(command)

    def _with_age(self, received: CommandReceived) -> Command:
        sent_ns, now_ns = received.sent_ns, self._time.now_ns()
        # The two clocks may differ by what is tolerated: a fresh command is never too old.
        age_s = 0.0 if sent_ns is None else (now_ns - sent_ns) / _NS - TOLERATED_S
        return replace(received.command, age_s=max(0.0, age_s))

    def _acked(self, ack: BatchAcked) -> None:
        settled = self._uploader.acked(ack)
        self._tell()
        if settled:
            self._settle()
        self._work.set()

    def _delivered(self, frame_id: str) -> None:
        self._acked(BatchAcked(frame_id, received=0, accepted=0, rejected=0))

    async def _send_all(self, speaker: Speaker) -> None:
        await speaker.probe(self._uploader)
        while True:
            # Where the ack is no frame of its own, the proof came with what was sent.
            await self._take_held(speaker)
            self._work.clear()
            try:
                has_sent = await speaker.upload(self._uploader)
            except BufferError_ as error:
                # The connection can do without its disk, and commands still come over it.
                _logger.debug("nothing to send: %s", type(error).__name__)
                await asyncio.sleep(_BUFFER_RETRY_S)
                continue
            if self._uploader.is_ignored:
                raise BatchesUnacked
            if self._is_renewed and self._uploader.is_idle:
                raise ConnectionSuperseded
            if not has_sent:
                await wait_set(self._work, self._uploader.wait_s())

    async def _beat(self, speaker: Speaker) -> None:
        interval_s = min(self._heartbeat_s, self.session.heartbeat_interval_s)
        started_s = self._time.monotonic_s()
        status_due_s = started_s
        bare_until_s = started_s + (_BARE_S if self._uploader.distrusts_reports else 0.0)
        # The first heartbeat knows nothing yet of queues and workers; a second one follows
        # soon, so that a dashboard does not stay empty for a whole interval.
        pause_s = min(interval_s, _EARLY_BEAT_S)
        is_first = True
        while True:
            now_s = self._time.monotonic_s()
            is_bare = now_s < bare_until_s
            await speaker.heartbeat(self._reports.heartbeat(), is_bare=is_bare)
            if self._tells_status and now_s >= status_due_s and not is_bare:
                status_due_s = now_s + _STATUS_EVERY_S
                await speaker.status(self._reports.status(self.connected_at_ns))
            if not is_bare:
                for delta in self._reports.registry(is_first=is_first):
                    await speaker.registry(delta)
                is_first = False
            if now_s - started_s >= _STABLE_AFTER_S and not self._uploader.is_in_doubt:
                self._settle()
            self._time.tell()
            # Last, because a thread does it: with nothing left to do here the two never
            # wait for each other's turn, which would wake both several times.
            self._reports.ask()
            await asyncio.sleep(pause_s)
            pause_s = interval_s

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._on_proven()

    def _settle(self) -> None:
        if not self._is_stable:
            self._is_stable = True
            self._on_stable()
