"""The agent process as its owner sees it, and what it does (process_main)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import pytest

from z4j_otel.agent import process as module
from z4j_otel.agent.engines import introduce
from z4j_otel.agent.process import AgentProcess
from z4j_otel.agent.seat import Seat
from z4j_otel.config import load_config
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.errors import ConfigError
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts

RECORD = LifecycleRecord(EventKind.TASK_STARTED, TaskFacts("celery", "t1", "n"), 1)
END = LifecycleRecord(EventKind.TASK_SUCCEEDED, TaskFacts("celery", "t1", "n"), 2)
SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class Engine:
    """An engine with a worker."""

    name = "celery"

    def capabilities(self):
        """Tell what it can."""
        return ["retry_task", "retry_by_reference_v1"]

    def execute(self, command):
        """Do what is asked."""
        return {"did": command.parameters["task_id"]}

    def queue_depths(self):
        """Tell its depths."""
        return {"orders": 1}

    def worker_details(self):
        """Tell of its worker."""
        return {"w@h": {"stats": {"pid": os.getpid()}}}


def seat_in(folder, **settings):
    """Claim files in a folder."""
    given = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": SECRET}
    given |= {"home": str(folder), "flush_timeout_seconds": "0.2", **settings}
    return Seat.owner(load_config(given, {}))


def agent_of(seat, **more):
    """Make an agent process for a seat; what it is to release is noted."""
    hello = introduce(seat.config, is_worker=True)
    return AgentProcess(seat, [Engine()], hello=hello, **{"release": seat.journal.close, **more})


@pytest.fixture
def seat(tmp_path):
    """Give a seat whose brain is not there."""
    seat = seat_in(tmp_path / "home")
    yield seat
    seat.files.close()


@pytest.fixture
def agent(seat):
    """Give an agent that has been started, at the latest ended with the test."""
    agent = agent_of(seat)
    yield agent
    agent.finish(0)


def test_everything_is_delivered_and_the_files_are_left(tmp_path):
    """With a brain: connected, flushed, described, commanded, and nothing stays behind."""
    with BrainThread() as thread:
        variables = thread.env()
        settings = {name[4:].lower(): value for name, value in variables.items()}
        seat = seat_in(tmp_path / "home", **settings | {"flush_timeout_seconds": "5"})
        agent = agent_of(seat)
        agent.start()
        agent.start()
        assert agent.wait_connected(30)
        assert agent.is_connected
        seat.sink.emit(RECORD)
        assert agent.flush(10)
        assert [event.kind for event in thread.brain.events("t1")] == ["task.started"]
        assert (agent.status()["state"], agent.status()["agent_pid"]) == ("connected", agent.pid)
        issued = thread.brain.issue("retry_task", engine="celery", task_id="t1")
        assert issued.wait(10).result["did"] == "t1"
        assert thread.brain.wait_for(thread.brain.queues)[0].name == "orders"
        (worker,) = thread.brain.workers()
        assert worker.pid == os.getpid()
        seat.sink.emit(END)
        assert agent.finish()
        assert agent.finish()
    assert agent.has_left
    assert list((tmp_path / "home").iterdir()) == []
    seat.files.close()


def test_without_a_brain_it_ends_in_time_and_leaves_what_waits(agent, seat, tmp_path):
    """The next agent of the deployment delivers it."""
    seat.sink.emit(RECORD)
    agent.start()
    assert agent.wait_connected(0.1) is False
    assert not agent.finish(0)
    assert {path.suffix for path in (tmp_path / "home").iterdir()} >= {".lock", ".sqlite"}


def test_a_shutdown_keeps_the_files(agent, seat):
    """A worker suspends an agent that was started too early, and goes on with its seat."""
    agent.start()
    agent.shutdown(0)
    assert not agent.has_left
    assert seat.files.lock_path.exists()
    assert agent.status()["state"] == "stopped"


def test_a_killed_one_is_replaced_and_told_of(agent, caplog, monkeypatch):
    """The owner notices at once; what ended it is in the log."""
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.01)
    agent.start()
    assert agent._has_begun.wait(10)
    first = agent.pid
    with caplog.at_level(logging.WARNING):
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: agent.pid not in (0, first))
    assert "the agent process has ended (signal 9); it is started again" in caplog.text


def wait_until(is_true):
    """Wait for a process of the system, which no clock of ours moves."""
    waiting = threading.Event()
    for _ in range(1000):
        if is_true():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not happen")


def spawn(code):
    """Start an interpreter that is no agent."""
    return os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", code], os.environ)


def crash(_line, _lock):
    """Start something that ends at once."""
    return spawn("raise SystemExit(3)")


def test_one_that_cannot_live_is_told_once_and_tried_again(seat, caplog, monkeypatch):
    """With pauses that grow; the end of the owner is not held up by it."""
    pauses = []
    agent = agent_of(seat, spawn=crash)

    def pause(limit_s):
        pauses.append(limit_s)
        if len(pauses) == 3:
            agent._ending = {"is_delivered": False}

    monkeypatch.setattr(agent._wake, "wait", pause)
    with caplog.at_level(logging.WARNING):
        agent._keep()
    assert pauses == [1, 2, 4]
    texts = [record.getMessage() for record in caplog.records]
    assert texts == [
        "[z4j] the agent process has ended (exit status 3); it is started again in 1 s"
    ]


def test_one_that_cannot_be_started_is_told(seat, caplog):
    """The application runs on; the journal keeps what it can."""

    def refuse(_line, _lock):
        raise PermissionError(13, "Permission denied")

    agent = agent_of(seat, spawn=refuse)
    agent.start()
    with caplog.at_level(logging.WARNING):
        assert not agent.shutdown(0)
    assert "it cannot be started: Permission denied" in caplog.text
    assert agent.shutdown(0) is False


def test_a_process_without_descriptors_is_served_again_later(seat, monkeypatch):
    """No socket to be had is a reason to wait, not to give up."""

    def refuse():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(module.socket, "socketpair", refuse)
    assert agent_of(seat, spawn=crash)._live() == "it cannot be started: Too many open files"


def test_an_engine_in_trouble_does_not_end_the_keeper(seat, monkeypatch):
    """It is handed over as one that can do nothing."""

    def fail(_self):
        raise RuntimeError("no broker")

    monkeypatch.setattr(Engine, "capabilities", fail)
    monkeypatch.setattr(Engine, "schedulers", fail, raising=False)
    given = agent_of(seat)._handover()
    assert (given.engines, given.schedulers) == ({"celery": []}, {})


def hang(_line, _lock):
    """Start something whose line ends, and which does not."""
    return spawn("import time; time.sleep(60)")


def test_one_that_does_not_end_is_killed(seat, monkeypatch):
    """Two agents on one set of files would be one too many."""
    monkeypatch.setattr(module, "_ASK_S", 0.05)
    agent = agent_of(seat, spawn=hang)
    agent._ending = {"is_delivered": False}
    assert agent._live() == "signal 9"
    assert agent.pid == 0
    agent._kill("it is gone")


def test_it_is_used_like_an_agent_on_a_thread(seat):
    """Before its start it has engines and a name, and nothing to end."""
    agent = agent_of(seat)
    assert agent.worker_id
    assert "celery" in repr(agent)
    with pytest.raises(ConfigError, match="two engines are named"):
        agent.register_engine(Engine())
    assert agent.shutdown(0) is True
    assert not agent.is_connected
    agent._keeper = threading.Thread()
    with pytest.raises(RuntimeError):
        agent.register_engine(Engine())


def test_a_forked_child_has_no_agent(agent):
    """It appends to the journal and does no more."""
    agent.start()
    assert agent._has_begun.wait(10)
    pid = os.fork()
    if pid == 0:
        agent.start()
        answers = (agent.wait_connected(9), agent.flush(9), agent.is_connected)
        is_nothing = answers == (False, False, False) and agent.shutdown(9)
        os._exit(0 if is_nothing and agent.status()["state"] == "forked" else 1)
    assert os.waitpid(pid, 0)[1] == 0
