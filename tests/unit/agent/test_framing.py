"""From entries to frames."""

from __future__ import annotations

import json

import pytest

from z4j_otel.agent.framing import Batch, Framer
from z4j_otel.agent.results import encode_result
from z4j_otel.buffer.base import Entry, EntryKind
from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.received import BatchReceived, CommandFinished
from z4j_otel.wire.session import FrameTooLarge, Role, Session

IDS = {"agent_id": "a", "project_id": "p", "session_id": "s"}


@pytest.fixture
def sides(kit, clock):
    """Return a function that makes both sides of an established session."""

    def make(max_frame_bytes=1_048_576):
        agent, brain = Session(Role.AGENT, kit.KEY), Session(Role.BRAIN, kit.KEY)
        hello = Hello(agent_version="1", framework="bare")
        brain.receive(agent.send_hello(hello, frame_id="h"), now_ns=clock.now_ns())
        ack = HelloAck(**IDS, max_frame_size_bytes=max_frame_bytes)
        answer = brain.send_hello_ack(ack, frame_id="a", now_ns=clock.now_ns())
        agent.receive(answer, now_ns=clock.now_ns())
        return agent, brain

    return make


@pytest.fixture
def framer(ledger, clock):
    """Return a framer."""
    return Framer(ledger, clock)


def result_body(command_id="c-1", size=0):
    """Return a command's result as it lies in the buffer."""
    result = CommandResult(CommandStatus.SUCCESS, {"x": "y" * size})
    return encode_result(Command(command_id, "retry_task"), result)


def event(number, kit, size=0):
    """Return an event's entry."""
    return Entry(number, EntryKind.EVENT, kit.event_bytes(number, size))


def result(number, body):
    """Return a result's entry."""
    return Entry(number, EntryKind.COMMAND_RESULT, body)


def read(brain, frames, clock):
    """Return what the brain makes of frames."""
    return [brain.receive(frame, now_ns=clock.now_ns()) for frame in frames]


def test_results_go_ahead_of_the_events_they_were_leased_with(framer, sides, kit, clock):
    """One frame for each result, then one for all events."""
    agent, brain = sides()
    batch = Batch.of("ev", [event(1, kit), result(2, result_body()), event(3, kit)])
    assert batch.sequences == [1, 2, 3]
    first, second = read(brain, framer.frames_of(batch, agent), clock)
    assert isinstance(first, CommandFinished)
    assert isinstance(second, BatchReceived)
    assert [e["id"] for e in second.events] == ["1", "3"]


def test_unreadable_result_is_left_out(kit):
    """A damaged result is no part of what the ack of the batch settles."""
    batch = Batch.of("ev", [result(1, b"{}"), event(2, kit)])
    assert (batch.results, len(batch.events), batch.sequences) == ([], 1, [2])
    assert batch.unreadable == [1]


def test_hurried_result_is_told_once_per_connection(framer, sides):
    """Its entry, when its turn comes, is only acked."""
    agent, _ = sides()
    framer.hurry(result_body())
    assert len(framer.hurried_frames(agent)) == 1
    assert framer.hurried_frames(agent) == []
    batch = Batch.of("ev", [result(1, result_body())])
    assert len(framer.frames_of(batch, agent)) == 1
    framer.disconnected(is_suspect=False)
    assert len(framer.hurried_frames(agent)) == 1
    framer.settled(batch)
    framer.disconnected(is_suspect=False)
    assert framer.hurried_frames(agent) == []


def test_suspected_results_wait_for_their_turn(framer, sides):
    """After a close over what was sent, nothing overtakes the entry that may be guilty."""
    agent, _ = sides()
    framer.hurry(result_body())
    framer.disconnected(is_suspect=True)
    assert framer.hurried_frames(agent) == []


def test_undone_round_tells_again(framer, sides):
    """What a transport did not take is made anew."""
    agent, _ = sides()
    framer.hurry(result_body())
    framer.begin()
    framer.hurried_frames(agent)
    framer.undo()
    assert len(framer.hurried_frames(agent)) == 1


def test_hurried_results_are_bounded(framer, sides):
    """A thousand results are remembered, the newest."""
    agent, _ = sides()
    for number in range(1001):
        framer.hurry(result_body(f"c-{number}"))
    frames = framer.hurried_frames(agent)
    assert len(frames) == 1000
    assert json.loads(frames[0])["id"] == "c-1"


def test_event_too_large_is_reduced(framer, sides, kit, clock):
    """An event over the cap fits after its largest field was cut."""
    agent, brain = sides(4096)
    batch = Batch.of("ev", [event(1, kit, 9000)])
    with pytest.raises(FrameTooLarge):
        framer.frames_of(batch, agent)
    assert framer.reduce(batch, agent)
    frames = framer.frames_of(batch, agent)
    assert len(frames[0]) <= 4096
    ((only,),) = [received.events for received in read(brain, frames, clock)]
    assert only["data"]["reduced"] == ["x"]


def test_what_cannot_be_reduced_is_told_so(framer, sides):
    """A batch without an event, or with one that has no data, stays too large."""
    agent, _ = sides(1024)
    assert not framer.reduce(Batch("ev"), agent)
    assert not framer.reduce(Batch("ev", events=[b"[1]"]), agent)


def test_result_too_large_sends_its_status(framer, sides, clock, ledger):
    """A result over the cap goes without what it returned; the command does not time out."""
    agent, brain = sides(2048)
    framer.hurry(result_body(size=9000))
    (finished,) = read(brain, framer.hurried_frames(agent), clock)
    assert finished.result.status is CommandStatus.SUCCESS
    assert finished.result.result["truncated"] is True
    assert ledger.results_sent == 1
