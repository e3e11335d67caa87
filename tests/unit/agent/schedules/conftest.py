"""A mirror of one scheduler, on a buffer in memory."""

from __future__ import annotations

import json

import pytest

from z4j_otel.agent.schedules.mirror import ScheduleMirror
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.redaction import Redactor
from z4j_otel.testing.clocks import ManualClock

from .scripted import Adapter, MemoryScheduler, activation, schedule


class Scene:
    """Everything between a scheduler and the buffer."""

    def __init__(self, *entries):
        self.scheduler = MemoryScheduler(*entries)
        self.native = NativeSchedules({"celery": Adapter(self.scheduler)}, Redactor())
        self.buffer = MemoryBuffer()
        self.clock = ManualClock()
        self.woken = 0
        self.frame_bytes = 1_000_000
        self.mirror = self.new_mirror()

    def new_mirror(self):
        """Return a mirror on the same buffer, as the next life of the agent has it."""
        return ScheduleMirror(
            self.native,
            self.buffer,
            self.clock,
            on_stored=self._wake,
            frame_bytes=lambda: self.frame_bytes,
        )

    def _wake(self):
        self.woken += 1

    def activate(self, epoch=1):
        """Let the brain open an epoch."""
        self.mirror.offer(activation(epoch))
        return self.mirror.activate(activation(epoch))

    def told(self):
        """Return the events that were stored since the last call."""
        entries = self.buffer.lease(1000, max_bytes=10_000_000, now_ns=self.clock.now_ns())
        assert all(entry.kind is EntryKind.SCHEDULE for entry in entries)
        return [json.loads(entry.body) for entry in entries]


@pytest.fixture
def scene():
    """A scheduler with two entries."""
    return Scene(schedule("a"), schedule("b", kwargs={"to": "jane@example.com"}))
