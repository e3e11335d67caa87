"""An uploader, its buffer, and the brain's session to read its frames with."""

from __future__ import annotations

import itertools

from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.uploader import Uploader
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.received import BatchAcked
from z4j_otel.wire.session import Role, Session

__all__ = ["Scene"]

KEY = bytes(32)
IDS = ("1" * 8, "2" * 8, "3" * 8)


class StepClock:
    """A clock that only moves when told."""

    def __init__(self):
        self.now_s = 0.0

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return 1_700_000_000_000_000_000 + int(self.now_s * 1e9)

    def monotonic_s(self):
        """Return the monotonic clock, seconds."""
        return self.now_s


class Scene:
    """An uploader, its buffer, and the brain's session to read its frames with."""

    def __init__(self, max_frame_bytes=1_048_576):
        self.clock = StepClock()
        self.buffer = MemoryBuffer()
        self.ledger = Ledger(buffer_id="b", runtime_id="r")
        count = itertools.count()
        self.uploader = Uploader(
            self.buffer, self.ledger, self.clock, new_id=lambda prefix: f"{prefix}_{next(count)}"
        )
        self.connect(max_frame_bytes)

    def connect(self, max_frame_bytes=1_048_576):
        """Open a connection."""
        self.session, self.brain = Session(Role.AGENT, KEY), Session(Role.BRAIN, KEY)
        now_ns = self.clock.now_ns()
        hello = self.session.send_hello(Hello(agent_version="1", framework="bare"), frame_id="h")
        self.brain.receive(hello, now_ns=now_ns)
        ack = HelloAck(
            agent_id=IDS[0],
            project_id=IDS[1],
            session_id=IDS[2],
            max_frame_size_bytes=max_frame_bytes,
        )
        self.session.receive(
            self.brain.send_hello_ack(ack, frame_id="a", now_ns=now_ns), now_ns=now_ns
        )

    def send(self):
        """Send, and let the other side read it."""
        frames = self.uploader.next_frames(self.session)
        return [self.brain.receive(frame, now_ns=self.clock.now_ns()) for frame in frames]

    def send_all(self):
        """Send until there is nothing to do."""
        return list(itertools.chain.from_iterable(iter(self.send, [])))

    def ack(self, frame, rejected=0):
        """Ack a batch."""
        count = len(frame.events)
        return self.uploader.acked(BatchAcked(frame.frame_id, count, count - rejected, rejected))

    @property
    def waiting(self):
        """Return how many entries the buffer holds."""
        return self.buffer.stats().entries
