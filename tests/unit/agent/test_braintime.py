"""The brain's clock on a machine whose own is wrong."""

from __future__ import annotations

import logging

import pytest

from z4j_otel.agent.braintime import BrainTime
from z4j_otel.testing.clocks import ManualClock

NS = 1_000_000_000
HOUR = 3600


@pytest.fixture
def machine():
    """Return a clock in the hands of the test."""
    return ManualClock()


@pytest.fixture
def time(machine, caplog):
    """Return the brain's time, not yet measured."""
    caplog.set_level(logging.INFO, "z4j_otel.agent.braintime")
    return BrainTime(machine)


def lines(caplog):
    """Return what the log was told, by level."""
    return [(r.levelname, r.getMessage().removeprefix("[z4j] ")) for r in caplog.records]


def test_before_the_first_connect_the_machine_is_believed(time, machine):
    """Without a measurement there is nothing to correct."""
    machine.step(HOUR)
    assert time.now_ns() == machine.now_ns()
    assert time.offset_s == 0


@pytest.mark.parametrize("offset_s", [0, 3, -9])
def test_small_differences_are_left_alone(time, machine, caplog, offset_s):
    """Seconds do not matter to the brain, and a slow answer can feign them."""
    time.measure(machine.now_ns() + offset_s * NS, asked_s=0)
    assert (time.now_ns(), time.is_corrected) == (machine.now_ns(), False)
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [
        (3 * HOUR + 120, "3 h 2 min behind the brain's"),
        (-2 * HOUR, "2 h 0 min ahead of the brain's"),
        (75, "1 min 15 s behind the brain's"),
    ],
)
def test_large_differences_are_corrected_and_told(time, machine, caplog, offset_s, words):
    """From ten seconds on the brain's clock is used, and one line says so."""
    time.measure(machine.now_ns() + offset_s * NS, asked_s=0)
    assert time.is_corrected
    assert time.now_ns() == machine.now_ns() + offset_s * NS
    assert time.offset_s == offset_s
    ((level, text),) = lines(caplog)
    assert level == "WARNING"
    assert words in text


def test_half_the_way_there_and_back_is_taken_off(time, machine):
    """A brain that answered after eight seconds looked at its clock four seconds ago."""
    brain_ns = machine.now_ns() + HOUR * NS
    machine.advance(8)
    time.measure(brain_ns, asked_s=0)
    assert time.now_ns() == brain_ns + 4 * NS


def test_step_of_the_wall_clock_does_not_reach_the_wire(time, machine, caplog):
    """When NTP mends the clock in mid-session, signatures go on undisturbed."""
    time.measure(machine.now_ns() + HOUR * NS, asked_s=0)
    machine.step(HOUR)
    machine.advance(10)
    assert time.now_ns() == machine.now_ns()
    assert time.monotonic_s() == 10
    time.tell()
    assert [level for level, _ in lines(caplog)] == ["WARNING", "INFO"]


def test_step_away_from_the_brain_is_told(time, machine, caplog):
    """When somebody sets a right clock wrong, the session survives and the log says so."""
    time.measure(machine.now_ns(), asked_s=0)
    right_ns = machine.now_ns()
    machine.step(-2 * HOUR)
    for _ in range(3):
        time.tell()
    assert time.now_ns() == right_ns
    assert [level for level, _ in lines(caplog)] == ["WARNING"]


def test_every_connect_measures_again(time, machine, caplog):
    """The same difference is told once; a brain that tells no time ends the correction."""
    for _ in range(3):
        time.measure(machine.now_ns() + HOUR * NS, asked_s=0)
    assert len(lines(caplog)) == 1
    time.measure(None, asked_s=0)
    assert (time.is_corrected, time.offset_s) == (False, 0)


@pytest.mark.parametrize("year", [-1, 1970, 2019, 2150])
def test_impossible_clocks_are_not_believed(time, machine, year):
    """A time in another age is no correction."""
    time.measure((year - 1970) * 31_557_600 * NS, asked_s=0)
    assert not time.is_corrected
