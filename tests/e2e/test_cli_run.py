"""``z4j-otel run`` as a real process, against both brains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.devbrain.server import BrainThread

APP = "from celery import Celery\napp = Celery('shop', broker='memory://')\n"


@pytest.fixture
def brain():
    """Run an embedded brain."""
    with BrainThread() as thread:
        yield thread


@contextmanager
def running(environ, directory):
    """Run ``z4j-otel run`` on an app in an empty directory."""
    (directory / "shop.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "z4j_otel", "run", "--engine", "celery", "--app", "shop:app"],
        cwd=directory,
        env={**os.environ, **environ, "Z4J_HOME": str(directory / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.fixture
def agent(brain, tmp_path):
    """Start an agent of the embedded brain."""
    with running(brain.env(), tmp_path) as process:
        yield process


def is_online(brain):
    """Tell whether the brain's agent is connected."""
    return brain.brain.agents()[0].state == "online"


def test_the_agent_connects_and_lists_its_engine(brain, agent):
    """The process says hello with what it can do on the app."""
    brain.brain.wait_for(lambda: is_online(brain), 20)

    (row,) = brain.brain.agents()
    assert row.engine_adapters == ["celery"]
    assert "submit_task" in row.capabilities["celery"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_in_order(brain, agent, number):
    """Exit code 0, a last line for people, and no error in the log."""
    brain.brain.wait_for(lambda: is_online(brain), 20)
    agent.send_signal(number)
    printed, complaints = agent.communicate(timeout=20)

    assert agent.returncode == 0
    assert printed.splitlines()[-1] == "agent has ended"
    assert "ERROR" not in complaints


def test_the_real_brain_sees_the_agent(real_brain, tmp_path):
    """The real brain lists the agent as online, with its engine."""
    minted = real_brain.mint_agent("standalone")

    def online():
        rows = real_brain.api.list_all("agents")
        return [row for row in rows if row["id"] == minted.agent_id and row["state"] == "online"]

    with running(minted.environment(), tmp_path):
        (row,) = wait_until(online, "agent online", timeout_s=30)
    assert row["engine_adapters"] == ["celery"]
