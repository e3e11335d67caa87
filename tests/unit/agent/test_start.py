"""The agent of a process, put together and taken apart."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.process import AgentProcess
from z4j_otel.agent.seat import Seat
from z4j_otel.agent.start import end_agent, leave_files, make_agent
from z4j_otel.config import load_config

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def seat_in(folder, agent_host):
    """Claim files in a folder."""
    given = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": SECRET}
    return Seat.owner(load_config({**given, "home": str(folder), "agent_host": agent_host}, {}))


@pytest.mark.parametrize(
    ("agent_host", "kind"), [("thread", AgentRuntime), ("process", AgentProcess)]
)
def test_an_agent_that_was_never_started_leaves_no_files(tmp_path, agent_host, kind):
    """On a thread or beside: whoever did not begin has nothing to deliver."""
    seat = seat_in(tmp_path / "home", agent_host)
    agent = make_agent(seat, [], {}, release=seat.journal.close)
    assert type(agent) is kind
    end_agent(agent, 0)
    leave_files(seat, agent)
    assert list((tmp_path / "home").iterdir()) == []


def test_files_that_the_agent_process_has_left_are_only_closed(tmp_path):
    """They may be another process's by now."""
    seat = seat_in(tmp_path / "home", "process")
    leave_files(seat, SimpleNamespace(has_left=True))
    assert seat.files.fileno() < 0
    assert seat.files.lock_path.exists()


def test_the_end_of_one_beside_is_the_end_of_its_files_too():
    """One on a thread leaves them to its process."""
    calls = []
    end_agent(SimpleNamespace(shutdown=lambda limit_s: calls.append(("shutdown", limit_s))), 1)
    beside = SimpleNamespace(
        finish=lambda limit_s: calls.append(("finish", limit_s)), shutdown=None
    )
    end_agent(beside)
    assert calls == [("shutdown", 1), ("finish", None)]
