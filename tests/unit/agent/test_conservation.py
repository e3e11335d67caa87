"""The equation: its terms, and what they are made of.

That it holds whoever dies when is tried in ``tests/model/test_ledger_model.py``.
"""

from __future__ import annotations

import pytest

from z4j_otel.agent.books import Books
from z4j_otel.agent.conservation import Conservation, weigh
from z4j_otel.buffer.base import BufferStats, DropReason, EntryKind
from z4j_otel.journal.format import Heard, WriterId

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
ONE = WriterId(1, 1)


def stats(**members: object) -> BufferStats:
    """Return a buffer's state."""
    return BufferStats(entries=0, bytes=0, oldest_ns=None, **members)


def books_of(heard: Heard, *, unnamed_damage: int = 0, is_final: bool = False) -> Books:
    """Return books that have one writer."""
    books = Books()
    books.keep(books.book({ONE: heard}, records=heard.records, unnamed_damage=unnamed_damage), 0)
    if is_final and (booking := books.settle(0, is_final=True)) is not None:
        books.keep(booking, 0)
    return books


def test_an_empty_account_closes() -> None:
    """Nothing is nothing."""
    terms = weigh(Books(), stats())
    assert (terms, terms.closes) == (Conservation(), True)


def test_every_term_has_its_place() -> None:
    """What was dropped by writers, by damage and by the buffer is one side's sum."""
    books = books_of(Heard(6, 10, {"journal_full": 2, "from_later_version": 1}), is_final=True)
    state = stats(
        dropped={(EVENT, DropReason.BUFFER_FULL): 1, (RESULT, DropReason.TOO_LARGE): 1},
        held={EVENT: 2, RESULT: 1},
        stored={EVENT: 6, RESULT: 4},
        acked={EVENT: 3, RESULT: 2},
    )
    terms = weigh(books, state)
    assert (terms.captured, terms.journaled, terms.imported) == (10, 7, 6)
    assert terms.dropped == {
        (EVENT, DropReason.BUFFER_FULL): 1,
        (RESULT, DropReason.TOO_LARGE): 1,
        (EVENT, DropReason.JOURNAL_FULL): 2,
        (EVENT, DropReason.UNENCODABLE): 1,
        (EVENT, DropReason.JOURNAL_CORRUPT): 1,
    }
    assert (terms.unaccounted, terms.results_unaccounted, terms.closes) == (0, 0, True)
    shown = terms.describe()
    assert (shown["dropped"], shown["pending"], shown["closes"]) == (5, 2, True)
    assert shown["dropped_by_reason"]["command_result.too_large"] == 1


def test_what_nobody_accounts_for_shows() -> None:
    """An entry that vanished from the buffer opens the equation."""
    terms = weigh(books_of(Heard(3, 3)), stats(held={EVENT: 2}, stored={EVENT: 3}))
    assert (terms.unaccounted, terms.closes) == (1, False)
    results = weigh(Books(), stats(stored={RESULT: 1}))
    assert (results.results_unaccounted, results.closes) == (1, False)


@pytest.mark.parametrize(
    ("heard", "places", "is_final", "captured", "late", "damaged"),
    [
        (Heard(2, 3), 0, False, 3, 1, 0),
        (Heard(2, 3), 0, True, 3, 0, 1),
        (Heard(2, 3), 1, False, 3, 0, 1),
        (Heard(2, 2), 1, False, 3, 0, 1),
        (Heard(2, 6), 1, False, 6, 3, 1),
        (Heard(2, 6), 1, True, 6, 0, 4),
    ],
)
def test_damage_is_counted_once(
    heard: Heard, places: int, is_final: bool, captured: int, late: int, damaged: int
) -> None:
    """A gap and the place that explains it are one loss; a place without a gap is one, too."""
    books = books_of(heard, unnamed_damage=places, is_final=is_final)
    terms = weigh(books, stats(held={EVENT: 2}, stored={EVENT: 2}))
    assert (terms.captured, terms.late) == (captured, late)
    assert terms.dropped.get((EVENT, DropReason.JOURNAL_CORRUPT), 0) == damaged
    assert terms.closes
