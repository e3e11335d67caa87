"""Batches, acks, resends and releases."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.results import encode_result
from z4j_otel.agent.uploader import Uploader
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.wire.frames import Hello, HelloAck
from z4j_otel.wire.received import BatchAcked, BatchReceived, CommandFinished
from z4j_otel.wire.session import Role, Session

KEY = bytes(32)
IDS = ("1" * 8, "2" * 8, "3" * 8)


class StepClock:
    """A clock that only moves when told."""

    def __init__(self):
        self.now_s = 0.0

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return 1_700_000_000_000_000_000 + int(self.now_s * 1e9)

    def monotonic_s(self):
        """Return the monotonic clock, seconds."""
        return self.now_s


class Scene:
    """An uploader, its buffer, and the brain's session to read its frames with."""

    def __init__(self, max_frame_bytes=1_048_576):
        self.clock = StepClock()
        self.buffer = MemoryBuffer()
        self.ledger = Ledger(buffer_id="b", runtime_id="r")
        count = itertools.count()
        self.uploader = Uploader(
            self.buffer, self.ledger, self.clock, new_id=lambda prefix: f"{prefix}_{next(count)}"
        )
        self.connect(max_frame_bytes)

    def connect(self, max_frame_bytes=1_048_576):
        """Open a connection."""
        self.session, self.brain = Session(Role.AGENT, KEY), Session(Role.BRAIN, KEY)
        now_ns = self.clock.now_ns()
        hello = self.session.send_hello(Hello(agent_version="1", framework="bare"), frame_id="h")
        self.brain.receive(hello, now_ns=now_ns)
        ack = HelloAck(
            agent_id=IDS[0],
            project_id=IDS[1],
            session_id=IDS[2],
            max_frame_size_bytes=max_frame_bytes,
        )
        self.session.receive(
            self.brain.send_hello_ack(ack, frame_id="a", now_ns=now_ns), now_ns=now_ns
        )

    def send(self):
        """Send, and let the other side read it."""
        frames = self.uploader.next_frames(self.session)
        return [self.brain.receive(frame, now_ns=self.clock.now_ns()) for frame in frames]

    def send_all(self):
        """Send until there is nothing to do."""
        return list(itertools.chain.from_iterable(iter(self.send, [])))

    def ack(self, frame, rejected=0):
        """Ack a batch."""
        count = len(frame.events)
        return self.uploader.acked(BatchAcked(frame.frame_id, count, count - rejected, rejected))

    @property
    def waiting(self):
        """Return how many entries the buffer holds."""
        return self.buffer.stats().entries


@pytest.fixture
def scene():
    """Return an uploader on an established session."""
    return Scene()


def result_body(command_id="c-1"):
    """Return a command's result as it lies in the buffer."""
    return encode_result(
        Command(command_id, "retry_task"), CommandResult(CommandStatus.SUCCESS, {"x": 1})
    )


def test_nothing_to_do(scene):
    """An empty buffer sends nothing and asks for no timer."""
    assert scene.send() == []
    assert scene.uploader.wait_s() is None
    assert scene.uploader.is_idle


def test_batch_holds_events_in_order_and_stays_until_acked(scene, kit):
    """Events are sent in order of append and leave the buffer with the ack only."""
    kit.fill(scene.buffer, 3)
    (batch,) = scene.send()
    assert [event["id"] for event in batch.events] == ["0", "1", "2"]
    assert scene.waiting == 3
    assert scene.ack(batch) == 3
    assert scene.waiting == 0
    assert (scene.ledger.sent, scene.ledger.acked) == (3, 3)


def test_at_most_four_full_batches_are_out(scene, kit):
    """A backlog goes out as batches of 200, four at a time."""
    kit.fill(scene.buffer, 1100)
    batches = scene.send_all()
    assert [len(batch.events) for batch in batches] == [200] * 4
    scene.ack(batches[0])
    assert [len(batch.events) for batch in scene.send_all()] == [200]


def test_part_batch_waits_for_an_ack_but_not_long(scene, kit):
    """While a batch is out, a few events wait for more, at most a second."""
    kit.fill(scene.buffer, 1)
    scene.send()
    kit.fill(scene.buffer, 1, start=1)
    assert scene.send() == []
    assert scene.uploader.wait_s() == 1.0
    scene.clock.now_s = 0.4
    kit.fill(scene.buffer, 1, start=2)
    assert scene.send() == []
    scene.clock.now_s = 1.0
    (batch,) = scene.send()
    assert [event["id"] for event in batch.events] == ["1", "2"]


def test_flushing_does_not_wait_for_more(scene, kit):
    """Without lingering, what is there is sent at once."""
    scene.uploader.lingers = False
    for number in range(2):
        kit.fill(scene.buffer, 1, start=number)
        assert len(scene.send()) == 1


def test_rejected_is_information(scene, kit):
    """Events the brain did not store anew leave the buffer all the same."""
    kit.fill(scene.buffer, 2)
    (batch,) = scene.send()
    scene.ack(batch, rejected=2)
    assert scene.waiting == 0
    assert scene.ledger.rejected == 2


def test_foreign_and_second_acks_change_nothing(scene, kit):
    """Only the id of a batch that is out settles anything."""
    kit.fill(scene.buffer, 1)
    (batch,) = scene.send()
    assert scene.uploader.acked(BatchAcked("", 1, 1, 0)) == 0
    assert scene.waiting == 1
    assert scene.ack(batch) == 1
    assert scene.ack(batch) == 0


def test_unacked_batch_is_sent_again_with_its_id(scene, kit):
    """After 90 seconds without an ack the same frame id and events are sent anew."""
    kit.fill(scene.buffer, 2)
    (first,) = scene.send()
    assert scene.uploader.wait_s() == 90.0
    scene.clock.now_s = 89.9
    assert scene.send() == []
    scene.clock.now_s = 90.0
    assert scene.send() == [first]
    assert scene.ledger.resent == 2
    scene.ack(first)
    assert scene.waiting == 0


def test_disconnect_releases_everything_in_order(scene, kit):
    """After a new connection the same events come in the same order."""
    kit.fill(scene.buffer, 450)
    before = scene.send_all()
    scene.uploader.disconnected(1006)
    assert scene.uploader.is_idle
    scene.connect()
    after = scene.send_all()
    scene.clock.now_s = 1.0
    after += scene.send_all()
    ids = [event["id"] for batch in after for event in batch.events]
    assert ids == [str(number) for number in range(450)]
    assert [len(batch.events) for batch in before] == [200, 200]


def test_batches_respect_the_frame_cap(kit):
    """Signed frames never exceed what the brain announced, and all events arrive."""
    scene = Scene(max_frame_bytes=20_000)
    kit.fill(scene.buffer, 60, size=1000)
    seen = []
    while scene.waiting:
        frames = scene.uploader.next_frames(scene.session)
        assert all(len(frame) <= 20_000 for frame in frames)
        for frame in frames:
            batch = scene.brain.receive(frame, now_ns=scene.clock.now_ns())
            seen += [event["id"] for event in batch.events]
            scene.ack(batch)
    assert seen == [str(number) for number in range(60)]


def test_event_that_fits_no_frame_is_dropped_and_counted(kit):
    """An event larger than the cap is given up; the others are delivered."""
    scene = Scene(max_frame_bytes=8192)
    kit.fill(scene.buffer, 1)
    kit.fill(scene.buffer, 1, size=9000, start=1)
    kit.fill(scene.buffer, 1, start=2)
    ids = []
    for _ in range(20):
        for batch in scene.send():
            ids += [event["id"] for event in batch.events]
            scene.ack(batch)
    assert ids == ["0", "2"]
    assert scene.buffer.stats().dropped == {(EntryKind.EVENT, DropReason.TOO_LARGE): 1}


def test_result_goes_ahead_of_its_batch_and_leaves_with_the_ack(scene, kit):
    """A stored result is sent once; the batch after it proves that it was read."""
    scene.buffer.append([(EntryKind.COMMAND_RESULT, result_body())], now_ns=0)
    result, batch = scene.send()
    assert isinstance(result, CommandFinished)
    assert (result.command_id, result.result.result) == ("c-1", {"x": 1})
    assert isinstance(batch, BatchReceived)
    assert batch.events == []
    assert scene.waiting == 1
    scene.ack(batch)
    assert scene.waiting == 0


def test_fresh_result_overtakes_a_backlog(scene, kit):
    """A result is sent at once, and only acked when its entry's turn comes."""
    kit.fill(scene.buffer, 1000)
    scene.send_all()
    scene.buffer.append([(EntryKind.COMMAND_RESULT, result_body())], now_ns=0)
    scene.uploader.hurry(result_body())
    assert [type(frame) for frame in scene.send()] == [CommandFinished]
    later = []
    while scene.waiting:
        for batch in list(scene.uploader._in_flight.values()):
            scene.uploader.acked(BatchAcked(batch.frame_id, 0, 0, 0))
        later += scene.send_all()
    assert not [frame for frame in later if isinstance(frame, CommandFinished)]
    assert scene.ledger.results_sent == 1


def test_result_unproven_at_disconnect_is_sent_again(scene):
    """Without an ack behind it a result counts as not delivered."""
    scene.buffer.append([(EntryKind.COMMAND_RESULT, result_body())], now_ns=0)
    scene.uploader.hurry(result_body())
    assert len(scene.send()) == 1
    scene.uploader.disconnected(1006)
    scene.connect()
    assert [type(frame) for frame in scene.send()] == [CommandFinished]
    (batch,) = scene.send()
    scene.ack(batch)
    scene.uploader.disconnected(1006)
    scene.connect()
    assert scene.send_all() == []


def test_unreadable_result_does_not_stop_the_others(scene, kit):
    """A damaged entry is given up; events behind it are delivered."""
    scene.buffer.append([(EntryKind.COMMAND_RESULT, b"{}")], now_ns=0)
    kit.fill(scene.buffer, 1)
    (batch,) = scene.send()
    assert len(batch.events) == 1
    scene.ack(batch)
    assert scene.waiting == 0


def test_result_too_large_for_a_frame_is_given_up():
    """A result that no frame can hold is told in the log and does not block the way."""
    scene = Scene(max_frame_bytes=1024)
    big = CommandResult(CommandStatus.SUCCESS, {"x": "y" * 2000})
    body = encode_result(Command("c-1", "a"), big)
    scene.buffer.append([(EntryKind.COMMAND_RESULT, body)], now_ns=0)
    (batch,) = scene.send()
    scene.ack(batch)
    assert scene.waiting == 0
    assert scene.ledger.results_sent == 0


def test_probe_is_an_empty_batch(scene):
    """The probe's ack settles nothing, and it is not sent again after a reconnect."""
    frame = scene.uploader.probe(scene.session)
    batch = scene.brain.receive(frame, now_ns=scene.clock.now_ns())
    assert batch.events == []
    assert scene.ack(batch) == 0


def test_entry_that_ends_connections_is_found_and_dropped(scene, kit):
    """Among many events the one the brain chokes on is dropped; all others are delivered."""
    kit.fill(scene.buffer, 300)
    delivered = []
    for _ in range(60):
        scene.connect()
        probe = scene.brain.receive(
            scene.uploader.probe(scene.session), now_ns=scene.clock.now_ns()
        )
        scene.ack(probe)
        code = 1000
        while code == 1000 and (batches := scene.send()):
            for batch in batches:
                if any(event["id"] == "123" for event in batch.events):
                    code = 1011
                    break
                delivered += [event["id"] for event in batch.events]
                scene.ack(batch)
        scene.uploader.disconnected(code)
    assert sorted(map(int, delivered)) == [n for n in range(300) if n != 123]
    assert scene.buffer.stats().dropped == {(EntryKind.EVENT, DropReason.REJECTED): 1}


def test_broken_buffer_at_disconnect_is_survived(scene, kit):
    """A buffer that cannot take entries back does not end the agent."""
    kit.fill(scene.buffer, 1)
    scene.send()
    scene.buffer.close()
    scene.uploader.disconnected(1006)
    assert scene.uploader.is_idle


def test_blame_without_anything_out_accuses_nobody(scene):
    """A close over nothing changes nothing."""
    scene.uploader.disconnected(1011)
    assert scene.uploader.batch_limit == 200


@given(
    st.lists(st.sampled_from(["append", "send", "ack", "ack_last", "lose", "wait"]), max_size=60)
)
def test_every_event_is_delivered_in_order_at_least_once(steps):
    """Whatever happens in whatever order, nothing is lost and first deliveries keep order."""
    scene, out, first_seen, appended = Scene(), [], {}, 0
    for step in [*steps, "lose", *["send", "ack"] * 40]:
        if step == "append":
            scene.buffer.append(
                [(EntryKind.EVENT, b'{"id":"%d"}' % n) for n in range(appended, appended + 70)],
                now_ns=0,
            )
            appended += 70
        elif step == "send":
            batches = scene.send()
            out += batches
            for batch in batches:
                for event in batch.events:
                    first_seen.setdefault(int(event["id"]), len(first_seen))
        elif step in {"ack", "ack_last"} and out:
            scene.ack(out.pop(0 if step == "ack" else -1))
        elif step == "lose":
            scene.uploader.disconnected(1006)
            scene.connect()
            out.clear()
        elif step == "wait":
            scene.clock.now_s += 1.5
    assert scene.waiting == 0
    assert first_seen == {n: n for n in range(appended)}
