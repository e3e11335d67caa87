"""Real sockets that break: at any byte, in silence, or by never reading."""

from __future__ import annotations

import asyncio
import time

import pytest

from z4j_otel.agent.braintime import BrainTime
from z4j_otel.agent.connection import BrainConnection
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.uploader import Uploader
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.clock import SystemClock, iso_utc
from z4j_otel.devbrain.brain import BrainSettings
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.errors import ConnectionLost
from z4j_otel.ids import new_event_id
from z4j_otel.testing import FaultyProxy
from z4j_otel.transport.websocket import WebSocketTransport
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import decode_secret

EVENTS = 60
LONG_S = 20.0


class Line:
    """The way from a buffer to the embedded brain, with a proxy in between."""

    def __init__(self, brain, proxy, **transport):
        self.brain, self.proxy = brain, proxy
        self.buffer, clock = MemoryBuffer(), SystemClock()
        self.uploader = Uploader(self.buffer, Ledger(buffer_id="b", runtime_id="r"), clock)
        self.time = BrainTime(clock)
        self.transport = WebSocketTransport(proxy.url, brain.credentials.token, **transport)
        self.key = decode_secret(brain.credentials.hmac_secret)

    def heartbeat(self):
        """Say nothing of interest."""
        return Heartbeat()

    def ask(self):
        """Ask nobody."""

    def status(self, connected_at_ns):
        """Say nothing of interest."""
        return AgentStatus()

    def registry(self, *, is_first):
        """Say nothing of interest."""
        return []

    def add(self, count=EVENTS):
        """Let events wait."""
        for _ in range(count):
            event = {
                "id": new_event_id(),
                "kind": "task.received",
                "engine": "celery",
                "task_id": new_event_id(),
                "occurred_at": iso_utc(time.time_ns()),
                "data": {"args": ["x" * 100]},
            }
            self.buffer.append([(EntryKind.EVENT, canonical.encode(event))], now_ns=0)

    async def connect(self, until, timeout_s=LONG_S, heartbeat_s=0.2):
        """Run one connection until it ends, or a condition holds; return how it ended."""
        connection = BrainConnection(
            self.transport,
            Session(Role.AGENT, self.key),
            Hello(agent_version="1", framework="bare", worker_id="w"),
            uploader=self.uploader,
            reports=self,
            on_command=lambda _: None,
            on_proven=lambda: None,
            on_stable=lambda: None,
            time=self.time,
            heartbeat_s=heartbeat_s,
        )
        task = asyncio.ensure_future(connection.run())
        deadline = time.monotonic() + timeout_s
        while not task.done() and not until() and time.monotonic() < deadline:
            await asyncio.wait([task], timeout=0.01)
        ended = task.result() if task.done() else None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ended

    @property
    def is_empty(self):
        """Whether everything was acknowledged."""
        return not self.buffer.stats().entries

    def check(self, count):
        """So many events are at the brain, each once."""
        ids = [event.task_id for event in self.brain.brain.events()]
        assert len(ids) == len(set(ids)) == count


@pytest.fixture
def brain():
    """Run an embedded brain that wants a heartbeat every second."""
    with BrainThread(settings=BrainSettings(heartbeat_interval_s=1)) as brain:
        yield brain


@pytest.fixture
def proxy(brain):
    """Put a proxy before it."""
    with FaultyProxy(int(brain.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.mark.parametrize("direction", ["up", "down"])
def test_cut_in_the_middle_of_anything(brain, proxy, direction):
    """The connection is reset after so and so many bytes, in steps through the whole talk."""
    line = Line(brain, proxy)
    cuts = [*range(1, 400, 57), *range(400, 30_000, 1409)]
    total = 0

    async def scene():
        nonlocal total
        for cut in cuts:
            line.add()
            total += EVENTS
            proxy.cut_after(**{direction: cut})
            ended = await line.connect(lambda: line.is_empty, timeout_s=3)
            assert ended is None or not isinstance(ended.error, AssertionError)
        proxy.heal()
        await line.connect(lambda: line.is_empty)

    asyncio.run(scene())
    line.check(total)
    assert line.is_empty
    assert proxy.connections >= len(cuts)


def test_peer_that_vanished_is_noticed(brain, proxy):
    """Half-open: nothing is closed and nothing answers; pings find out, nothing is lost."""
    line = Line(brain, proxy, ping_interval_s=0.2, ping_timeout_s=0.3)

    async def scene():
        line.add()
        waiting = asyncio.ensure_future(line.connect(lambda: False))
        while not line.is_empty:
            await asyncio.wait([waiting], timeout=0.01)
        proxy.vanish()
        line.add()
        ended = await waiting
        assert isinstance(ended.error, ConnectionLost)
        assert "ping timeout" in ended.error.reason
        proxy.heal()
        await line.connect(lambda: line.is_empty)

    asyncio.run(scene())
    line.check(2 * EVENTS)


def test_closing_does_not_wait_for_a_peer_that_does_not_read(brain, proxy):
    """With the buffers of both kernels full, a close takes its time limit and no more."""
    line = Line(brain, proxy, close_timeout_s=0.3)

    async def scene():
        connection = await line.transport.connect()
        proxy.stall()

        async def flood():
            while True:
                await connection.send(b"x" * 1_000_000)

        flooding = asyncio.ensure_future(flood())
        await asyncio.wait([flooding], timeout=1)
        assert not flooding.done()
        flooding.cancel()
        started = time.monotonic()
        await connection.close()
        return time.monotonic() - started

    assert asyncio.run(scene()) < 3


def test_heartbeats_keep_a_connection_through_an_impatient_proxy(brain, proxy):
    """A proxy that cuts what is idle for two seconds never gets to."""
    line = Line(brain, proxy)
    proxy.cut_idle(2)
    asyncio.run(line.connect(lambda: False, timeout_s=5))
    assert proxy.connections == 1


def test_proxy_more_impatient_than_heartbeats(brain, proxy):
    """Where heartbeats are too rare the connection is cut, and the next one delivers."""
    line = Line(brain, proxy)
    proxy.cut_idle(0.3)

    async def scene():
        ended = await line.connect(lambda: False, heartbeat_s=30)
        assert isinstance(ended.error, ConnectionLost)
        line.add()
        await line.connect(lambda: line.is_empty)

    asyncio.run(scene())
    line.check(EVENTS)


def test_brain_that_hangs_up_at_once(brain, proxy):
    """A load balancer without a brain behind it is told as such."""
    line = Line(brain, proxy)
    proxy.refuse()
    ended = asyncio.run(line.connect(lambda: False))
    assert ended.error.cause == "closed"
