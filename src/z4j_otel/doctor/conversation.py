"""One short talk with the brain, as the agent begins it: hello, hello_ack, one signed frame.

Theory of operation
    The frame is an empty batch of events. The brain acknowledges it as any other, and
    nothing becomes of it: no row, no worker, no heartbeat. Its signature is what shows
    whether the signing secret is the project's.

    *A place of its own.* The worker id is ``doctor-`` and the machine's name. It takes no
    running worker's place, and the next doctor on this machine takes this one again: the
    dashboard shows at most one such line for each machine, and it is offline.

    *The same words.* The brain keeps what an agent can do per token, of its last hello. So
    hello lists what a running agent of this machine has listed, and where none runs, what
    one of the app that was named would. Where nobody knows, nobody says hello: ``knock``.

    *Commands.* Where no worker is connected, the brain may hand a waiting command to
    whoever says hello. It is answered as failed, with the reason, and can be sent again;
    unanswered it would hang until its time is up.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Final

from z4j_otel.agent.braintime import BrainTime
from z4j_otel.agent.connection_failures import (
    BatchesUnacked,
    BrainComplained,
    Failure,
    HelloUnanswered,
    Phase,
    diagnose,
)
from z4j_otel.agent.results import decode_result, encode_result
from z4j_otel.agent.waiting import within
from z4j_otel.clock import Clock
from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.ids import new_frame_id
from z4j_otel.transport.base import Confirming, Connection, Dated, Transport
from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.received import BatchAcked, CommandReceived, ErrorReceived, HelloAccepted
from z4j_otel.wire.session import Role, Session

__all__ = ["Conversation", "converse", "doctor_worker_id", "knock"]

_HELLO_S: Final = 10.0
_ACK_S: Final = 10.0
_CLOSE_S: Final = 6.0
_KNOCK_S: Final = 1.0
_EXCUSE: Final = (
    "refused: no worker was connected, only z4j-otel doctor; send the command again when one is"
)


@dataclass(slots=True)
class Conversation:
    """How far it came."""

    is_open: bool = False
    """The transport has a connection."""
    ack: HelloAck | None = None
    """The brain took the token."""
    is_proven: bool = False
    """The brain took the signature."""
    offset_s: float | None = None
    """How far this machine's clock is behind the brain's; None when it told no time."""
    commands_refused: int = 0
    failure: Failure | None = None
    """Why it went no further; in the agent's own words."""
    error: Exception | None = None


def doctor_worker_id() -> str:
    """Return the slot at the brain that doctors of this machine share."""
    return f"doctor-{socket.gethostname().partition('.')[0]}"[:128]


async def converse(transport: Transport, key: bytes, hello: Hello, clock: Clock) -> Conversation:
    """Talk to the brain; never raises but when cancelled, and always hangs up.

    Args:
        transport: The agent's way to the brain.
        key: The signing secret, decoded.
        hello: What to say first.
        clock: This machine's clocks.
    """
    talk = Conversation()
    try:
        connection = await transport.connect()
    except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed
        return _ended(talk, error)
    talk.is_open = True
    try:
        await _Speaker(connection, key, clock, talk).speak(hello)
    except Exception as error:  # noqa: BLE001 -- as above
        _ended(talk, error)
    finally:
        await _hang_up(connection)
    return talk


async def knock(transport: Transport) -> Conversation:
    """Open a connection, and give the brain a moment to refuse it; say nothing.

    The brain looks at address and token before it reads hello (PROTOCOL §1.5).

    Args:
        transport: The agent's way to the brain.
    """
    talk = Conversation()
    try:
        connection = await transport.connect()
        talk.is_open = True
        try:
            await within(connection.receive(), _KNOCK_S)
        finally:
            await _hang_up(connection)
    except asyncio.TimeoutError:
        # It waits for hello.
        return talk
    except Exception as error:  # noqa: BLE001 -- whatever ends a connection is diagnosed
        return _ended(talk, error)
    return talk


async def _hang_up(connection: Connection) -> None:
    try:
        await within(connection.close(1000, "the doctor has gone"), _CLOSE_S)
    except asyncio.TimeoutError:
        return


def _ended(talk: Conversation, error: Exception) -> Conversation:
    talk.error = error
    talk.failure = diagnose(error, Phase(established=talk.ack is not None, proven=talk.is_proven))
    return talk


class _Speaker:
    """Says the three things, and listens."""

    def __init__(
        self, connection: Connection, key: bytes, clock: Clock, talk: Conversation
    ) -> None:
        self._connection = connection
        self._session = Session(Role.AGENT, key)
        self._time = BrainTime(clock)
        self._talk = talk
        self._frame_id = new_frame_id("ev")
        self._asked_s = clock.monotonic_s()
        if isinstance(connection, Confirming):
            connection.on_delivered(self._delivered)

    async def speak(self, hello: Hello) -> None:
        await self._greet(hello)
        probe = self._session.send_event_batch(
            (), frame_id=self._frame_id, now_ns=self._time.now_ns()
        )
        await self._connection.send(probe)
        try:
            await within(self._listen(), _ACK_S)
        except asyncio.TimeoutError:
            raise BatchesUnacked from None

    async def _greet(self, hello: Hello) -> None:
        await self._connection.send(self._session.send_hello(hello, frame_id=new_frame_id("hello")))
        try:
            answer = await within(self._connection.receive(), _HELLO_S)
        except asyncio.TimeoutError:
            raise HelloUnanswered from None
        received = self._session.receive(answer, now_ns=self._time.now_ns())
        # Before it is established a session takes nothing else.
        assert isinstance(received, HelloAccepted)
        self._talk.ack = received.ack
        told_ns = received.sent_ns
        if told_ns is None and isinstance(self._connection, Dated):
            told_ns = self._connection.server_time_ns
        self._time.measure(told_ns, asked_s=self._asked_s)
        self._talk.offset_s = None if told_ns is None else self._time.offset_s

    async def _listen(self) -> None:
        while not self._talk.is_proven:
            data = await self._connection.receive()
            received = self._session.receive(data, now_ns=self._time.now_ns())
            if isinstance(received, BatchAcked):
                self._delivered(received.acked_id)
            elif isinstance(received, CommandReceived):
                await self._refuse(received.command)
            elif isinstance(received, ErrorReceived) and received.fatal:
                raise BrainComplained(received.code, received.message)

    def _delivered(self, frame_id: str) -> None:
        self._talk.is_proven = self._talk.is_proven or frame_id == self._frame_id

    async def _refuse(self, command: Command) -> None:
        result = CommandResult(CommandStatus.FAILED, error=_EXCUSE)
        stored = decode_result(encode_result(command, result))
        self._talk.commands_refused += 1
        await self._connection.send(
            self._session.send_command_result(
                command.id, stored.payload, now_ns=self._time.now_ns()
            )
        )
