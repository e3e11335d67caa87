"""Connects, commands and queries of the embedded brain."""

from __future__ import annotations

import threading

import pytest

from z4j_otel.devbrain.admission import IssueRefused
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.faults import CloseWith
from z4j_otel.wire.signing import decode_secret, purge_token


def test_minted_agents_share_their_project(brain):
    """Tokens differ, the project's secret is one; other projects have another."""
    first, second = brain.mint_agent(), brain.mint_agent("b")
    other = brain.mint_agent(project="other")
    assert first.token != second.token
    assert first.hmac_secret == second.hmac_secret != other.hmac_secret
    assert len(first.token) == 43
    assert len(decode_secret(first.hmac_secret)) == 32


def test_credentials_keep_their_secrets_out_of_logs(brain):
    """The repr shows neither token nor secret."""
    credentials = brain.mint_agent()
    assert credentials.token not in repr(credentials)
    assert credentials.hmac_secret not in repr(credentials)


@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_unknown_tokens_cost_4401(brain, token):
    """There is no HTTP 401: the socket opens and is closed."""
    with pytest.raises(CloseWith, match="4401"):
        brain.open(token)


def test_foreign_addresses_cost_4403(make_brain):
    """The allow-list is looked at before the token."""
    brain = make_brain(ip_allowlist=frozenset({"10.0.0.1"}))
    with pytest.raises(CloseWith, match="4403"):
        brain.open("wrong", peer="10.0.0.2")
    brain.open(brain.mint_agent().token, peer="10.0.0.1")


def test_too_many_connects_cost_4429(make_brain, clock):
    """The bucket is per address and drains within a minute."""
    brain = make_brain(connects_per_minute=2)
    token = brain.mint_agent().token
    for _ in range(2):
        brain.open(token)
    with pytest.raises(CloseWith, match="4429 \\(too many"):
        brain.open(token)
    brain.open(token, peer="10.0.0.1")
    clock.advance(60)
    brain.open(token)


def test_events_become_rows(agent, brain):
    """What an agent sends can be asked for."""
    agent.send(
        agent.event("task.received", task_name="n", queue="q", worker="w"),
        agent.event("task.started", "t-2"),
    )
    assert brain.task("celery", "t-1").state == "received"
    assert brain.task("celery", "t-3") is None
    assert [row.task_id for row in brain.tasks()] == ["t-1", "t-2"]
    assert [event.kind for event in brain.events("t-1")] == ["task.received"]
    assert len(brain.events()) == 2
    assert (brain.queues()[0].name, brain.workers()[0].name) == ("q", "w")
    assert brain.task("celery", "t-1").id != brain.task("celery", "t-2").id


def test_projects_do_not_see_each_other(brain, make_agent):
    """An id that another project owns alone is no parent."""
    other = make_agent(brain, brain.mint_agent(project="other"))
    other.connect()
    other.send(other.event("task.received", "theirs"))
    mine = make_agent(brain)
    mine.connect()
    mine.send(mine.event("task.received", "t", parent_task_id="theirs", root_task_id="new"))
    row = brain.task("celery", "t")
    assert (row.parent_task_id, row.root_task_id) == (None, "new")
    assert brain.task("celery", "theirs") is None
    assert brain.task("celery", "theirs", project="other")


def test_without_projecting_batches_are_only_counted(make_brain, make_agent):
    """The benchmark's brain verifies, counts and acknowledges."""
    brain = make_brain(is_projecting=False)
    agent = make_agent(brain)
    agent.connect()
    ack = agent.send(agent.event("task.started"), agent.event("task.started"))[0]
    assert (ack.received, ack.accepted) == (2, 2)
    assert (brain.tasks(), brain.counts["events"], brain.counts["batches"]) == ([], 2, 1)


def test_the_last_hello_describes_the_agent(agent, brain, make_agent):
    """Every hello overwrites engines and capabilities."""
    host = {"name": "web-1"}
    make_agent(brain, agent.credentials, engines=["rq"], host=host, worker_id="w-2").connect()
    row = brain.agents()[0]
    assert (row.engine_adapters, row.host_name, row.agent_version) == (["rq"], "web-1", "1")


def test_an_agent_that_never_came_is_offline(brain):
    """Before the first hello there is a name and no more."""
    brain.mint_agent("idle")
    row = brain.agents()[0]
    assert (row.name, row.state, row.last_seen_at, row.agent_version) == (
        "idle",
        "offline",
        None,
        None,
    )


def test_an_unheard_agent_counts_as_offline(agent, brain):
    """Thirty seconds without a frame."""
    agent.clock.advance(31)
    assert brain.agents()[0].state == "offline"


def test_offline_agents_are_not_asked(brain):
    """The API answers 503 at once."""
    brain.mint_agent()
    with pytest.raises(IssueRefused) as refusal:
        brain.issue("cancel_task", engine="celery", task_id="t")
    assert str(refusal.value) == "503: agent_offline"


def test_unchecked_commands_wait_for_their_agent(brain, make_agent):
    """They stay pending and are delivered right after hello_ack, oldest first."""
    credentials = brain.mint_agent()
    first = brain.issue("reconcile_task", engine="celery", task_id="a", unchecked=True)
    second = brain.issue("reconcile_task", engine="celery", task_id="b", unchecked=True)
    agent = make_agent(brain, credentials)
    commands = [received.command.id for received in agent.connect()[1:]]
    assert commands == [first.id, second.id]
    assert [command.status.value for command in brain.commands] == ["dispatched"] * 2


def test_retries_wait_for_a_session_that_keeps_the_contract(brain, make_agent):
    """The first slot may lack the contract; the second gets the command."""
    poor = make_agent(brain, worker_id="a", capabilities={"celery": []})
    poor.connect()
    command = brain.issue("retry_task", engine="celery", task_id="t", unchecked=True)
    assert command.status.value == "pending"
    rich = make_agent(brain, poor.credentials, worker_id="b")
    assert rich.connect()[1].command.id == command.id
    assert poor.read() == []


def test_commands_go_to_the_first_slot(agent, brain, make_agent):
    """Insertion order decides, not load."""
    make_agent(brain, agent.credentials, worker_id="w-2").connect()
    command = brain.issue("cancel_task", engine="celery", task_id="t")
    assert agent.read()[0].command.id == command.id


def test_the_addressee_is_the_agent_with_the_engine(agent, brain, make_agent):
    """Of several online agents the one that has the engine is asked."""
    rq = make_agent(brain, engines=["rq"], capabilities={"rq": ["cancel_task"]})
    rq.connect()
    command = brain.issue("cancel_task", engine="rq", task_id="t")
    assert command.agent_id == rq.credentials.agent_id
    assert brain.issue("rate_limit", agent_id=agent.credentials.agent_id, task_name="n", rate="1")


def test_retries_know_the_row(agent, brain):
    """Name and priority come from the brain's own table."""
    agent.send(agent.event("task.received", task_name="n", priority="low"))
    brain.issue("retry_task", engine="celery", task_id="t-1")
    parameters = agent.read()[0].command.parameters
    assert (parameters["task_name"], parameters["priority"]) == ("n", "low")
    assert parameters["original_had_args"] is False
    assert (parameters["args"], parameters["kwargs"]) == (None, None)


def test_a_purge_carries_the_token_of_the_depth_seen(agent, brain):
    """observed_depth becomes confirm_token."""
    brain.issue("purge_queue", engine="celery", queue="q", observed_depth=17)
    parameters = agent.read()[0].command.parameters
    key = decode_secret(agent.credentials.hmac_secret)
    assert parameters == {"queue": "q", "confirm_token": purge_token(key, "q", 17), "force": False}


def test_inadmissible_commands_are_refused(agent, brain):
    """What the agent does not list is 422."""
    with pytest.raises(IssueRefused, match="422"):
        brain.issue("requeue_dead_letter", engine="celery", task_id="t")


def test_worker_events_admit_worker_commands(agent, brain):
    """One worker.online is enough."""
    with pytest.raises(IssueRefused, match="422"):
        brain.issue("pool_grow", engine="celery", worker_name="w", delta=1)
    agent.send(agent.event("worker.online", "", worker="w"))
    brain.issue("pool_grow", engine="celery", worker_name="w", delta=1)
    assert agent.read()[0].command.parameters["delta"] == 1


def test_commands_time_out(agent, brain):
    """Without a result within 60 seconds the command ends as timeout, and stays so."""
    command = brain.issue("cancel_task", engine="celery", task_id="t")
    agent.clock.advance(60)
    agent.finish(command.id)
    assert command.status.value == "timeout"


def test_tick_expires_commands(agent, brain):
    """Time passes where tick is called."""
    command = brain.issue("cancel_task", engine="celery", task_id="t")
    agent.clock.advance(61)
    brain.tick()
    assert command.is_done


def test_wait_for_returns_what_the_predicate_returns(agent, brain):
    """It wakes with the change, on whichever thread that happens."""
    data = agent.batch_bytes(agent.event("task.started"))
    thread = threading.Thread(target=agent.connection.receive, args=(data,))
    thread.start()
    assert brain.wait_for(lambda: brain.task("celery", "t-1"), 5).state == "started"
    thread.join()


def test_wait_for_raises_when_it_does_not_come(brain):
    """The time is real time."""
    with pytest.raises(TimeoutError):
        brain.wait_for(lambda: False, 0)


def test_a_brain_has_the_system_clock_by_default():
    """Without a clock it goes by the machine's."""
    assert DevBrain().clock.now_ns() > 0
