"""Delays between attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.transport.backoff import Backoff
from z4j_otel.transport.close_codes import FailureClass


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


def test_server_can_ask_for_more():
    """Retry-After lengthens a pause and never shortens one; jitter comes on top."""
    backoff = Backoff(lambda: 0.5)
    assert backoff.failed(FailureClass.CONNECTION, at_least_s=100) == pytest.approx(115)
    assert backoff.failed(FailureClass.AUTH, at_least_s=1) == pytest.approx(11.5)


def test_two_processes_with_one_id_slow_each_other_down():
    """Being evicted again after about as long as the other had to wait goes on growing."""
    backoff = Backoff(lambda: 0.0)
    delays = []
    for lasted_s in (1000, 30, 60, 120, 240, 480, 600, 1300, 30):
        delays.append(backoff.failed(FailureClass.SLOT, lasted_s=lasted_s))
        backoff.succeeded()
    assert delays == [30, 60, 120, 240, 480, 600, 600, 30, 60]


@given(st.sampled_from(FailureClass), st.floats(0, 1, exclude_max=True), st.integers(1, 60))
def test_jitter_only_adds(failure, chance, failures):
    """Random time adds 0 to 30 percent and nothing else, however long the row is."""
    plain, jittered = Backoff(lambda: 0.0), Backoff(lambda: chance)
    for _ in range(failures):
        base_s, delay_s = plain.failed(failure), jittered.failed(failure)
    assert base_s <= delay_s <= base_s * 1.3
