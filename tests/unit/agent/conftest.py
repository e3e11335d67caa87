"""A loop that never waits, and a brain that follows a script, for the agent's tests."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.virtual_time import EPOCH_NS

from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.errors import ConnectionLost, RemoteWireError
from z4j_otel.wire.frames import CommandPayload, ErrorPayload, HelloAck
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    HeartbeatReceived,
    HelloReceived,
)
from z4j_otel.wire.session import Role, Session

KEY_OF_TESTS = bytes(range(32))


class ScriptedBrain:
    """A transport whose other end is the real session code and a script."""

    def __init__(self, clock, key=KEY_OF_TESTS):
        self.clock = clock
        self.key = key
        self.failures = []
        """Raised by the next calls of connect, one each."""
        self.answers_hello = True
        self.acks_batches = True
        self.max_frame_bytes = 1_048_576
        self.heartbeat_s = 10
        self.close_after_hello = None
        self.links = []
        self.received = []

    async def connect(self):
        """Open a connection."""
        if self.failures:
            raise self.failures.pop(0)
        link = BrainLink(self)
        self.links.append(link)
        return link

    @property
    def link(self):
        """Return the newest connection."""
        return self.links[-1]

    def of(self, kind):
        """Return all frames of a kind, from all connections."""
        return [frame for frame in self.received if isinstance(frame, kind)]

    @property
    def events(self):
        """All events of all batches, in order."""
        return [event for batch in self.of(BatchReceived) for event in batch.events]

    @property
    def batches(self):
        """The batches that held events."""
        return [batch for batch in self.of(BatchReceived) if batch.events]


class BrainLink:
    """One connection, seen from the agent; the script speaks through its methods."""

    def __init__(self, brain):
        self._brain = brain
        self.session = Session(Role.BRAIN, brain.key)
        self.closed_with = None
        self.sent = []
        self._lost = None
        self._inbox = asyncio.Queue()

    async def send(self, data):
        """Send, and let the other side read it."""
        if self._lost is not None:
            raise self._lost
        self.sent.append(data)
        try:
            frame = self.session.receive(data, now_ns=self._brain.clock.now_ns())
        except RemoteWireError:
            self.drop(4403)
            return
        self._brain.received.append(frame)
        self._react(frame)

    def _react(self, frame):
        brain = self._brain
        if isinstance(frame, HelloReceived) and brain.answers_hello:
            ack = HelloAck(
                brain_version="1.13.0",
                agent_id="11111111-1111-4111-8111-111111111111",
                project_id="22222222-2222-4222-8222-222222222222",
                session_id="33333333-3333-4333-8333-333333333333",
                heartbeat_interval_seconds=brain.heartbeat_s,
                max_frame_size_bytes=brain.max_frame_bytes,
            )
            self.say(self.session.send_hello_ack(ack, frame_id="hack", now_ns=self.now_ns()))
            if brain.close_after_hello is not None:
                self.drop(brain.close_after_hello)
        elif isinstance(frame, BatchReceived) and brain.acks_batches:
            self.ack(frame)

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return self._brain.clock.now_ns()

    def say(self, data):
        """Put bytes on the way to the agent."""
        self._inbox.put_nowait(data)

    def ack(self, batch, rejected=0):
        """Ack a batch."""
        count = len(batch.events)
        self.say(
            self.session.send_event_batch_ack(
                batch.frame_id,
                count,
                count - rejected,
                rejected,
                frame_id="eba",
                now_ns=self.now_ns(),
            )
        )

    def command(self, command_id="c-1", action="retry_task", **members):
        """Send a command."""
        payload = CommandPayload(action=action, **members)
        self.say(self.session.send_command(command_id, payload, now_ns=self.now_ns()))

    def complain(self, code, *, fatal):
        """Send an error frame."""
        payload = ErrorPayload(code=code, message="m", fatal=fatal)
        self.say(self.session.send_error(payload, frame_id="e", now_ns=self.now_ns()))

    def drop(self, code, reason=""):
        """End the connection with a close code."""
        self._lost = ConnectionLost(code, reason)
        self._inbox.put_nowait(self._lost)

    async def receive(self):
        """Wait for the next message."""
        item = await self._inbox.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self, code=1000, reason=""):
        """Close; remembered for the test."""
        self.closed_with = code
        self._lost = self._lost or ConnectionLost(code, reason)


class FakeEngine:
    """An adapter that does what it is told."""

    def __init__(self, name="celery", result=None, capabilities=("retry_task", "submit_task")):
        self.name = name
        self.result = {"new_task_id": "t-2"} if result is None else result
        self.can = list(capabilities)
        self.commands = []
        self.depths = {"celery": 3}
        self.details = {"w@host": {"stats": {"pid": 7}}}

    def capabilities(self):
        """Return the tokens."""
        return self.can

    def execute(self, command):
        """Remember the command and do what the test wants."""
        self.commands.append(command)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def queue_depths(self):
        """Return or raise what the test wants."""
        if isinstance(self.depths, Exception):
            raise self.depths
        return self.depths

    def worker_details(self):
        """Return what the test wants."""
        return self.details


def event_bytes(number, size=0):
    """Canonical bytes of a small event; ``size`` adds that many bytes."""
    event = {"data": {"x": "y" * size}, "engine": "celery", "id": str(number), "kind": "k"}
    return json.dumps(event, separators=(",", ":")).encode()


def fill(buffer, count, *, size=0, kind=EntryKind.EVENT, start=0):
    """Append events to a buffer."""
    bodies = [(kind, event_bytes(n, size)) for n in range(start, start + count)]
    buffer.append(bodies, now_ns=EPOCH_NS)


@pytest.fixture
def brain(clock):
    """Return a brain that accepts everything until told otherwise."""
    return ScriptedBrain(clock)


@pytest.fixture
def buffer():
    """Return an empty buffer."""
    return MemoryBuffer()


@pytest.fixture
def ledger():
    """Return a fresh ledger."""
    return Ledger(buffer_id="b", runtime_id="r")


@pytest.fixture
def kit():
    """Return this module's doubles, which test modules cannot import."""
    return Kit


class Kit:
    """The names of this module that tests use."""

    KEY = KEY_OF_TESTS
    EPOCH_NS = EPOCH_NS
    AgentStatusReceived = AgentStatusReceived
    BatchReceived = BatchReceived
    CommandAcked = CommandAcked
    CommandFinished = CommandFinished
    FakeEngine = FakeEngine
    HeartbeatReceived = HeartbeatReceived
    HelloReceived = HelloReceived
    ScriptedBrain = ScriptedBrain
    event_bytes = staticmethod(event_bytes)
    fill = staticmethod(fill)
