"""The clock that moves only when told."""

from __future__ import annotations

import pytest

from z4j_otel.testing.clocks import ManualClock


def test_it_stands_still():
    """Asking does not move it."""
    clock = ManualClock(5)
    assert [clock.now_ns(), clock.now_ns(), clock.monotonic_s()] == [5, 5, 0.0]


def test_advancing_moves_both_clocks():
    """Wall clock and monotonic clock go forward together."""
    clock = ManualClock(0)
    clock.advance(1.5)
    assert (clock.now_ns(), clock.monotonic_s()) == (1_500_000_000, 1.5)


def test_a_step_moves_the_wall_clock_only():
    """An operator's correction does not disturb durations."""
    clock = ManualClock(0)
    clock.step(-2)
    assert (clock.now_ns(), clock.monotonic_s()) == (-2_000_000_000, 0.0)


def test_time_does_not_go_back():
    """Advancing by a negative time is an error."""
    with pytest.raises(ValueError, match="step"):
        ManualClock().advance(-1)
