"""Each way in which the brain misbehaves on request."""

from __future__ import annotations

import pytest

from z4j_otel.devbrain.faults import CloseWith
from z4j_otel.errors import SignatureInvalid


def acked(received):
    """Return the ids acknowledged."""
    return [ack.acked_id for ack in received]


def test_dropped_acks(agent, brain):
    """The batch is stored, the agent is not told; its resend is a duplicate."""
    brain.faults.drop_acks()
    event = agent.event("task.started")
    assert agent.send(event, frame_id="a") == []
    ack = agent.send(event, frame_id="a")[0]
    assert (ack.accepted, ack.rejected) == (0, 1)


def test_lost_batches(agent, brain):
    """The batch is neither stored nor acked; its resend is new."""
    brain.faults.lose_batches()
    event = agent.event("task.started")
    assert agent.send(event) == []
    assert agent.send(event)[0].accepted == 1


def test_repeated_acks(agent, brain):
    """Each ack comes twice, freshly signed."""
    brain.faults.repeat_acks(2)
    assert acked(agent.send(frame_id="a")) == ["a", "a"]
    assert acked(agent.send(frame_id="b")) == ["b", "b"]
    assert acked(agent.send(frame_id="c")) == ["c"]


def test_reordered_acks(agent, brain):
    """Acks are held and come last first."""
    brain.faults.reorder_acks(3)
    assert agent.send(frame_id="a") == []
    assert agent.send(frame_id="b") == []
    assert acked(agent.send(frame_id="c")) == ["c", "b", "a"]


def test_acks_of_unknown_ids(agent, brain):
    """An ack of nothing precedes the true one."""
    brain.faults.ack_unknown_ids()
    ids = acked(agent.send(frame_id="a"))
    assert len(ids) == 2
    assert ids[1] == "a"


def test_delayed_acks(agent, brain):
    """Acks come when their time has come, and the connection knows when."""
    brain.faults.delay_acks(5)
    assert agent.send(frame_id="a") == []
    assert agent.connection.next_wake_ns() == agent.clock.now_ns() + 5_000_000_000
    agent.clock.advance(5)
    assert acked(agent.read()) == ["a"]
    assert agent.connection.next_wake_ns() is None
    brain.faults.delay_acks(0)
    assert acked(agent.send(frame_id="b")) == ["b"]


def test_a_slow_brain(agent, brain):
    """So many acks a second, and no more."""
    brain.faults.limit_acks(2)
    received = [acked(agent.send(frame_id=name)) for name in "abc"]
    assert received == [["a"], [], []]
    agent.clock.advance(0.5)
    assert acked(agent.read()) == ["b"]
    brain.faults.limit_acks(None)
    assert acked(agent.send(frame_id="d")) == ["d"]


def test_corrupt_signatures(agent, brain):
    """The next signed frame does not verify."""
    brain.faults.corrupt_signatures()
    with pytest.raises(SignatureInvalid):
        agent.send()


def test_hello_ack_has_no_signature_to_corrupt(brain, make_agent):
    """The fault waits for a signed frame."""
    brain.faults.corrupt_signatures()
    agent = make_agent(brain)
    assert agent.connect()
    with pytest.raises(SignatureInvalid):
        agent.send()


def test_closing_at_hello(brain, make_agent):
    """The next hellos are answered with a close."""
    credentials = brain.mint_agent()
    brain.faults.close_at_hello(4429, "busy", count=2)
    for _ in range(2):
        with pytest.raises(CloseWith, match="4429"):
            make_agent(brain, credentials).connect()
    assert make_agent(brain, credentials).connect()


def test_closing_at_a_batch(agent, brain):
    """The batch that meets the close is not stored."""
    brain.faults.close_at_batch(1011)
    with pytest.raises(CloseWith, match="1011"):
        agent.send(agent.event("task.started"))
    assert brain.events() == []


def test_choking_on_an_event(agent, brain, make_agent):
    """Every batch with that event ends the connection, others do not, until cleared."""
    poison, other = agent.event("task.started") | {"id": "p"}, agent.event("task.received")
    brain.faults.choke_on("p", 1011)
    assert agent.send(other)[0].accepted == 1
    with pytest.raises(CloseWith, match="1011"):
        agent.send(poison)
    brain.faults.clear()
    again = make_agent(brain)
    again.connect()
    assert again.send(poison)[0].accepted == 1


def test_clearing(agent, brain):
    """Nothing that was asked for happens after clear."""
    brain.faults.drop_acks(9)
    brain.faults.delay_acks(9)
    brain.faults.close_at_batch(1011)
    brain.faults.clear()
    assert acked(agent.send(frame_id="a")) == ["a"]
