"""A brain that follows a script."""

from __future__ import annotations

import asyncio

import pytest

from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.testing.clocks import ManualClock
from z4j_otel.testing.scripted import ScriptedBrain
from z4j_otel.wire.frames import CommandPayload, Heartbeat, Hello
from z4j_otel.wire.session import BatchReceived, Role, Session

KEY = b"k" * 32
CLOCK = ManualClock()


async def agent_on(brain):
    """Connect, shake hands, and return the agent's side."""
    connection = await brain.connect()
    session = Session(Role.AGENT, KEY)
    hello = Hello(agent_version="1", framework="bare")
    await connection.send(session.send_hello(hello, frame_id="h"))
    session.receive(await connection.receive(), now_ns=CLOCK.now_ns())
    return connection, session


def run(coroutine):
    """Run a coroutine, but not for ever."""
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def test_a_script_speaks_signed_frames():
    """It shakes hands, settles batches and issues commands."""

    async def script(peer):
        hello = await peer.accept(brain_version="1.9.0")
        assert hello.framework == "bare"
        await peer.ack(await peer.receive_until(BatchReceived), rejected=0)
        await peer.command("c-1", CommandPayload(action="cancel_task"))

    async def scenario():
        brain = ScriptedBrain(script, key=KEY, clock=CLOCK)
        connection, session = await agent_on(brain)
        assert session.brain_version == "1.9.0"
        now_ns = CLOCK.now_ns()
        await connection.send(session.send_heartbeat(Heartbeat(), frame_id="hb", now_ns=now_ns))
        await connection.send(session.send_event_batch([b"{}"], frame_id="ev", now_ns=now_ns))
        ack = session.receive(await connection.receive(), now_ns=now_ns)
        command = session.receive(await connection.receive(), now_ns=now_ns)
        assert (ack.acked_id, ack.accepted, command.command.id) == ("ev", 1, "c-1")
        await brain.finish()
        assert len(brain.peers[0].received) == 3
        with pytest.raises(ConnectionLost, match="1000"):
            await connection.receive()

    run(scenario())


def test_each_connection_has_its_script_and_then_none():
    """Scripts are used in order; after the last one connects fail."""

    async def first(peer):
        await peer.send_bytes(b"anything at all")
        await peer.close(4403, "no")
        await peer.close(1000)

    async def second(peer):
        with pytest.raises(ConnectionLost, match="1001"):
            await peer.receive()

    async def scenario():
        brain = ScriptedBrain(first, second, key=KEY)
        connection = await brain.connect()
        assert await connection.receive() == b"anything at all"
        for call in (connection.receive(), connection.receive(), connection.send(b"x")):
            with pytest.raises(ConnectionLost, match="4403"):
                await call
        await (await brain.connect()).close(1001)
        await brain.finish()
        with pytest.raises(ConnectFailed):
            await brain.connect()

    run(scenario())


def test_a_failing_script_is_told():
    """Finish raises what a script raised."""

    async def script(peer):
        raise LookupError(peer)

    async def scenario():
        brain = ScriptedBrain(script, key=KEY)
        await brain.connect()
        with pytest.raises(LookupError):
            await brain.finish()

    run(scenario())
