"""What waits for a batch, and what may go while others are out."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.agent.gathering import Gathering, tasks_of
from z4j_otel.buffer.base import Entry, EntryKind
from z4j_otel.errors import LocalWireError, RemoteWireError
from z4j_otel.wire.received import BatchAcked

from .upload_scene import Scene


def event(sequence, task=None, *, data="{}"):
    """Return an entry of a task, or of none."""
    tail = f',"task_id":"{task}"' if task else ""
    return Entry(sequence, EntryKind.EVENT, f'{{"data":{data},"id":"x"{tail}}}'.encode())


@pytest.fixture
def gathering():
    """Return one that holds five entries of three tasks and none."""
    gathering = Gathering()
    entries = [event(1, "a"), event(2, "b"), event(3), event(4, "a"), event(5, "c")]
    gathering.add(entries, 7.0)
    return gathering


def sequences(entries):
    """Return the sequences of entries."""
    return [entry.sequence for entry in entries]


def test_everything_may_go_while_nothing_is_out(gathering):
    """In the order in which it was leased."""
    assert sequences(gathering.free([])) == [1, 2, 3, 4, 5]


def test_events_wait_for_others_of_their_task(gathering):
    """All of them, and those of no task never."""
    out = [tasks_of([event(0, "a"), event(0)]), tasks_of([event(0, "c")])]
    assert sequences(gathering.free(out)) == [2, 3]


def test_what_stays_keeps_its_order_and_waits_anew(gathering):
    """The size is that of what is left."""
    before = gathering.size_bytes
    gathering.take(gathering.entries[1:3], 9.0)
    assert sequences(gathering.entries) == [1, 4, 5]
    assert gathering.since_s == 9.0
    assert 0 < gathering.size_bytes < before


def test_more_does_not_wait_anew(gathering):
    """The oldest entry's time counts."""
    gathering.add([event(6)], 8.0)
    assert gathering.since_s == 7.0
    gathering.add([], 9.0)
    assert sequences(gathering.entries) == [1, 2, 3, 4, 5, 6]


def test_clearing_tells_what_was_there(gathering):
    """So that it can be released."""
    assert gathering.clear() == [1, 2, 3, 4, 5]
    assert (gathering.entries, gathering.size_bytes) == ([], 0)


def test_only_an_events_own_task_counts():
    """A result is of no task, and what an argument is called does not matter."""
    result = Entry(1, EntryKind.COMMAND_RESULT, b'{"task_id":"a"}')
    other = event(2, "b", data='{"args":{"task_id":"a"}}')
    assert tasks_of([result, other]) == tasks_of([event(3, "b")])


class Conversation:
    """An uploader and a brain that takes no notice of some batches."""

    def __init__(self):
        self.scene = Scene()
        self.scene.uploader.lingers = False
        self.given = 0
        self.out = []
        self.stored = []

    def append(self, number):
        """A task's next event is stored."""
        body = b'{"engine":"celery","id":"%d","kind":"k","task_id":"%d"}' % (self.given, number)
        self.scene.buffer.append([(EntryKind.EVENT, body)], now_ns=1)
        self.given += 1

    def lose(self, _number):
        """A batch is sent, and nobody takes notice."""
        sent = self.scene.send()
        self.out += [batch for batch in sent if batch not in self.out]
        return sent

    def send(self, number):
        """A batch is sent and stored."""
        for batch in self.lose(number):
            self.stored += [(event["task_id"], int(event["id"])) for event in batch.events]

    def ack(self, number):
        """One of the batches that were stored is acked."""
        known = {event_id for _, event_id in self.stored}
        whole = [b for b in self.out if known.issuperset(int(event["id"]) for event in b.events)]
        for batch in whole[number : number + 1]:
            self.out.remove(batch)
            self.scene.ack(batch)

    def take_back(self, _number):
        """The transport does not take a batch."""
        self.scene.uploader.next_frames(self.scene.session)
        self.scene.uploader.take_back()
        self.scene.connect()

    def disconnect(self, _number):
        """The connection ends, and there is another one."""
        self.scene.uploader.disconnected(1006)
        self.scene.connect()
        self.out.clear()

    def spoil(self, _number):
        """The brain says what no brain may say, and a batch is still to be made after it."""
        with pytest.raises(RemoteWireError):
            self.scene.session.receive(b"no json", now_ns=self.scene.clock.now_ns())
        with suppress(LocalWireError):
            self.scene.uploader.next_frames(self.scene.session)
        self.disconnect(0)

    def wait(self, _number):
        """What is out may be due to be sent again."""
        self.scene.clock.now_s += 45.0


WAYS = [
    "append", "append", "send", "send", "lose", "ack", "take_back", "disconnect", "spoil", "wait",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 3)), max_size=60))
def test_a_brain_learns_of_each_task_in_order_whatever_it_loses(steps):
    """It may lose any batch and ack in any order; the connection may end; nothing is missing."""
    talk = Conversation()
    for way, number in [*steps, ("disconnect", 0)]:
        getattr(talk, way)(number)
    for _ in range(talk.given):
        talk.send(0)
        talk.ack(0)
    assert talk.scene.waiting == 0
    first_seen = list(dict.fromkeys(talk.stored))
    assert sorted(event_id for _, event_id in first_seen) == list(range(talk.given))
    for task in "0123":
        mine = [event_id for its, event_id in first_seen if its == task]
        assert mine == sorted(mine)


def send_until_something_goes(scene):
    """Send as a connection does, as long as the uploader asks for it; return what went."""
    for _ in range(10):
        if frames := scene.send():
            return frames
        assert scene.uploader.wait_s() == 0.0
    raise AssertionError("it asks without end")


def test_what_is_dropped_does_not_leave_the_rest_waiting():
    """Nothing was sent, and no ack will come: the uploader asks to be called again."""
    scene = Scene(max_frame_bytes=8192)
    bodies = [b'{"data":[%b]}' % (b"1," * 9000 + b"1"), b'{"id":"2"}']
    scene.buffer.append([(EntryKind.EVENT, body) for body in bodies], now_ns=0)
    (batch,) = send_until_something_goes(scene)
    assert [event["id"] for event in batch.events] == ["2"]
    assert scene.uploader.wait_s() > 0


def test_what_no_longer_fits_together_is_sent_apart_at_once(kit):
    """A way that takes only smaller frames since they were gathered is no reason to wait."""
    scene = Scene()
    kit.fill(scene.buffer, 2, size=3000)
    scene.uploader.probe(scene.session)
    assert scene.send() == []
    scene.uploader.acked(BatchAcked("ev_0", 0, 0, 0))
    scene.session.max_frame_bytes = 5000
    (batch,) = send_until_something_goes(scene)
    assert [event["id"] for event in batch.events] == ["0"]
