"""Transports without a network."""

from __future__ import annotations

import asyncio
import time

import pytest

from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.testing.transports import FaultyTransport, MemoryTransport
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import decode_secret

HELLO = Hello(agent_version="1", framework="bare", engines=["celery"])


@pytest.fixture
def brain():
    """Return an embedded brain."""
    return DevBrain()


@pytest.fixture
def credentials(brain):
    """Return an agent's credentials."""
    return brain.mint_agent()


def run(coroutine):
    """Run a coroutine, but not for ever."""
    return asyncio.run(asyncio.wait_for(coroutine, 10))


async def greeted(transport, credentials):
    """Open a connection and shake hands."""
    connection = await transport.connect()
    session = Session(Role.AGENT, decode_secret(credentials.hmac_secret))
    await connection.send(session.send_hello(HELLO, frame_id="h"))
    session.receive(await connection.receive(), now_ns=time.time_ns())
    return connection, session


def batch(session, frame_id):
    """Sign an empty batch."""
    return session.send_event_batch([], frame_id=frame_id, now_ns=time.time_ns())


async def next_id(connection, session):
    """Return the id that the next ack names."""
    return session.receive(await connection.receive(), now_ns=time.time_ns()).acked_id


def test_frames_cross_in_both_directions(brain, credentials):
    """Batches go in, acks come out."""

    async def scenario():
        connection, session = await greeted(MemoryTransport(brain, credentials.token), credentials)
        await connection.send(batch(session, "a"))
        await connection.send(batch(session, "b"))
        assert [await next_id(connection, session) for _ in range(2)] == ["a", "b"]
        await connection.close()
        await connection.close()

    run(scenario())
    assert brain.agents()[0].state == "offline"


def test_a_waiting_receive_wakes(brain, credentials):
    """A command issued by another thread and a delayed ack arrive by themselves."""

    async def scenario():
        connection, session = await greeted(MemoryTransport(brain, credentials.token), credentials)
        receiving = asyncio.create_task(connection.receive())
        await asyncio.sleep(0)
        await asyncio.to_thread(brain.issue, "rate_limit", task_name="n", rate="1")
        session.receive(await receiving, now_ns=time.time_ns())
        brain.faults.delay_acks(0.01)
        await connection.send(batch(session, "a"))
        assert await next_id(connection, session) == "a"

    run(scenario())


def test_the_brain_s_close_reaches_both_directions(brain, credentials):
    """After a close nothing is sent or received any more."""

    async def scenario():
        connection, _ = await greeted(MemoryTransport(brain, credentials.token), credentials)
        brain.operator.disconnect(4003, "revoked")
        for call in (connection.receive(), connection.receive(), connection.send(b"x")):
            with pytest.raises(ConnectionLost) as lost:
                await call
            assert (lost.value.code, lost.value.reason) == (4003, "revoked")
        # A thread may still have news for a loop that is gone.
        return connection

    connection = run(scenario())
    connection._wake()


def test_an_immediate_close_shows_at_the_first_receive(brain):
    """A wrong token opens a connection that is closed already."""

    async def scenario():
        connection = await MemoryTransport(brain, lambda: "wrong").connect()
        for call in (connection.receive(), connection.send(b"x")):
            with pytest.raises(ConnectionLost, match="4401"):
                await call
        await connection.close()

    run(scenario())


def test_nobody_may_be_listening(brain, credentials):
    """A refusing transport fails to connect."""
    transport = MemoryTransport(brain, credentials.token)
    transport.is_refusing = True
    with pytest.raises(ConnectFailed):
        run(transport.connect())


def test_refusals_are_used_up(brain, credentials):
    """The next connects fail, with the status asked for; then it works."""
    transport = FaultyTransport(MemoryTransport(brain, credentials.token))
    transport.refuse(2, http_status=503)
    for _ in range(2):
        with pytest.raises(ConnectFailed) as refusal:
            run(transport.connect())
        assert refusal.value.http_status == 503
    run(greeted(transport, credentials))
    assert transport.connects == 3


def test_lost_sends_never_arrive(brain, credentials):
    """The sender does not notice; later messages arrive."""

    async def scenario():
        transport = FaultyTransport(MemoryTransport(brain, credentials.token))
        connection, session = await greeted(transport, credentials)
        transport.lose_sends()
        await connection.send(batch(session, "a"))
        await connection.send(batch(session, "b"))
        assert await next_id(connection, session) == "b"
        await connection.close()

    run(scenario())


def test_corrupt_receives_differ_by_a_bit(brain, credentials):
    """One byte of the message is changed."""

    async def scenario():
        transport = FaultyTransport(MemoryTransport(brain, credentials.token))
        connection, session = await greeted(transport, credentials)
        brain.faults.repeat_acks()
        transport.corrupt_receives()
        await connection.send(batch(session, "a"))
        broken, whole = await connection.receive(), await connection.receive()
        assert len(broken) >= len(whole) - 2
        assert session.receive(whole, now_ns=time.time_ns()).acked_id == "a"

    run(scenario())


@pytest.mark.parametrize("side", ["sends", "receives"])
def test_a_cut_breaks_the_connection_for_good(brain, credentials, side):
    """After so many messages both directions raise 1006; a new connection works."""

    async def scenario():
        transport = FaultyTransport(MemoryTransport(brain, credentials.token))
        connection, session = await greeted(transport, credentials)
        getattr(transport, f"cut_after_{side}")(1)
        await connection.send(batch(session, "a"))
        await connection.receive()
        beyond = connection.send(batch(session, "b")) if side == "sends" else connection.receive()
        with pytest.raises(ConnectionLost, match="1006"):
            await beyond
        for call in (connection.receive(), connection.send(b"x")):
            with pytest.raises(ConnectionLost, match="1006"):
                await call
        await greeted(transport, credentials)

    run(scenario())
