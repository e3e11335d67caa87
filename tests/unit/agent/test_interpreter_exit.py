"""What can still be done at the end of an interpreter."""

from __future__ import annotations

import threading

import pytest

from z4j_otel.agent.interpreter_exit import at_end_of_main


def refuse(*_arguments):
    """Fail as an interpreter that ends."""
    raise RuntimeError("can't register atexit after shutdown")


def test_a_function_is_called_at_the_end_of_the_main_thread(monkeypatch):
    """Before the executors are closed; an interpreter without that place starts agents too."""
    registered = []
    monkeypatch.setattr(threading, "_register_atexit", registered.append, raising=False)
    assert at_end_of_main(refuse)
    assert registered == [refuse]
    monkeypatch.delattr(threading, "_register_atexit")
    assert at_end_of_main(refuse)


@pytest.mark.parametrize("can_start", [True, False])
def test_after_it_an_agent_needs_threads_all_the_same(monkeypatch, can_start):
    """Python 3.12 and later start none any more."""
    monkeypatch.setattr(threading, "_register_atexit", refuse, raising=False)
    if not can_start:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    assert at_end_of_main(print) is can_start
