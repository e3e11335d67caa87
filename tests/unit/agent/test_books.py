"""The accounts of writers: numbers, losses, gaps, and who is summed up."""

from __future__ import annotations

import pytest

from z4j_otel.agent import books as books_module
from z4j_otel.agent.books import LATE_NS, MOST_WRITERS, Books, WriterAccount
from z4j_otel.journal.format import Heard, WriterId

ONE, TWO = WriterId(1, 1), WriterId(2, 2)


def stored(books: Books) -> Books:
    """Return the books as a restarted agent reads them."""
    rows: dict[str, bytes] = {}
    for name, account in books.writers.items():
        rows |= books_module.Booking(books.sums, {name: account}).encode()
    return Books(rows | books_module.Booking(books.sums).encode())


def told(books: Books, heard: dict[WriterId, Heard], now_ns: int = 0, **more: int) -> Books:
    """Book a stretch and keep it."""
    records = sum(one.records for one in heard.values())
    books.keep(books.book(heard, records=more.pop("records", records), **more), now_ns)
    return books


def test_a_writers_account_adds_up() -> None:
    """What it was given is what was read, what it told as lost, and the gap."""
    books = told(Books(), {ONE: Heard(3, 6, {"full": 1})})
    books = told(books, {ONE: Heard(2, 10, {"full": 2})})
    account = books.writers[str(ONE)]
    assert (account.known, account.imported, account.lost, account.gap) == (10, 5, {"full": 2}, 3)


def test_nothing_changes_before_it_is_kept() -> None:
    """A booking that could not be stored leaves no trace."""
    books = told(Books(), {ONE: Heard(1, 1)})
    books.book({ONE: Heard(1, 2, {"full": 1}), TWO: Heard(1, 1)}, records=2, told_twice=1)
    books.merge({}, stored=3, held=3)
    assert books.writers == {str(ONE): WriterAccount(1, 1)}
    assert (books.sums.told_twice, books.sums.adopted) == (0, 0)


def test_books_outlive_the_agent() -> None:
    """What was stored is read again, and what cannot be read begins anew."""
    books = told(Books(), {ONE: Heard(1, 4, {"full": 1})}, told_twice=1, unnamed_damage=2)
    again = stored(books)
    assert (again.writers, again.sums) == (books.writers, books.sums)
    broken = Books({"1-1": b"{", "sums": b"[]"})
    assert (broken.writers["1-1"], broken.sums.told_twice) == (WriterAccount(), 0)


def test_a_late_record_closes_its_gap() -> None:
    """Threads append out of their order; nothing is given up meanwhile."""
    books = told(Books(), {ONE: Heard(1, 2)})
    assert books.settle(LATE_NS - 1) is None
    told(books, {ONE: Heard(1, 1)}, LATE_NS)
    assert books.settle(LATE_NS * 9) is None
    assert books.writers[str(ONE)].gap == 0


@pytest.mark.parametrize(("now_ns", "is_final"), [(LATE_NS, False), (-1, False), (1, True)])
def test_a_gap_is_given_up(now_ns: int, is_final: bool) -> None:
    """After ten seconds, at a clock set back, or when no writer is left."""
    books = told(Books(), {ONE: Heard(1, 3)})
    booking = books.settle(now_ns, is_final=is_final)
    assert booking is not None
    books.keep(booking, now_ns)
    assert books.writers[str(ONE)].missing == 2
    assert books.settle(LATE_NS * 9) is None


def test_a_gap_of_an_earlier_life_is_given_up_at_once() -> None:
    """Nobody knows any more since when it has stood."""
    books = stored(told(Books(), {ONE: Heard(1, 3)}, LATE_NS * 5))
    assert books.settle(LATE_NS * 5) is not None


def test_the_writers_heard_longest_ago_are_summed_up() -> None:
    """At most 512 have accounts; the others are one sum, and their rows are deleted."""
    heard = {WriterId(n, 0): Heard(1, 3, {"full": 1}) for n in range(MOST_WRITERS)}
    books = told(Books(), heard)
    told(books, {WriterId(0, 0): Heard(1, 4)})
    booking = books.book({WriterId(9999, 0): Heard(1, 1)}, records=1)
    assert booking.closed == ["1-00000000"]
    assert booking.encode()["1-00000000"] == b""
    books.keep(booking, 0)
    sums = books.sums
    assert (sums.writers, sums.captured, sums.imported, sums.missing) == (1, 3, 1, 1)
    assert sums.lost == {"full": 1}
    assert len(books.writers) == MOST_WRITERS


@pytest.mark.parametrize("told_again", [{}, {"full": 2}, {"full": 3, "big": 1}])
def test_a_writer_that_was_summed_up_and_is_heard_again(told_again: dict[str, int]) -> None:
    """It tells its losses as totals: what the sums have of them is not counted twice."""
    books = told(Books(), {ONE: Heard(3, 5, {"full": 2})})
    told(books, {WriterId(n, 0): Heard(1, 2, {"full": 1}) for n in range(MOST_WRITERS)})
    assert str(ONE) not in books.writers
    highest = 6 + sum(told_again.values()) - 2 if told_again else 6
    books = told(stored(books), {ONE: Heard(1, highest, told_again)})
    lost = {"full": 2} | told_again
    assert books.writers[str(ONE)].lost == lost
    captured = books.sums.captured + sum(each.known for each in books.writers.values())
    imported = books.sums.imported + sum(each.imported for each in books.writers.values())
    losses = [books.sums.lost, *(each.lost for each in books.writers.values())]
    assert imported == 4 + MOST_WRITERS
    assert sum(each.get("full", 0) for each in losses) == lost["full"] + MOST_WRITERS
    assert captured == imported + sum(sum(each.values()) for each in losses)


def test_more_writers_than_accounts_in_one_stretch() -> None:
    """Some of them are summed up at once."""
    heard = {WriterId(n, 0): Heard(1, 1) for n in range(MOST_WRITERS + 3)}
    books = told(Books(), heard)
    assert (len(books.writers), books.sums.captured) == (MOST_WRITERS, 3)


def test_a_stranger_in_the_middle_of_its_numbers() -> None:
    """Its earlier records are missing, unless somebody was forgotten: then they are unknown."""
    strict = told(Books(), {ONE: Heard(1, 5)})
    assert strict.writers[str(ONE)].gap == 4
    partial = Books()
    partial.sums.is_partial = True
    told(partial, {ONE: Heard(2, 5, {"full": 1})})
    assert (partial.writers[str(ONE)].gap, partial.writers[str(ONE)].known) == (0, 3)


def test_accounts_of_a_dead_agent_are_added() -> None:
    """Sums add up, a writer that both know is one, and what is held is still to come."""
    theirs = told(Books(), {ONE: Heard(4, 4), TWO: Heard(1, 3)}, told_twice=1, records=7)
    ours = told(Books(), {ONE: Heard(2, 6, {"full": 1})})
    rows: dict[str, bytes] = {}
    for name, account in theirs.writers.items():
        rows |= books_module.Booking(theirs.sums, {name: account}).encode()
    ours.keep(ours.merge(rows, stored=6, held=3), 0)
    assert ours.writers[str(ONE)] == WriterAccount(6, 6, {"full": 1})
    assert ours.writers[str(TWO)].gap == 2
    assert (ours.sums.told_twice, ours.sums.unnamed, ours.sums.adopted) == (1, 2, -3)
    ours.keep(ours.adopt(3), 0)
    assert ours.sums.adopted == 0


def test_a_writer_that_was_summed_up_has_an_account_elsewhere() -> None:
    """Its losses, which it has told to both, are counted once."""
    ours = told(Books(), {ONE: Heard(1, 3, {"full": 2})})
    told(ours, {WriterId(n, 0): Heard(1, 1) for n in range(MOST_WRITERS)})
    theirs = told(Books(), {ONE: Heard(1, 4, {"full": 2})})
    rows = {name: books_module.msgspec.json.encode(each) for name, each in theirs.writers.items()}
    ours.keep(ours.merge(rows, stored=1, held=0), 0)
    assert ours.sums.lost["full"] == 0
    assert ours.writers[str(ONE)].lost == {"full": 2}


def test_an_orphan_holds_what_is_in_nobodys_account() -> None:
    """Whoever takes over such a buffer after its accounts were taken counts nothing twice."""
    books = Books()
    books.keep(books.merge(Books.orphan(4), stored=4, held=4), 0)
    assert books.sums.adopted == 0


def test_damaged_accounts_are_made_up_for() -> None:
    """What the buffer was given and no account tells of is of writers that nobody knows."""
    books = told(Books(), {ONE: Heard(4, 4)})
    assert books.stored == 4
    assert books.make_up(4) is None
    booking = books.make_up(7)
    assert booking is not None
    books.keep(booking, 0)
    assert (books.stored, books.sums.unnamed, books.sums.is_partial) == (7, 3, True)


def test_damaged_accounts_of_a_dead_agent_are_made_up_for() -> None:
    """Its events count, although nothing is left of its accounts."""
    books = Books()
    books.keep(books.merge({}, stored=5, held=2), 0)
    assert (books.sums.unnamed, books.sums.adopted, books.stored) == (5, -2, 3)
