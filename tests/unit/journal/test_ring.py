"""The memory that bridges a disk that takes nothing."""

from __future__ import annotations

from z4j_otel.journal.ring import Ring


def test_records_leave_in_the_order_they_came() -> None:
    """The ring is a queue."""
    ring = Ring()
    assert [ring.push(b"a"), ring.push(b"b")] == [0, 0]
    assert ring.oldest() == b"a"
    ring.pop()
    assert (ring.oldest(), len(ring)) == (b"b", 1)


def test_the_oldest_leave_when_there_are_too_many() -> None:
    """The number of records is bounded, and what leaves is told."""
    ring = Ring(max_records=2)
    assert [ring.push(b"a"), ring.push(b"b"), ring.push(b"c")] == [0, 0, 1]
    assert ring.oldest() == b"b"


def test_the_oldest_leave_when_they_are_too_large() -> None:
    """The bytes are bounded, even against the newest record."""
    ring = Ring(max_bytes=10)
    assert [ring.push(b"1234"), ring.push(b"5678"), ring.push(b"9" * 11)] == [0, 0, 3]
    assert len(ring) == 0
    assert ring.push(b"1234567890") == 0
