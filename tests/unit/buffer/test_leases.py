"""What is out, and where to look next."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.buffer.leases import Leases, runs

SECOND = 1_000_000_000


@given(st.lists(st.integers(0, 40)))
def test_runs_cover_exactly_the_set(sequences: list[int]) -> None:
    """Runs are in order, unbroken, apart, and leave nothing out."""
    found = list(runs(sequences))
    covered = [number for first, last in found for number in range(first, last + 1)]
    assert covered == sorted(set(sequences))
    assert all(after[0] > before[1] + 1 for before, after in pairwise(found))


def test_expired_leases_move_the_cursor_back() -> None:
    """The search begins at the oldest entry that is visible again."""
    leases = Leases()
    leases.cursor = 6
    leases.take([3, 4], now_ns=0, hold_s=1.0)
    leases.take([5, 6], now_ns=0, hold_s=2.0)
    leases.expire(SECOND - 1)
    assert (3 in leases, leases.cursor) == (True, 6)
    leases.expire(SECOND)
    assert (3 in leases, 5 in leases, leases.cursor) == (False, True, 2)
    leases.expire(2 * SECOND)
    assert (5 in leases, leases.cursor) == (False, 2)


def test_what_is_forgotten_does_not_come_back() -> None:
    """An acked entry neither expires nor moves the cursor."""
    leases = Leases()
    leases.cursor = 2
    leases.take([1, 2], now_ns=0, hold_s=1.0)
    leases.forget([1, 2, 3])
    leases.give_back([1])
    leases.expire(9 * SECOND)
    assert leases.cursor == 2
