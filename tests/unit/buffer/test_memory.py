"""The buffer in memory; what it shares with SQLite is in the conformance suite."""

from __future__ import annotations

import pytest

from z4j_otel.buffer import memory
from z4j_otel.buffer.base import COMMAND_AGE_S, BufferStats, DropReason, EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.errors import BufferError_

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
NOTHING = dict.fromkeys(EntryKind, 0)


def test_a_life_in_memory() -> None:
    """Append, lease, release, expire, ack, evict and refuse, without a file."""
    buffer = MemoryBuffer(max_events=2, max_bytes=10)
    buffer.append([(EVENT, b"1"), (EVENT, b"2"), (EVENT, b"x" * 11)], now_ns=1)
    first, second = buffer.lease(9, max_bytes=9, now_ns=0, hold_s=1.0)
    assert buffer.lease(1, max_bytes=9, now_ns=0) == []
    buffer.release([second.sequence])
    assert buffer.lease(1, max_bytes=9, now_ns=0) == [second]
    buffer.append([(EVENT, b"3")], now_ns=2, positions={"a": "1", "b": ""})
    buffer.ack([first.sequence, second.sequence])
    expected = {(EVENT, DropReason.TOO_LARGE): 1, (EVENT, DropReason.BUFFER_FULL): 1}
    assert buffer.stats() == BufferStats(
        0,
        0,
        None,
        expected,
        held={**NOTHING},
        stored={**NOTHING, EVENT: 4},
        acked={**NOTHING, EVENT: 2},
    )
    assert buffer.positions() == {"a": "1"}


def test_events_leave_before_results() -> None:
    """The older result stays."""
    buffer = MemoryBuffer(max_events=1)
    buffer.append([(EntryKind.COMMAND_RESULT, b"r"), (EVENT, b"1"), (EVENT, b"2")], now_ns=0)
    assert [entry.body for entry in buffer.lease(2, max_bytes=9, now_ns=0)] == [b"r"]


def test_a_lease_needs_a_limit() -> None:
    """Asking for nothing is a mistake."""
    with pytest.raises(ValueError, match="limit"):
        MemoryBuffer().lease(0, max_bytes=1, now_ns=0)


def test_a_lease_ends_at_its_bytes() -> None:
    """The second entry would pass the limit."""
    buffer = MemoryBuffer()
    buffer.append([(EVENT, b"123"), (EVENT, b"456")], now_ns=0)
    assert len(buffer.lease(9, max_bytes=5, now_ns=0)) == 1


def test_losses_are_counted() -> None:
    """Dropped and reported ones; a count of nothing is no count."""
    buffer = MemoryBuffer()
    buffer.append([(EVENT, b"1")], now_ns=0)
    buffer.drop([1], DropReason.REJECTED)
    buffer.count_dropped(EVENT, DropReason.REJECTED, 0)
    assert buffer.stats().dropped == {(EVENT, DropReason.REJECTED): 1}
    assert buffer.stats().oldest_ns is None


def test_commands_are_remembered_within_bounds(request: pytest.FixtureRequest) -> None:
    """By age and by number."""
    request.addfinalizer(lambda kept=memory.COMMANDS_KEPT: setattr(memory, "COMMANDS_KEPT", kept))
    memory.COMMANDS_KEPT = 2
    buffer = MemoryBuffer()
    assert buffer.begin_command("a", 0)
    assert not buffer.begin_command("a", 0)
    assert buffer.recall_result("b") is None
    for number, key in enumerate("bc"):
        buffer.remember_result(key, key.encode(), now_ns=number)
    assert [buffer.recall_result(key) for key in "abc"] == [None, b"b", b"c"]
    assert buffer.begin_command("late", int(COMMAND_AGE_S + 9) * 10**9)
    assert buffer.recall_result("c") is None


def test_a_closed_buffer_refuses() -> None:
    """Even what needs no storage."""
    buffer = MemoryBuffer()
    buffer.close()
    with pytest.raises(BufferError_, match="closed"):
        buffer.positions()
