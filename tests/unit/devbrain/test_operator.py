"""What operators and accidents do to the brain."""

from __future__ import annotations

import pytest

from z4j_otel.clock import iso_utc
from z4j_otel.devbrain.faults import CloseWith

NS = 1_000_000_000


@pytest.fixture
def operator(brain):
    """Return the brain's operator."""
    return brain.operator


def test_a_revoked_agent_is_closed_at_its_next_frame(agent, brain, operator, make_agent):
    """4003 while established, 4401 during the handshake and at the next connect."""
    shaking = make_agent(brain, agent.credentials, worker_id="w-2")
    operator.revoke(agent.credentials.agent_id)
    with pytest.raises(CloseWith, match="4003"):
        agent.send()
    with pytest.raises(CloseWith, match="4401"):
        shaking.connect()
    with pytest.raises(CloseWith, match="4401"):
        brain.open(agent.credentials.token)


def test_an_archived_project_closes_its_agents(agent, brain, operator):
    """All of its agents, and no others."""
    other = brain.mint_agent(project="other")
    operator.archive()
    with pytest.raises(CloseWith, match="4003"):
        agent.heartbeat()
    with pytest.raises(CloseWith, match="4401"):
        brain.open(agent.credentials.token)
    brain.open(other.token)


def test_a_rotated_secret_costs_4403(agent, brain, operator, make_agent):
    """Old secrets connect and fail at the first signed frame; new ones work."""
    operator.rotate_secret()
    assert agent.send()
    old = make_agent(brain, agent.credentials, worker_id="w-2")
    old.connect()
    with pytest.raises(CloseWith, match="4403"):
        old.send()
    fresh = make_agent(brain)
    fresh.connect()
    assert fresh.send()


def test_disconnect_closes_connections(agent, brain, operator, make_agent):
    """Those of one agent, or all."""
    other = make_agent(brain)
    other.connect()
    assert operator.disconnect(1001, "bye", agent_id=other.credentials.agent_id) == 1
    with pytest.raises(CloseWith, match="1001 \\(bye\\)"):
        other.connection.drain()
    assert operator.disconnect() == 1
    with pytest.raises(CloseWith, match="1012"):
        agent.connection.drain()


def test_a_stalled_brain_reads_nothing_until_resumed(agent, brain, operator):
    """What came in the meantime is handled in order."""
    operator.stall()
    assert agent.send(agent.event("task.started"), frame_id="ev_1") == []
    assert agent.send(frame_id="ev_2") == []
    assert brain.events() == []
    operator.resume()
    assert [ack.acked_id for ack in agent.read()] == ["ev_1", "ev_2"]
    assert len(brain.events()) == 1


def test_some_commands_are_delivered_again(agent, brain, operator):
    """Repeatable actions may come twice, others never do."""
    command = brain.issue("cancel_task", engine="celery", task_id="t")
    operator.redeliver(command)
    assert [received.command.id for received in agent.read()] == [command.id] * 2
    assert command.deliveries == 2
    retry = brain.issue("retry_task", engine="celery", task_id="t")
    with pytest.raises(ValueError, match="at most once"):
        operator.redeliver(retry)


def test_stale_tasks_are_asked_about(agent, brain, operator, clock):
    """A task unfinished for 15 minutes is reconciled with the agent's answer."""
    agent.send(agent.event("task.started"))
    assert operator.reconcile_stale() == []
    clock.advance(901)
    agent.heartbeat()
    probe = operator.reconcile_stale()[0]
    assert agent.read()[0].command.parameters == {"task_id": "t-1", "engine": "celery"}
    finished = iso_utc(clock.now_ns() - NS)
    answer = {"engine_state": "failure", "finished_at": finished, "exception": "Boom"}
    agent.finish(probe.id, result=answer)
    row = brain.task("celery", "t-1")
    assert (row.state, row.exception) == ("failure", "Boom")


@pytest.mark.parametrize("finished_at", [None, "soon", 5])
def test_a_probe_without_a_time_ends_now(agent, brain, operator, clock, finished_at):
    """An unreadable finished_at is replaced."""
    agent.send(agent.event("task.started"))
    clock.advance(901)
    agent.heartbeat()
    probe = operator.reconcile_stale()[0]
    agent.read()
    agent.finish(probe.id, result={"engine_state": "success", "finished_at": finished_at})
    assert brain.task("celery", "t-1").finished_at is not None


@pytest.mark.parametrize(
    ("status", "result"), [("failed", {"engine_state": "success"}), ("success", None)]
)
def test_failed_and_empty_probes_change_nothing(agent, brain, operator, clock, status, result):
    """Only a successful answer is applied."""
    agent.send(agent.event("task.started"))
    clock.advance(901)
    agent.heartbeat()
    probe = operator.reconcile_stale()[0]
    agent.read()
    agent.finish(probe.id, status, result=result)
    assert brain.task("celery", "t-1").state == "started"


def test_without_an_online_agent_nobody_is_asked(agent, operator, clock):
    """The engine has to be online."""
    agent.send(agent.event("task.started"))
    agent.connection.disconnected()
    clock.advance(901)
    assert operator.reconcile_stale() == []


def test_slots_are_listed(agent, operator):
    """Each process of an agent has its row."""
    row = operator.agent_workers()[0]
    assert (row.worker_id, row.framework, row.state) == ("w-1", "bare", "online")
