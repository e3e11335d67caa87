"""The conversation: handshake, directions, order, limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.errors import (
    FrameMalformed,
    FrameReplayed,
    LocalWireError,
    RemoteWireError,
    SignatureInvalid,
    VersionUnsupported,
)
from z4j_otel.ids import CommandId, new_frame_id, new_nonce
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import (
    AgentStatus,
    CommandPayload,
    ErrorPayload,
    Heartbeat,
    Hello,
    HelloAck,
    RegistryDelta,
)
from z4j_otel.wire.received import (
    AgentStatusReceived,
    BatchAcked,
    BatchReceived,
    CommandAcked,
    CommandFinished,
    CommandReceived,
    ErrorReceived,
    HeartbeatReceived,
    HelloAccepted,
    HelloReceived,
    Ignored,
)
from z4j_otel.wire.session import FrameOversize, FrameTooLarge, Role, Session, State
from z4j_otel.wire.signing import SessionBinding

Pair = tuple[Session, Session]
HELLO = Hello(agent_version="1", framework="bare")
RESULT = b'{"delivery_claim_token":"t","error":null,"result":{"n":1},"status":"success"}'


def beat(session: Session, now_ns: int) -> bytes:
    """Send the smallest frame of an agent."""
    return session.send_heartbeat(Heartbeat(), frame_id="hb_1", now_ns=now_ns)


def test_the_handshake_establishes_both_sides(
    key: bytes, ack: HelloAck, binding: SessionBinding, now_ns: int
) -> None:
    """Each step leads to the next state, and the agent adopts what it is told."""
    agent, brain = Session(Role.AGENT, key), Session(Role.BRAIN, key)
    received = brain.receive(agent.send_hello(HELLO, frame_id="he_1"), now_ns=now_ns)
    assert received == HelloReceived(HELLO, "he_1")
    assert (agent.state, brain.state, agent.binding) == (State.HELLO_SENT, State.HELLO_SENT, None)
    answer = brain.send_hello_ack(ack, frame_id="hack_1", now_ns=now_ns)
    told_ns = now_ns - now_ns % 1000  # the wire has microseconds
    assert agent.receive(answer, now_ns=now_ns) == HelloAccepted(ack, told_ns)
    assert (agent.state, brain.state) == (State.ESTABLISHED, State.ESTABLISHED)
    assert agent.binding == brain.binding == binding


def test_the_agent_adopts_interval_cap_and_version(
    key: bytes, binding: SessionBinding, now_ns: int
) -> None:
    """The numbers of hello_ack rule the session."""
    told = HelloAck(
        agent_id="a",
        project_id="p",
        session_id="s",
        brain_version="1.8.0",
        heartbeat_interval_seconds=30,
        max_frame_size_bytes=2048,
    )
    agent, brain = Session(Role.AGENT, key), Session(Role.BRAIN, key)
    brain.receive(agent.send_hello(HELLO, frame_id="h"), now_ns=now_ns)
    agent.receive(brain.send_hello_ack(told, frame_id="h", now_ns=now_ns), now_ns=now_ns)
    assert agent.heartbeat_interval_s == 30.0
    assert (agent.max_frame_bytes, agent.brain_version) == (2048, "1.8.0")


def test_what_the_agent_sends_the_brain_understands(pair: Pair, now_ns: int) -> None:
    """Every frame of the agent arrives with its meaning."""
    agent, brain = pair
    at = {"frame_id": "f_1", "now_ns": now_ns}
    error = ErrorPayload(code="c", message="m", fatal=True)
    exchange = [
        (agent.send_event_batch([b'{"a":1}', b"{}"], **at), BatchReceived("f_1", [{"a": 1}, {}])),
        (agent.send_event_batch([], **at), BatchReceived("f_1", [])),
        (agent.send_command_ack("c", "t", now_ns=now_ns), CommandAcked("c", "t")),
        (
            agent.send_command_result("c", RESULT, now_ns=now_ns),
            CommandFinished("c", CommandResult(CommandStatus.SUCCESS, {"n": 1}), "t"),
        ),
        (
            agent.send_registry_delta(RegistryDelta(engine="celery"), **at),
            Ignored("registry_delta"),
        ),
        (agent.send_error(error, **at), ErrorReceived("c", "m", fatal=True)),
    ]
    for data, meaning in exchange:
        assert brain.receive(data, now_ns=now_ns) == meaning
    assert isinstance(brain.receive(beat(agent, now_ns), now_ns=now_ns), HeartbeatReceived)
    status = agent.send_agent_status(AgentStatus(buffer_depth=3), **at)
    assert isinstance(brain.receive(status, now_ns=now_ns), AgentStatusReceived)


def test_what_the_brain_sends_the_agent_understands(pair: Pair, now_ns: int) -> None:
    """Commands, acknowledgements and complaints, also as text messages."""
    agent, brain = pair
    at = {"frame_id": "f_1", "now_ns": now_ns}
    exchange = [
        (brain.send_event_batch_ack("ev_1", 3, 2, 1, **at), BatchAcked("ev_1", 3, 2, 1)),
        (
            brain.send_command("c", CommandPayload(action="cancel_task"), now_ns=now_ns),
            CommandReceived(Command(CommandId("c"), "cancel_task"), sent_ns=now_ns),
        ),
        (brain.send_error(ErrorPayload(code="c"), **at), ErrorReceived("c", "", fatal=False)),
    ]
    for data, meaning in exchange:
        assert agent.receive(data.decode(), now_ns=now_ns) == meaning


def test_frames_are_canonical_and_numbered_from_one(pair: Pair, now_ns: int) -> None:
    """The wire text is what was signed, with the signature in its place."""
    agent, _ = pair
    frames = [beat(agent, now_ns) for _ in range(3)]
    assert [canonical.decode(data)["seq"] for data in frames] == [1, 2, 3]
    assert all(canonical.encode(canonical.decode(data)) == data for data in frames)


def test_frames_out_of_order_are_refused(pair: Pair, now_ns: int) -> None:
    """A frame that was overtaken is a replay; the session ends."""
    agent, brain = pair
    first, second = beat(agent, now_ns), beat(agent, now_ns)
    brain.receive(second, now_ns=now_ns)
    with pytest.raises(FrameReplayed):
        brain.receive(first, now_ns=now_ns)
    assert brain.state is State.CLOSED
    with pytest.raises(LocalWireError):
        brain.receive(beat(agent, now_ns), now_ns=now_ns)


def test_a_gap_is_allowed(pair: Pair, now_ns: int) -> None:
    """A frame that never came does not end the session."""
    agent, brain = pair
    beat(agent, now_ns)
    brain.receive(beat(agent, now_ns), now_ns=now_ns)
    assert brain.state is State.ESTABLISHED


def test_a_repeated_nonce_is_refused(key: bytes, ack: HelloAck, now_ns: int) -> None:
    """Numbers alone do not make a frame fresh."""
    agent, brain = Session(Role.AGENT, key, nonce=lambda: "same"), Session(Role.BRAIN, key)
    brain.receive(agent.send_hello(HELLO, frame_id="h"), now_ns=now_ns)
    agent.receive(brain.send_hello_ack(ack, frame_id="h", now_ns=now_ns), now_ns=now_ns)
    brain.receive(beat(agent, now_ns), now_ns=now_ns)
    with pytest.raises(FrameReplayed):
        brain.receive(beat(agent, now_ns), now_ns=now_ns)


def test_a_frame_of_another_session_is_refused(key: bytes, pair: Pair, now_ns: int) -> None:
    """Signatures are bound to the session's id."""
    agent, _ = pair
    other = HelloAck(agent_id="a", project_id="p", session_id="s")
    brain = Session(Role.BRAIN, key)
    brain.receive(Session(Role.AGENT, key).send_hello(HELLO, frame_id="h"), now_ns=now_ns)
    brain.send_hello_ack(other, frame_id="h", now_ns=now_ns)
    with pytest.raises(SignatureInvalid):
        brain.receive(beat(agent, now_ns), now_ns=now_ns)


def test_a_reflected_frame_has_no_effect(pair: Pair, now_ns: int) -> None:
    """One key serves both directions, so the type decides."""
    agent, brain = pair
    batch = agent.send_event_batch([b"{}"], frame_id="ev_1", now_ns=now_ns)
    assert agent.receive(batch, now_ns=now_ns) == Ignored("event_batch")
    command = brain.send_command("c", CommandPayload(action="x"), now_ns=now_ns)
    assert brain.receive(command, now_ns=now_ns) == Ignored("command")


def test_a_late_handshake_is_ignored(pair: Pair, key: bytes, now_ns: int) -> None:
    """Neither a hello nor an answer to one changes an established session."""
    agent, brain = pair
    binding = agent.binding
    hello = Session(Role.AGENT, key).send_hello(HELLO, frame_id="h")
    assert brain.receive(hello, now_ns=now_ns) == Ignored("hello")
    late = b'{"v":2,"type":"hello_ack","payload":{"session_id":"evil"}}'
    assert agent.receive(late, now_ns=now_ns) == Ignored("hello_ack")
    assert agent.binding == binding
    brain.receive(beat(agent, now_ns), now_ns=now_ns)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"not json", FrameMalformed),
        (b'{"v":2,"type":"heartbeat"}', FrameMalformed),
        (b'{"v":2,"type":"hello_ack","payload":{}}', FrameMalformed),
        (b'{"v":2,"type":"hello","id":"h","payload":{}}', FrameMalformed),
        (
            b'{"v":2,"type":"hello","id":"h","payload":{"protocol_version":"3",%b}}'
            % b'"agent_version":"","framework":""',
            VersionUnsupported,
        ),
    ],
)
def test_a_brain_accepts_only_hello_first(
    data: bytes, error: type[Exception], key: bytes, now_ns: int
) -> None:
    """Anything else ends the session before it began."""
    brain = Session(Role.BRAIN, key)
    with pytest.raises(error):
        brain.receive(data, now_ns=now_ns)
    assert brain.state is State.CLOSED


@pytest.mark.parametrize("kind", ["hello", "heartbeat", "command"])
def test_an_agent_accepts_only_hello_ack_first(kind: str, key: bytes, now_ns: int) -> None:
    """A signed frame before the ids are known cannot be checked."""
    agent = Session(Role.AGENT, key)
    agent.send_hello(HELLO, frame_id="h")
    with pytest.raises(FrameMalformed):
        agent.receive(canonical.encode({"v": 2, "type": kind}), now_ns=now_ns)


def test_a_brain_that_has_not_answered_takes_no_second_frame(key: bytes, now_ns: int) -> None:
    """The agent has to wait for the answer."""
    hello = Session(Role.AGENT, key).send_hello(HELLO, frame_id="h")
    brain = Session(Role.BRAIN, key)
    brain.receive(hello, now_ns=now_ns)
    with pytest.raises(FrameMalformed):
        brain.receive(hello, now_ns=now_ns)


def test_nothing_is_sent_or_received_out_of_turn(
    key: bytes, ack: HelloAck, pair: Pair, now_ns: int
) -> None:
    """Our own mistakes are told and change nothing."""
    agent, brain = pair
    new = Session(Role.AGENT, key)
    at: dict[str, Any] = {"frame_id": "f", "now_ns": now_ns}
    mistakes: list[Callable[[], object]] = [
        lambda: new.receive(b"{}", now_ns=now_ns),
        lambda: beat(new, now_ns),
        lambda: beat(brain, now_ns),
        lambda: agent.send_hello(HELLO, frame_id="f"),
        lambda: brain.send_hello(HELLO, frame_id="f"),
        lambda: agent.send_hello_ack(ack, **at),
        lambda: brain.send_hello_ack(ack, **at),
        lambda: agent.send_command("c", CommandPayload(action="x"), now_ns=now_ns),
        lambda: brain.send_command_result("c", RESULT, now_ns=now_ns),
        lambda: new.send_error(ErrorPayload(code="c"), **at),
        lambda: agent.send_event_batch([b"{}"] * 5001, **at),
        lambda: agent.send_event_batch([], frame_id="", now_ns=now_ns),
        lambda: agent.send_event_batch([], frame_id="i" * 65, now_ns=now_ns),
        lambda: agent.send_error(ErrorPayload(code="\ud800"), **at),
    ]
    for mistake in mistakes:
        with pytest.raises(LocalWireError):
            mistake()
    assert (new.state, agent.state, brain.state) == (
        State.NEW,
        State.ESTABLISHED,
        State.ESTABLISHED,
    )
    assert canonical.decode(beat(agent, now_ns))["seq"] == 1


def test_a_frame_above_the_cap_is_not_sent(pair: Pair, now_ns: int) -> None:
    """It takes no number; at the cap exactly it goes."""
    agent, brain = pair
    size = len(agent.send_event_batch([b'"x"'], frame_id="ev_1", now_ns=now_ns))
    agent.max_frame_bytes = size
    with pytest.raises(FrameTooLarge) as caught:
        agent.send_event_batch([b'"xy"'], frame_id="ev_2", now_ns=now_ns)
    assert (caught.value.size_bytes, caught.value.max_bytes) == (size + 1, size)
    data = agent.send_event_batch([b'"x"'], frame_id="ev_3", now_ns=now_ns)
    assert canonical.decode(data)["seq"] == 2
    assert brain.receive(data, now_ns=now_ns) == BatchReceived("ev_3", ["x"])


@pytest.mark.parametrize("as_text", [False, True])
def test_a_brain_refuses_what_exceeds_its_cap(pair: Pair, now_ns: int, *, as_text: bool) -> None:
    """Bytes count, in text too."""
    agent, brain = pair
    data = agent.send_event_batch(['"é"'.encode()], frame_id="ev_1", now_ns=now_ns)
    brain.max_frame_bytes = len(data) - 1
    with pytest.raises(FrameOversize):
        brain.receive(data.decode() if as_text else data, now_ns=now_ns)


def test_the_overhead_of_a_batch_is_bounded(pair: Pair, now_ns: int) -> None:
    """Events and their commas plus the bound never exceed a cap unnoticed."""
    agent, _ = pair
    agent._nonce = lambda: "n" * 32
    agent._signer._seq = 2**63  # type: ignore[union-attr]  # established
    data = agent.send_event_batch([], frame_id="i" * 64, now_ns=now_ns)
    assert len(data) <= agent.batch_overhead_bytes
    assert len(new_frame_id("ev")) <= 64
    assert len(new_nonce()) <= 32


def test_a_short_key_is_refused() -> None:
    """A key of fewer than 32 bytes is no project's secret."""
    with pytest.raises(ValueError, match="32 bytes"):
        Session(Role.AGENT, b"short")


@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_ends_the_session(
    position: int, bit: int, new_pair: Callable[[], Pair], now_ns: int
) -> None:
    """Whatever bit of a command changes, the agent does not act on it."""
    agent, brain = new_pair()
    payload = CommandPayload(action="cancel_task", parameters={"task_id": "é", "x": [0.5]})
    data = bytearray(brain.send_command("c-1", payload, now_ns=now_ns))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(RemoteWireError):
        agent.receive(bytes(data), now_ns=now_ns)
    assert agent.state is State.CLOSED


@given(st.lists(st.sampled_from(["agent", "brain"]), max_size=20))
def test_any_interleaving_of_both_directions_is_accepted(directions: list[str]) -> None:
    """Each direction counts for itself."""
    now_ns, key = 1_767_323_045_678_901_000, bytes(32)
    agent, brain = Session(Role.AGENT, key), Session(Role.BRAIN, key)
    brain.receive(agent.send_hello(HELLO, frame_id="h"), now_ns=now_ns)
    told = HelloAck(agent_id="a", project_id="p", session_id="s")
    agent.receive(brain.send_hello_ack(told, frame_id="h", now_ns=now_ns), now_ns=now_ns)
    for direction in directions:
        if direction == "agent":
            brain.receive(beat(agent, now_ns), now_ns=now_ns)
        else:
            data = brain.send_event_batch_ack("e", 0, 0, 0, frame_id="f", now_ns=now_ns)
            agent.receive(data, now_ns=now_ns)
