"""Values of the buffer's port."""

from __future__ import annotations

from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind
from z4j_otel.journal import writer


def test_stored_numbers_do_not_change() -> None:
    """Databases in the field hold these."""
    assert [kind.value for kind in EntryKind] == [0, 1, 2]


def test_the_journals_reasons_are_known() -> None:
    """What a writer counts can be passed on under the same text."""
    reasons = [DropReason(text) for text in (writer.FULL, writer.UNWRITABLE, writer.TOO_LARGE)]
    expected = [DropReason.JOURNAL_FULL, DropReason.JOURNAL_UNWRITABLE, DropReason.TOO_LARGE]
    assert reasons == expected


def test_stats_without_losses_are_empty() -> None:
    """Two stats do not share their counters."""
    assert BufferStats(0, 0, None).dropped is not BufferStats(0, 0, None).dropped
