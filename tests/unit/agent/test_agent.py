"""The agent's life, on its real thread."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.policy import policy_of
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.clock import SystemClock
from z4j_otel.config.secret import Secret
from z4j_otel.config.settings import AgentConfig
from z4j_otel.errors import ConfigError, ConnectFailed
from z4j_otel.redaction import Redactor

WAIT_S = 10
CONFIG = AgentConfig(
    brain_url="http://localhost:1",
    token=Secret("token-of-the-test"),
    hmac_secret=Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    flush_timeout_seconds=5.0,
)


class ListImporter:
    """A journal that is a list."""

    def __init__(self, buffer):
        self.buffer, self.pending, self.is_closed = buffer, [], False

    def import_pending(self, now_ns):
        """Hand over what is pending."""
        taken, self.pending = self.pending, []
        self.buffer.append([(EntryKind.EVENT, body) for body in taken], now_ns=now_ns)
        return len(taken)

    def close(self):
        """Close; remembered for the test."""
        self.is_closed = True


@pytest.fixture
def scripted(kit):
    """Return a brain on the system's clock."""
    return kit.ScriptedBrain(SystemClock())


@pytest.fixture
def make(scripted):
    """Return what makes agents; all are shut down at the end."""
    made = []

    def make(engines=(), **options):
        buffer = MemoryBuffer()
        options = {"transport": scripted, "random": lambda: 0.0, **options}
        agent = AgentRuntime(
            CONFIG,
            engines,
            buffer=buffer,
            importer=ListImporter(buffer),
            redactor=Redactor(),
            **options,
        )
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.shutdown(0)


def test_life(make, scripted, kit):
    """Started, connected, flushed and shut down; the brain has everything."""
    agent = make([kit.FakeEngine()])
    agent.start()
    agent.start()
    assert agent.wait_connected(WAIT_S)
    assert agent.is_connected
    agent._parts.importer.pending = [kit.event_bytes(n) for n in range(300)]
    assert agent.flush(WAIT_S)
    assert len(scripted.events) == 300
    assert agent.shutdown(WAIT_S)
    assert scripted.link.closed_with == 1000
    assert not agent.is_connected
    assert agent.shutdown()


def test_denied_actions_are_not_offered(make, kit):
    """Neither the introduction nor the status lists what the local policy denies."""
    agent = make([kit.FakeEngine()], policy=policy_of(["-submit_task", "-schedule.fire"]))
    assert agent.status()["capabilities"] == {"celery": ["retry_task"]}
    agent.start()
    assert agent.wait_connected(WAIT_S)
    assert agent.status()["capabilities"] == {"celery": ["retry_task"]}


def test_thread_is_a_daemon_and_signals_are_untouched(make):
    """The agent never keeps a process alive and leaves its signal handlers alone."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    agent = make()
    agent.start()
    assert agent._thread.daemon
    assert agent._thread.name == "z4j-agent"
    agent.shutdown()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_context_managers(make, scripted, kit):
    """Both forms start, connect, and deliver at the end."""
    with make() as agent:
        assert agent.is_connected
        agent._parts.importer.pending = [kit.event_bytes(1)]

    async def scene():
        async with make() as agent:
            assert agent.is_connected
            agent._parts.importer.pending = [kit.event_bytes(2)]

    asyncio.run(scene())
    assert len(scripted.events) == 2


def test_shutdown_delivers_results_of_running_commands(make, scripted, kit):
    """A command that runs at the end is finished and answered before the close."""
    engine, entered, gate = kit.FakeEngine(), threading.Event(), threading.Event()

    def execute(command):
        entered.set()
        gate.wait(WAIT_S)
        return {"done": True}

    engine.execute = execute
    agent = make([engine])
    agent.start()
    assert agent.wait_connected(WAIT_S)
    agent._loop.call_soon_threadsafe(scripted.link.command, "c-1")
    assert entered.wait(WAIT_S)
    threading.Timer(0.05, gate.set).start()
    assert agent.shutdown(WAIT_S)
    (finished,) = scripted.of(kit.CommandFinished)
    assert finished.result.result == {"done": True}


def test_undelivered_events_are_told(make, scripted, kit, caplog):
    """Without a brain shutdown ends in time and says what is left."""
    scripted.failures = [ConnectFailed("x")] * 100
    agent = make()
    agent._parts.importer.pending = [kit.event_bytes(1)]
    agent.start()
    assert not agent.shutdown(0.2)
    assert "undelivered" in [getattr(r, "action", "") for r in caplog.records]


def test_agent_that_never_started(make):
    """Shutting down closes what the agent was given; it cannot be started afterwards."""
    agent = make()
    assert not agent.flush(1)
    assert not agent.wait_connected(0)
    assert agent.status()["state"] == "stopped"
    assert agent.shutdown()
    assert agent._parts.importer.is_closed
    with pytest.raises(RuntimeError, match="shut down"):
        agent.start()


def test_status_of_a_running_agent(make, kit):
    """The snapshot comes from the agent's own thread."""
    agent = make([kit.FakeEngine()], role="task")
    agent.start()
    assert agent.wait_connected(WAIT_S)
    assert agent.status()["state"] == "connected"
    assert agent.status()["worker_id"] == agent.worker_id
    assert "token-of-the-test" not in repr(agent)


def test_engines_are_registered_before_the_start(make, kit):
    """Names are unique, and a running agent's engines do not change."""
    agent = make([kit.FakeEngine()])
    agent.register_engine(kit.FakeEngine("analytics"))
    with pytest.raises(ConfigError, match="two engines are named 'celery'"):
        agent.register_engine(kit.FakeEngine())
    agent.start()
    assert agent.status()["engines"] == ["analytics", "celery"]
    with pytest.raises(RuntimeError):
        agent.register_engine(kit.FakeEngine("rq"))


def test_announcement_may_be_set_late(make):
    """The announcement is called once the agent runs; having none is fine."""
    agent, called = make(), threading.Event()
    agent.announce = called.set
    agent.start()
    assert called.wait(WAIT_S)
    make().start()


def test_default_transport_is_the_one_of_the_settings(make):
    """Without a transport the configured address is used, on the configured way."""
    shown = repr(make(transport=None)._parts.transport)
    assert "'ws://localhost:1/ws/agent'" in shown
    assert "FallbackTransport" in shown


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_forked_child_does_nothing(make, monkeypatch):
    """In a child every method returns at once and touches nothing."""
    agent = make()
    agent.start()
    assert agent.wait_connected(WAIT_S)
    pid = os.getpid()
    monkeypatch.setattr("z4j_otel.agent.agent.os.getpid", lambda: pid + 1)
    agent.start()
    assert not agent.is_connected
    assert not agent.wait_connected(WAIT_S)
    assert not agent.flush(WAIT_S)
    assert agent.status()["state"] == "forked"
    assert agent.shutdown(WAIT_S)
    monkeypatch.undo()
    assert agent.is_connected


def test_crash_of_the_thread_is_told(make, caplog):
    """A fault that ends the agent is an ERROR, and later calls return at once."""
    agent = make()
    agent._hello.build = None
    agent.start()
    agent._thread.join(WAIT_S)
    assert "agent_crashed" in [getattr(r, "action", "") for r in caplog.records]
    assert not agent.flush(WAIT_S)
    assert agent.status()["state"] == "stopped"


def test_agent_ends_though_nobody_waits_for_its_delivery(make, scripted, kit, monkeypatch):
    """Whoever shut it down gives its files up: it must not go on behind them."""
    monkeypatch.setattr("z4j_otel.agent.agent._ASK_S", 0)
    monkeypatch.setattr("z4j_otel.agent.loop._CLOSE_S", -10)
    scripted.acks_batches = False
    agent = make()
    agent._parts.importer.pending = [kit.event_bytes(1)]
    agent.start()
    assert not agent.shutdown(0.05)
    agent._thread.join(2)
    assert not agent._thread.is_alive()
    assert agent._parts.importer.is_closed


def test_agent_that_is_shut_down_before_its_loop_is_there_ends(make, monkeypatch):
    """An introduction that takes long is no reason to live on."""
    agent, gate = make(), threading.Event()
    build = agent._hello.build

    def slow(*arguments):
        gate.wait(WAIT_S)
        return build(*arguments)

    agent._hello.build = slow
    monkeypatch.setattr("z4j_otel.agent.agent._ASK_S", 0)
    monkeypatch.setattr("z4j_otel.agent.agent._JOIN_S", 0)
    agent.start()
    assert not agent.shutdown(0)
    gate.set()
    agent._thread.join(WAIT_S)
    assert not agent._thread.is_alive()
