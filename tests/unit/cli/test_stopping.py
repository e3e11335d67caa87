"""Ending a command that runs until somebody stops it."""

from __future__ import annotations

import os
import signal

import pytest

from z4j_otel.cli.stopping import StopRequest, stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_the_end(number):
    """Both ways to end a program are heard, and neither raises."""
    with stop_signals() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.wait(5)
        assert asked.wait(0)
        assert asked.is_set()


def test_the_signals_are_given_back():
    """What was installed before is installed again."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_nobody_asked():
    """A wait that ends by itself says so."""
    assert not StopRequest().wait(0)
