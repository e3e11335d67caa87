"""An agent, the embedded brain and what lies between them, in virtual time."""

from __future__ import annotations

import asyncio
import json
import uuid

from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.loop import AgentLoop
from z4j_otel.agent.parts import Parts
from z4j_otel.buffer.base import EntryKind
from z4j_otel.clock import iso_utc
from z4j_otel.commands import CommandResult, CommandStatus
from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.redaction import Redactor
from z4j_otel.testing import FaultyTransport, MemoryTransport
from z4j_otel.wire.signing import decode_secret

__all__ = ["HOUR", "Field"]

NS = 1_000_000_000
HOUR = 3600


class OtherClock:
    """A clock that differs from another by a fixed time."""

    def __init__(self, clock, offset_s):
        self.clock, self.offset_s = clock, offset_s

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return self.clock.now_ns() + int(self.offset_s * NS)

    def monotonic_s(self):
        """Return the monotonic clock, seconds."""
        return self.clock.monotonic_s()


class Journal:
    """A journal whose records are in the buffer already."""

    def __init__(self):
        self.fresh = 0

    def import_pending(self, now_ns):
        """Tell how many there are."""
        fresh, self.fresh = self.fresh, 0
        return fresh

    def close(self):
        """Do nothing."""


class Field:
    """An agent, a brain and what lies between them."""

    def __init__(self, loop, clock, buffer, ledger, kit):
        self.loop, self.clock, self.buffer, self.ledger = loop, clock, buffer, ledger
        self.machine_clock = OtherClock(clock, 0)
        self.kit = kit
        self.ids = []
        self.executed = []
        self.journal = Journal()
        self.build()

    def build(self, **settings):
        """Make a brain with these settings."""
        self.brain = DevBrain(self.clock, BrainSettings(**settings))
        self.credentials = self.brain.mint_agent()
        self.token = self.credentials.token
        self.memory = MemoryTransport(self.brain, lambda: self.token)
        self.network = FaultyTransport(self.memory)
        return self

    def add(self, count, size=0):
        """Let so many events wait in the buffer."""
        at = iso_utc(self.clock.now_ns())
        self.journal.fresh += count
        for _ in range(count):
            event = {
                "data": {"blob": "x" * size},
                "engine": "celery",
                "id": str(uuid.uuid4()),
                "kind": "task.received",
                "occurred_at": at,
                "task_id": f"t-{len(self.ids)}",
            }
            self.ids.append(event["task_id"])
            body = json.dumps(event, separators=(",", ":"), sort_keys=True).encode()
            self.buffer.append([(EntryKind.EVENT, body)], now_ns=self.clock.now_ns())

    def _parts(self):
        hello = HelloBuilder(started_at_ns=self.clock.now_ns())
        hello.add_engine(self.kit.FakeEngine())
        return Parts(
            key=decode_secret(self.credentials.hmac_secret),
            heartbeat_s=30,
            transport=self.network,
            buffer=self.buffer,
            importer=self.journal,
            engines={},
            hello=hello,
            ledger=self.ledger,
            redactor=Redactor(),
            clock=self.machine_clock,
            random=lambda: 0.0,
            run_command=self._execute,
            announce=lambda: None,
        )

    def _execute(self, command):
        self.executed.append(command.id)
        return CommandResult(CommandStatus.SUCCESS, {"x": 1})

    def play(self, seconds, *script):
        """Let the agent live for a while; each entry is (moment, function)."""

        async def both():
            for moment, act in script:
                self.loop.call_at(self.loop.time() + moment, act)
            work = AgentLoop(self._parts(), on_state=lambda _: None)
            work._dispatcher._lanes._jobs = self
            task = asyncio.ensure_future(work.run())
            await asyncio.wait([task], timeout=seconds)
            self.status = work.status()
            work._stopping.set()
            await asyncio.wait([task], timeout=60)
            task.result()

        self.buffer.close = lambda: None
        self.loop.run_until_complete(both())
        return self

    def submit(self, job):
        """Run a command's job in place: threads do not know virtual time."""
        job()

    def check(self, missing=()):
        """Every event is at the brain exactly once, and in order."""
        stored = [event.task_id for event in self.brain.events()]
        assert sorted(stored) == sorted(set(self.ids) - set(missing))
        assert self.buffer.stats().entries == 0
        return self
