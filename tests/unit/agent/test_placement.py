"""Where the agent runs."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest

from z4j_otel.agent.placement import green_library, runs_beside
from z4j_otel.config import AgentConfig


@pytest.mark.parametrize(
    ("wanted", "library", "expected"),
    [
        ("auto", None, False),
        ("auto", "gevent", True),
        ("thread", None, False),
        ("process", None, True),
    ],
)
def test_auto_means_a_process_where_threads_are_greenlets(wanted, library, expected):
    """Everywhere else the user's word counts, and a thread is the default."""
    config = AgentConfig(agent_host=wanted)
    assert runs_beside(config, green=lambda: library, is_possible=lambda: True) is expected


def test_a_thread_under_greenlets_is_not_granted(caplog):
    """It would stop the worker; one line says what is done instead."""
    config = AgentConfig(agent_host="thread")
    with caplog.at_level(logging.WARNING):
        assert runs_beside(config, green=lambda: "eventlet", is_possible=lambda: True)
    assert "agent_host=thread would stop a worker under eventlet" in caplog.text


def test_without_processes_a_thread_has_to_do(caplog):
    """Where no interpreter can be started, the user is told."""
    config = AgentConfig(agent_host="process")
    with caplog.at_level(logging.WARNING):
        assert not runs_beside(config, green=lambda: None, is_possible=lambda: False)
    assert "no agent process can be started here" in caplog.text


def test_patched_threads_are_recognised(monkeypatch):
    """By what the libraries themselves say, without importing them."""
    for name in ("gevent.monkey", "eventlet.patcher"):
        monkeypatch.setitem(sys.modules, name, None)
    assert green_library() is None
    eventlet = SimpleNamespace(is_monkey_patched=lambda name: name == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", eventlet)
    assert green_library() == "eventlet"
    gevent = SimpleNamespace(is_module_patched=lambda name: name == "threading")
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)
    assert green_library() == "gevent"


def test_libraries_that_are_only_imported_change_nothing(monkeypatch):
    """An application may use gevent for one thing and keep its threads."""
    gevent = SimpleNamespace(is_module_patched=lambda _name: False)
    eventlet = SimpleNamespace(is_monkey_patched=lambda _name: False)
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)
    monkeypatch.setitem(sys.modules, "eventlet.patcher", eventlet)
    assert green_library() is None
