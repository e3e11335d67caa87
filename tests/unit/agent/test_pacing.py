"""Sizes of batches, learned from acks and closes."""

from __future__ import annotations

import pytest

from z4j_otel.agent.pacing import Pacing


def test_starts_with_full_batches():
    """A new connection sends 200 events at a time, four batches ahead."""
    pacing = Pacing()
    assert (pacing.batch_entries, pacing.window) == (200, 4)


def test_slow_acks_halve_down_to_25_and_quick_ones_double():
    """A slow brain gets smaller batches, never below 25, and full ones when it recovers."""
    pacing = Pacing()
    sizes = []
    for latency_s in (6, 6, 6, 6, 1, 1, 1, 1):
        pacing.acked(latency_s)
        sizes.append(pacing.batch_entries)
    assert sizes == [100, 50, 25, 25, 50, 100, 200, 200]


def test_slow_ack_never_enlarges():
    """A batch made small for another reason stays small when it is slow."""
    pacing = Pacing()
    pacing.did_not_fit(20)
    pacing.acked(60)
    assert pacing.batch_entries == 10


@pytest.mark.parametrize(("entries", "expected"), [(200, 100), (3, 1), (2, 1)])
def test_what_does_not_fit_is_halved(entries, expected):
    """A batch that exceeds the frame is halved, down to one entry."""
    pacing = Pacing()
    pacing.did_not_fit(entries)
    assert pacing.batch_entries == expected


def test_suspicion_closes_in_on_one_entry():
    """Each suspected batch leads to a quarter of its size, one at a time."""
    pacing = Pacing()
    assert not pacing.is_cautious
    for size, expected in ((200, 50), (50, 12), (12, 3), (3, 1), (1, 1)):
        pacing.suspected(size)
        assert (pacing.batch_entries, pacing.window) == (expected, 1)
        assert pacing.is_cautious


def test_suspicion_never_enlarges():
    """A batch made small for another reason stays small."""
    pacing = Pacing()
    pacing.did_not_fit(4)
    pacing.suspected(100)
    assert pacing.batch_entries == 2


def test_stalls_halve_down_to_one_entry():
    """A brain that stops reading gets less and less at a time."""
    pacing = Pacing()
    for _ in range(10):
        pacing.stalled()
    assert (pacing.batch_entries, pacing.window) == (1, 4)


def test_window_opens_again_at_full_size():
    """After suspicion, several batches are out again once full batches are acked."""
    pacing = Pacing()
    pacing.suspected(200)
    for _ in range(3):
        pacing.acked(0.1)
    assert (pacing.batch_entries, pacing.window) == (200, 4)
