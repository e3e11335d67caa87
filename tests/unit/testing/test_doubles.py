"""Small real implementations of ports."""

from __future__ import annotations

from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.testing.doubles import InMemoryBuffer, RecordingSink


def record(kind, task_id):
    """Make a record."""
    return LifecycleRecord(kind, TaskFacts("celery", task_id, "n"), 0)


def test_a_recording_sink_keeps_records_in_order():
    """What was emitted can be looked at, by task or as a whole."""
    sink = RecordingSink()
    sink.emit(record(EventKind.TASK_SENT, "a"))
    sink.emit(record(EventKind.TASK_STARTED, "b"))
    assert sink.kinds() == ["task.sent", "task.started"]
    assert sink.kinds("b") == ["task.started"]
    sink.clear()
    assert sink.records == []


def test_the_buffer_in_memory_is_the_real_one():
    """There is one implementation, not a second one for tests."""
    assert InMemoryBuffer is MemoryBuffer
