"""Delays between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.transport.backoff import Backoff, FailureClass, classify_close


@pytest.mark.parametrize(
    ("code", "established", "expected"),
    [
        (1000, True, FailureClass.CONNECTION),
        (1001, True, FailureClass.CONNECTION),
        (1002, True, FailureClass.PROTOCOL),
        (1006, False, FailureClass.CONNECTION),
        (1009, True, FailureClass.PROTOCOL),
        (1011, True, FailureClass.CONNECTION),
        (1011, False, FailureClass.PROTOCOL),
        (1012, True, FailureClass.CONNECTION),
        (4002, True, FailureClass.SLOT),
        (4003, True, FailureClass.AUTH),
        (4400, False, FailureClass.PROTOCOL),
        (4401, False, FailureClass.AUTH),
        (4403, True, FailureClass.AUTH),
        (4408, True, FailureClass.CONNECTION),
        (4426, False, FailureClass.INCOMPATIBLE),
        (4427, False, FailureClass.INCOMPATIBLE),
        (4429, True, FailureClass.CAPACITY),
    ],
)
def test_close_codes_have_a_class(code, established, expected):
    """Every close code of the protocol leads to the pause that fits its cause."""
    assert classify_close(code, established=established) is expected


def test_delay_doubles_up_to_its_cap():
    """Connection failures wait 1, 2, 4 ... and never more than 30 seconds."""
    backoff = Backoff(lambda: 0.0)
    delays = [backoff.failed(FailureClass.CONNECTION) for _ in range(7)]
    assert delays == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("failure", "first_s"),
    [
        (FailureClass.AUTH, 10),
        (FailureClass.INCOMPATIBLE, 120),
        (FailureClass.CAPACITY, 60),
        (FailureClass.SLOT, 30),
        (FailureClass.PROTOCOL, 1),
    ],
)
def test_first_delay_of_each_class(failure, first_s):
    """A class begins at its own delay, whatever failed before it."""
    backoff = Backoff(lambda: 0.0)
    backoff.failed(FailureClass.CONNECTION)
    assert backoff.failed(failure) == first_s


def test_success_ends_the_row():
    """After a stable session the next failure waits as if it were the first."""
    backoff = Backoff(lambda: 0.0)
    backoff.failed(FailureClass.AUTH)
    backoff.failed(FailureClass.AUTH)
    assert backoff.streaks == {FailureClass.AUTH: 2}
    backoff.succeeded()
    assert backoff.streaks == {}
    assert backoff.failed(FailureClass.AUTH) == 10


@given(st.sampled_from(FailureClass), st.floats(0, 1, exclude_max=True), st.integers(1, 60))
def test_jitter_only_adds(failure, chance, failures):
    """Random time adds 0 to 30 percent and nothing else, however long the row is."""
    plain, jittered = Backoff(lambda: 0.0), Backoff(lambda: chance)
    for _ in range(failures):
        base_s, delay_s = plain.failed(failure), jittered.failed(failure)
    assert base_s <= delay_s <= base_s * 1.3
