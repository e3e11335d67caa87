"""Close codes, acks and slots: one agent's conversation with the brain."""

from __future__ import annotations

import pytest

from z4j_otel.commands import CommandStatus
from z4j_otel.devbrain.faults import CloseWith
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import AgentStatus, FrameType, RegistryDelta
from z4j_otel.wire.received import BatchAcked, HelloAccepted
from z4j_otel.wire.session import Role, Session

HELLO = {"protocol_version": "2", "agent_version": "1", "framework": "bare"}


def greeting(v=2, **members):
    """Write a hello by hand."""
    frame = {"v": v, "type": "hello", "id": "h", "payload": {**HELLO, **members}}
    return canonical.encode(frame)


def closes(call, *args):
    """Return the code with which the brain closes."""
    with pytest.raises(CloseWith) as close:
        call(*args)
    return close.value.code


def test_hello_is_answered(agent, brain):
    """hello_ack tells the ids and the limits."""
    assert agent.session.binding.agent_id == agent.credentials.agent_id
    assert agent.session.binding.project_id == agent.credentials.project_id
    assert agent.session.max_frame_bytes == brain.settings.max_frame_bytes
    assert agent.connection.is_established


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no json", 4400),
        (b"[]", 4400),
        (b'{"v":2,"type":"heartbeat","id":"h","payload":{}}', 4400),
        (b'{"v":2,"type":"dream","id":"h","payload":{}}', 4400),
        (greeting(v=1), 4400),
        (greeting(agent_version=1), 4400),
        (greeting(host="name"), 4400),
        (greeting(engines=["e"] * 65), 4400),
        (greeting(worker_pid="1"), 4400),
        (b"{" + b" " * 2_000_000, 4400),
        (greeting(protocol_version="3"), 4426),
    ],
)
def test_a_bad_hello_is_refused(make_agent, brain, data, code):
    """Anything but a proper hello costs 4400, another protocol 4426."""
    assert closes(make_agent(brain).connection.receive, data) == code


def test_unknown_members_of_hello_are_ignored(make_agent, brain):
    """An agent may say more than this brain knows."""
    agent = make_agent(brain)
    assert agent.connection.receive(greeting(novelty=1))


@pytest.mark.parametrize(
    "data",
    [
        "no json",
        b'{"v":2,"type":"dream","id":"h"}',
        b'{"v":1,"type":"heartbeat","id":"h"}',
        b'{"v":2,"type":"heartbeat","id":"h","payload":[]}',
        b'{"v":2,"type":"heartbeat","id":"h","payload":{"a":NaN}}',
    ],
)
def test_a_malformed_frame_costs_1011(agent, data):
    """Once established, what cannot be read ends the connection."""
    assert closes(agent.connection.receive, data) == 1011


def test_an_unknown_result_status_costs_1011(agent):
    """A result is success or failed."""
    assert closes(agent.finish, "c", "revoked") == 1011


def test_a_broken_telemetry_loss_costs_1011(agent):
    """The loss counters are validated."""
    payload = b'{"telemetry_loss":{"buffer_id":""}}'
    data = agent.session._signer.seal(
        FrameType.HEARTBEAT, "hb", payload, nonce="n", now_ns=agent.clock.now_ns()
    )
    assert closes(agent.connection.receive, data) == 1011


def test_an_oversize_frame_costs_4400(make_brain, make_agent):
    """The cap is the one announced, in bytes of UTF-8."""
    agent = make_agent(make_brain(max_frame_bytes=2000))
    agent.connect()
    assert closes(agent.connection.receive, "é" * 1001) == 4400


def test_a_wrong_secret_costs_4403(make_brain, make_agent):
    """Hello passes, the first signed frame does not."""
    brain = make_brain()
    agent = make_agent(brain)
    agent.session = Session(Role.AGENT, b"x" * 32)
    agent.connect()
    assert closes(agent.send) == 4403


def test_a_changed_byte_costs_4403(agent):
    """The signature covers the payload."""
    data = agent.batch_bytes(agent.event("task.started"))
    assert closes(agent.connection.receive, data.replace(b"task.started", b"task.startef")) == 4403


@pytest.mark.parametrize("skew_s", [-61, 61])
def test_a_stale_or_early_frame_costs_4403(agent, skew_s):
    """Ts may be off by 60 seconds."""
    agent.clock.step(skew_s)
    data = agent.batch_bytes()
    agent.clock.step(-skew_s)
    assert closes(agent.connection.receive, data) == 4403


@pytest.mark.parametrize("skew_s", [-60, 60])
def test_sixty_seconds_are_allowed(agent, skew_s):
    """The bound is inclusive."""
    agent.clock.step(skew_s)
    data = agent.batch_bytes()
    agent.clock.step(-skew_s)
    assert agent.tell(data)


def test_a_replayed_frame_costs_4403(agent):
    """The same bytes are not taken twice."""
    data = agent.batch_bytes()
    agent.tell(data)
    assert closes(agent.connection.receive, data) == 4403


def test_reordered_frames_cost_4403_and_gaps_do_not(agent):
    """Sequence numbers only have to rise."""
    first, second = agent.batch_bytes(), agent.batch_bytes()
    assert agent.tell(second)
    assert closes(agent.connection.receive, first) == 4403


def test_a_nonce_is_taken_once(brain, make_agent):
    """Fresh numbers do not help a used nonce."""
    agent = make_agent(brain)
    agent.session = Session(Role.AGENT, agent.session._key, nonce=lambda: "same")
    agent.connect()
    agent.send()
    assert closes(agent.send) == 4403


def test_a_batch_is_counted_and_acked(agent):
    """The ack names the frame and counts what is newly stored."""
    events = [agent.event("task.received"), agent.event("task.received"), "junk"]
    assert agent.send(*events, frame_id="ev_x") == [BatchAcked("ev_x", 3, 1, 2)]
    assert agent.send(events[0], frame_id="ev_y") == [BatchAcked("ev_y", 1, 0, 1)]


def test_an_empty_batch_is_acked(agent):
    """Nothing is still a batch."""
    assert agent.send(frame_id="ev_x") == [BatchAcked("ev_x", 0, 0, 0)]


def test_a_second_hello_is_ignored(agent):
    """The handshake happens once."""
    assert agent.connection.receive(greeting()) == []
    assert agent.send()


def test_heartbeats_and_statuses_are_kept(agent, brain):
    """Both are without answer; the heartbeat fills queues."""
    assert agent.heartbeat(adapter_health={"celery.queue_depths": '{"q": 3}'}) == []
    assert brain.heartbeats[-1][0] == agent.credentials.agent_id
    assert brain.queues()[0].pending_count == 3
    now_ns = agent.clock.now_ns()
    agent.tell(agent.session.send_agent_status(AgentStatus(), frame_id="as", now_ns=now_ns))
    delta = RegistryDelta(engine="celery")
    agent.tell(agent.session.send_registry_delta(delta, frame_id="rd", now_ns=now_ns))
    assert brain.statuses[-1][1]["protocol_version"] == "2"


def test_a_newer_connection_takes_the_slot(agent, brain, make_agent):
    """One worker id, one connection: the older one is closed with 4002."""
    newer = make_agent(brain, agent.credentials, worker_id="w-1")
    newer.connect()
    assert closes(agent.send) == 4002
    assert newer.send()
    other = make_agent(brain, agent.credentials, worker_id="w-2")
    other.connect()
    assert newer.send()


def test_the_worker_cap_costs_4429_after_hello_ack(make_brain, make_agent):
    """A full house says hello before it says no; a held slot may be taken over."""
    brain = make_brain(worker_cap=1)
    first = make_agent(brain, worker_id="a")
    first.connect()
    second = make_agent(brain, first.credentials, worker_id="b")
    assert isinstance(second.connect()[0], HelloAccepted)
    assert closes(second.connection.drain) == 4429
    third = make_agent(brain, first.credentials, worker_id="a")
    third.connect()
    assert third.send()


def test_silence_costs_4408(agent, brain):
    """After the idle timeout the brain closes; a frame in time prevents it."""
    agent.clock.advance(89)
    agent.heartbeat()
    agent.clock.advance(90)
    brain.tick()
    assert agent.read() == []
    agent.clock.advance(1)
    brain.tick()
    assert closes(agent.connection.drain) == 4408


def test_before_hello_silence_is_allowed(brain, make_agent):
    """The brain waits for hello without a limit."""
    agent = make_agent(brain)
    agent.clock.advance(3600)
    brain.tick()
    assert agent.connect()


def test_a_closed_connection_takes_nothing(agent):
    """What arrives after the close is not stored."""
    data = agent.batch_bytes(agent.event("task.started"))
    agent.connection.close(1012)
    assert closes(agent.connection.receive, data) == 1012
    assert agent.brain.events() == []


def test_a_lost_connection_frees_its_slot(agent, brain):
    """An agent without connections is offline."""
    assert brain.agents()[0].state == "online"
    agent.connection.disconnected()
    agent.connection.disconnected()
    assert brain.agents()[0].state == "offline"
    assert brain.operator.agent_workers()[0].state == "offline"


def test_results_end_their_command(agent, brain):
    """Ack and result arrive at the command they name."""
    command = brain.issue("cancel_task", engine="celery", task_id="t-1")
    received = agent.read()[0].command
    assert (received.id, received.action) == (command.id, "cancel_task")
    now_ns = agent.clock.now_ns()
    agent.tell(agent.session.send_command_ack(received.id, received.claim_token, now_ns=now_ns))
    assert command.is_acked
    agent.finish(received.id, result={"task_id": "t-1"})
    assert command.wait(0).status.value == "completed"
    agent.finish(received.id, CommandStatus.FAILED.value, error="late")
    assert command.error is None


def test_results_of_others_are_ignored(agent, brain, make_agent):
    """Unknown and foreign ids change nothing."""
    command = brain.issue("cancel_task", engine="celery", task_id="t-1")
    stranger = make_agent(brain)
    stranger.connect()
    stranger.finish(command.id)
    stranger.finish("unknown")
    assert not command.is_done
