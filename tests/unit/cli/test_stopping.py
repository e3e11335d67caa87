"""Ending a command that runs until somebody stops it."""

from __future__ import annotations

import os
import signal
from contextlib import closing

import pytest

from z4j_otel.cli.stopping import StopRequest, stop_signals


@pytest.fixture(autouse=True)
def heard():
    """Hear all signals: a shell starts what runs behind it with SIGINT ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_DFL) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_for_the_end(number):
    """All ways to end a program are heard, and none raises."""
    with stop_signals() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.wait(5)
        assert asked.wait(0)
        assert asked.is_set()


def test_a_signal_is_heard_before_any_handler_runs():
    """A handler in Python comes too late for a thread that is about to wait."""
    with stop_signals() as asked:
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(5)


def test_another_signal_asks_for_nothing():
    """What the process does with other signals is its own affair."""
    with stop_signals() as asked:
        before = signal.signal(signal.SIGUSR1, lambda *_: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not asked.wait(0)
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(5)
        signal.signal(signal.SIGUSR1, before)


def test_the_signals_are_given_back():
    """What was installed before is installed again."""
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as asked:
        assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.set_wakeup_fd(asked.fileno()) == asked.fileno()
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_an_ignored_signal_stays_ignored():
    """Under nohup the end of the terminal asks for nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked.wait(0)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nobody_asked():
    """A wait that ends by itself says so."""
    with closing(StopRequest()) as request:
        assert not request.wait(0)
