"""Who leaves a full buffer."""

from __future__ import annotations

import pytest

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.eviction import Caps, Totals, choose_victims

EVENT, RESULT, SCHEDULE = EntryKind.EVENT, EntryKind.COMMAND_RESULT, EntryKind.SCHEDULE
ROWS = {EVENT: [(1, 10), (3, 10), (4, 10)], RESULT: [(2, 10), (5, 10)], SCHEDULE: []}


def chosen(caps: Caps, leased: tuple[int, ...] = ()) -> list[int]:
    """Return the sequences that leave ROWS."""
    totals = Totals({EVENT: 3, RESULT: 2}, 50)
    victims = choose_victims(caps, totals, ROWS.__getitem__, leased.__contains__)
    return [victim.sequence for victim in victims]


def test_nobody_leaves_within_the_caps() -> None:
    """Exactly full is not too full."""
    assert chosen(Caps(5, 50)) == []


def test_the_order_is_kind_then_lease_then_age() -> None:
    """Free events, leased events, free results, leased results."""
    assert chosen(Caps(1, 50), leased=(1, 2)) == [3, 4, 1, 5]
    assert chosen(Caps(50, 9), leased=(1, 2)) == [3, 4, 1, 5, 2]


def test_schedules_leave_after_events_and_before_results() -> None:
    """A result is told once; a schedule is told again with the next connection."""
    rows = {EVENT: [(3, 10)], RESULT: [(1, 10)], SCHEDULE: [(2, 10)]}
    totals = Totals(dict.fromkeys(EntryKind, 1), 30)
    victims = choose_victims(Caps(1, 30), totals, rows.__getitem__, lambda _: False)
    assert [victim.sequence for victim in victims] == [3, 2]


@pytest.mark.parametrize("caps", [(0, 1), (1, 0)])
def test_a_cap_of_nothing_is_an_error(caps: tuple[int, int]) -> None:
    """A buffer holds at least something."""
    with pytest.raises(ValueError, match="at least one"):
        Caps(*caps)


def test_bytes_decide_when_they_are_scarcer() -> None:
    """Enough leave for both caps."""
    assert chosen(Caps(4, 25)) == [1, 3, 4]


def test_a_batch_is_a_hundredth_of_the_exceeded_cap() -> None:
    """The other cap asks for nothing, and no batch exceeds 500 entries."""
    caps = Caps(100_000, 10_000)
    too_many = Totals({EVENT: 100_001, RESULT: 0}, 5)
    too_much = Totals({EVENT: 3, RESULT: 0}, 10_001)
    assert caps.rounded_up(caps.excess_of(too_many)) == (500, 0)
    assert caps.rounded_up(caps.excess_of(too_much)) == (0, 100)


def test_totals_count_both_ways() -> None:
    """A copy is independent."""
    totals = Totals()
    totals.add(EVENT, 2, 30)
    copy = totals.copy()
    copy.subtract(Totals({EVENT: 1, RESULT: 0}, 10))
    assert (copy.all_entries, copy.bytes) == (1, 20)
    assert (totals.all_entries, totals.bytes) == (2, 30)


def test_nothing_is_looked_for_once_there_is_room_nor_of_a_kind_that_is_not_held() -> None:
    """Entries of a rare kind are found by reading the whole file."""
    asked: list[EntryKind] = []

    def oldest_first(kind: EntryKind) -> list[tuple[int, int]]:
        asked.append(kind)
        return ROWS[kind]

    totals = Totals({EVENT: 3, RESULT: 2, SCHEDULE: 0}, 50)
    choose_victims(Caps(4, 50), totals, oldest_first, lambda _: False)
    assert asked == [EVENT]
    asked.clear()
    choose_victims(Caps(1, 50), totals, oldest_first, lambda _: False)
    assert asked == [EVENT, EVENT, RESULT]
