"""A time limit for calls that know none."""

from __future__ import annotations

import threading

import pytest

from z4j_otel.bounded import bounded


def test_a_call_that_returns_is_as_if_nobody_stood_between():
    """Its value comes back."""
    assert bounded(lambda: 42, 5) == 42


def test_a_call_that_returns_nothing_has_returned():
    """None is a value."""
    assert bounded(lambda: None, 5) is None


def test_what_a_call_raises_is_raised():
    """On the caller's thread."""
    with pytest.raises(LookupError, match="not here"):
        bounded(lambda: {}.popitem() if False else _raise(LookupError("not here")), 5)


def test_a_call_that_hangs_is_given_up():
    """The caller goes on when the time is up; the thread ends no process."""
    freed = threading.Event()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        bounded(lambda: freed.wait(30), 0)
    freed.set()


def _raise(error):
    raise error
