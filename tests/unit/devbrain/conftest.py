"""An embedded brain on a clock of its own, and a hand-made agent to talk to it."""

from __future__ import annotations

from itertools import count

import pytest

from z4j_otel.clock import iso_utc
from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.testing.clocks import ManualClock
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import Heartbeat, Hello
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import decode_secret

NS = 1_000_000_000
TOKENS = ["cancel_task", "retry_task", "retry_by_reference_v1", "pool_grow"]


class HandMadeAgent:
    """The agent's half of a conversation, one call per frame."""

    def __init__(self, brain, credentials, **hello):
        self.brain, self.clock = brain, brain.clock
        self.credentials = credentials
        self.connection = brain.open(credentials.token)
        self.session = Session(Role.AGENT, decode_secret(credentials.hmac_secret))
        self.ids = count(1)
        about = {"agent_version": "1", "framework": "bare", "engines": ["celery"]}
        about["capabilities"] = {"celery": TOKENS}
        self.hello = Hello(**{**about, **hello})

    def connect(self):
        """Say hello and return what came back."""
        return self.tell(self.session.send_hello(self.hello, frame_id="hello_1"))

    def tell(self, data):
        """Hand bytes to the brain and read its answers."""
        return self.read(self.connection.receive(data))

    def read(self, frames=None):
        """Read frames, by default those that have become due."""
        frames = self.connection.drain() if frames is None else frames
        return [self.session.receive(frame, now_ns=self.clock.now_ns()) for frame in frames]

    def batch_bytes(self, *events, frame_id=None):
        """Sign a batch."""
        return self.session.send_event_batch(
            [canonical.encode(event) for event in events],
            frame_id=frame_id or f"ev_{next(self.ids)}",
            now_ns=self.clock.now_ns(),
        )

    def send(self, *events, frame_id=None):
        """Send a batch and return what came back."""
        return self.tell(self.batch_bytes(*events, frame_id=frame_id))

    def heartbeat(self, **payload):
        """Send a heartbeat."""
        now_ns = self.clock.now_ns()
        frame = self.session.send_heartbeat(Heartbeat(**payload), frame_id="hb_1", now_ns=now_ns)
        return self.tell(frame)

    def finish(self, command_id, status="success", **members):
        """Send a command's result."""
        payload = canonical.encode({"status": status, **members})
        now_ns = self.clock.now_ns()
        return self.tell(self.session.send_command_result(command_id, payload, now_ns=now_ns))

    def event(self, kind, task_id="t-1", after_s=0.0, **data):
        """Make an event that happened ``after_s`` from now."""
        return {
            "kind": kind,
            "engine": "celery",
            "task_id": task_id,
            "occurred_at": iso_utc(self.clock.now_ns() + int(after_s * NS)),
            "data": data,
        }


@pytest.fixture
def clock():
    """Return a clock that moves only when told."""
    return ManualClock()


@pytest.fixture
def make_brain(clock):
    """Return a maker of brains on the test's clock."""
    return lambda **settings: DevBrain(clock, BrainSettings(**settings))


@pytest.fixture
def brain(make_brain):
    """Return a brain with default settings."""
    return make_brain()


@pytest.fixture
def make_agent():
    """Return a maker of agents that have not said hello yet."""

    def make(brain, credentials=None, **hello):
        return HandMadeAgent(brain, credentials or brain.mint_agent(), **hello)

    return make


@pytest.fixture
def agent(brain, make_agent):
    """Return an agent that is connected to the brain."""
    agent = make_agent(brain, worker_id="w-1")
    agent.connect()
    return agent
