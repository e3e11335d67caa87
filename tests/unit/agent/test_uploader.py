"""Batches, acks, resends and releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.agent.results import encode_result
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.commands import Command, CommandResult, CommandStatus
from z4j_otel.errors import BufferFull
from z4j_otel.wire.received import BatchAcked, BatchReceived, CommandFinished

from .upload_scene import Scene


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


def of_tasks(*tasks):
    """Return events of these tasks as they lie in the buffer."""
    text = '{"engine":"celery","id":"%d","kind":"k","task_id":"%s"}'
    return [(EntryKind.EVENT, (text % each).encode()) for each in enumerate(tasks)]


def test_events_of_a_task_that_has_others_out_wait_for_their_ack(scene):
    """A brain that loses a batch and takes the next one sees each task in its order."""
    scene.uploader.lingers = False
    scene.buffer.append(of_tasks("a", "b"), now_ns=1)
    (lost,) = scene.send()
    scene.buffer.append(of_tasks("c", "a", "c", "b"), now_ns=2)
    (other,) = scene.send()
    assert [event["task_id"] for event in other.events] == ["c", "c"]
    scene.ack(other)
    assert (scene.send(), scene.uploader.wait_s()) == ([], 90.0)
    scene.clock.now_s = 90.0
    assert scene.send() == [lost]
    scene.ack(lost)
    (rest,) = scene.send()
    assert [event["task_id"] for event in rest.events] == ["a", "b"]
    scene.ack(rest)
    assert scene.waiting == 0


def test_backlog_goes_around_tasks_that_are_out(scene):
    """Batches stay large where only some events must wait."""
    scene.buffer.append(of_tasks(*(f"t{n // 3}" for n in range(1100))), now_ns=1)
    batches = scene.send_all()
    assert len(batches) == 4
    assert all(len(batch.events) > 190 for batch in batches)
    told = [event["id"] for batch in batches for event in batch.events]
    while batches:
        for batch in batches:
            scene.ack(batch)
        scene.clock.now_s += 1.0
        batches = scene.send_all()
        told += [event["id"] for batch in batches for event in batch.events]
    assert scene.waiting == 0
    for task in range(1100 // 3):
        mine = [number for number in told if int(number) // 3 == task]
        assert mine == sorted(mine, key=int)


def test_what_waits_behind_a_batch_goes_back_with_it(scene):
    """A batch taken back is made again ahead of the later events of its tasks."""
    scene.uploader.lingers = False
    scene.buffer.append(of_tasks("a"), now_ns=1)
    (first,) = scene.send()
    scene.buffer.append(of_tasks("b", "a", "b", "a"), now_ns=2)
    scene.send()
    scene.uploader.take_back()
    scene.ack(first)
    (again,) = scene.send()
    assert [event["task_id"] for event in again.events] == ["b", "a", "b", "a"]


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


def deliver_all(scene):
    """Send and ack everything; return the events as the brain got them."""
    events = []
    for _ in range(20):
        for batch in scene.send():
            events += batch.events
            scene.ack(batch)
    return events


def test_event_that_fits_no_frame_is_reduced(kit):
    """An event larger than the cap goes without its largest field; the others are whole."""
    scene = Scene(max_frame_bytes=8192)
    kit.fill(scene.buffer, 1)
    kit.fill(scene.buffer, 1, size=9000, start=1)
    kit.fill(scene.buffer, 1, start=2)
    events = deliver_all(scene)
    assert [event["id"] for event in events] == ["0", "1", "2"]
    assert [event["data"].get("reduced") for event in events] == [None, ["x"], None]
    assert scene.buffer.stats().dropped == {}
    assert (scene.ledger.sent, scene.ledger.acked) == (3, 3)


def test_event_that_cannot_be_reduced_is_dropped_and_counted(kit):
    """What is no event object, and larger than the cap, is given up; the others arrive."""
    scene = Scene(max_frame_bytes=8192)
    scene.buffer.append([(EntryKind.EVENT, b'{"data":[%b]}' % (b"1," * 9000 + b"1"))], now_ns=0)
    kit.fill(scene.buffer, 1, start=2)
    assert [event["id"] for event in deliver_all(scene)] == ["2"]
    assert scene.buffer.stats().dropped == {(EntryKind.EVENT, DropReason.TOO_LARGE): 1}


def test_batch_taken_back_is_made_again_smaller(scene, kit):
    """What the transport refuses for its size comes again, in order and in smaller batches."""
    kit.fill(scene.buffer, 40, size=300)
    (frame,) = scene.uploader.next_frames(scene.session)
    scene.session.max_frame_bytes = len(frame) // 2
    scene.uploader.take_back()
    assert scene.ledger.sent == 0
    events = deliver_all(scene)
    assert [event["id"] for event in events] == [str(number) for number in range(40)]
    assert (scene.ledger.sent, scene.waiting) == (40, 0)


def test_results_taken_back_are_told_again(scene):
    """A result among the frames that were refused goes out with the next ones."""
    scene.buffer.append([(EntryKind.COMMAND_RESULT, result_body())], now_ns=0)
    scene.uploader.hurry(result_body())
    scene.uploader.next_frames(scene.session)
    scene.uploader.take_back()
    assert [type(frame) for frame in scene.send()] == [CommandFinished]


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
    """A damaged entry is given up and counted; events behind it are delivered."""
    scene.buffer.append([(EntryKind.COMMAND_RESULT, b"{}")], now_ns=0)
    kit.fill(scene.buffer, 1)
    (batch,) = scene.send()
    assert len(batch.events) == 1
    scene.ack(batch)
    dropped = {(EntryKind.COMMAND_RESULT, DropReason.BUFFER_CORRUPT): 1}
    assert (scene.waiting, scene.buffer.stats().dropped) == (0, dropped)


def test_result_too_large_for_a_frame_goes_without_its_content():
    """The brain learns a command's status even where no frame can hold what it returned."""
    scene = Scene(max_frame_bytes=1024)
    big = CommandResult(CommandStatus.SUCCESS, {"x": "y" * 2000})
    body = encode_result(Command("c-1", "a", claim_token="t"), big)
    scene.buffer.append([(EntryKind.COMMAND_RESULT, body)], now_ns=0)
    result, batch = scene.send()
    assert (result.result.status, result.claim_token) == (CommandStatus.SUCCESS, "t")
    assert result.result.result["truncated"] is True
    scene.ack(batch)
    assert scene.waiting == 0


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


def prove(scene):
    """Connect, and let the brain ack the probe."""
    scene.connect()
    frame = scene.uploader.probe(scene.session)
    scene.ack(scene.brain.receive(frame, now_ns=scene.clock.now_ns()))


def end_over_the_next_batch(scene, code=1011):
    """Let the brain end a connection over what is sent, after it acked the probe."""
    prove(scene)
    scene.send()
    scene.uploader.disconnected(code)


def test_brain_that_takes_nothing_costs_no_event(scene, kit):
    """However often every batch ends the connection, nothing is dropped, all is sent later."""
    kit.fill(scene.buffer, 120)
    for _ in range(304):
        end_over_the_next_batch(scene)
    assert scene.buffer.stats().dropped == {}
    prove(scene)
    delivered = []
    while batches := scene.send():
        for batch in batches:
            delivered += [int(event["id"]) for event in batch.events]
            scene.ack(batch)
    assert delivered == list(range(120))


def test_nothing_follows_a_suspicion_before_the_proof(scene, kit):
    """After blame, events wait until the brain has acked the probe."""
    kit.fill(scene.buffer, 8)
    end_over_the_next_batch(scene)
    scene.connect()
    frame = scene.uploader.probe(scene.session)
    assert scene.send() == []
    scene.ack(scene.brain.receive(frame, now_ns=scene.clock.now_ns()))
    assert len(scene.send()) == 1


def test_paused_process_accuses_nobody(scene, kit):
    """A brain whose pings went unanswered does not complain about what was sent."""
    kit.fill(scene.buffer, 8)
    scene.send()
    scene.uploader.disconnected(1011, "keepalive ping timeout")
    assert scene.uploader.batch_limit == 200
    assert not scene.uploader.distrusts_reports


def test_wrong_secret_accuses_no_event(scene, kit):
    """4403 before any ack is about the secret, after one about what was sent."""
    kit.fill(scene.buffer, 200)
    scene.send()
    scene.uploader.disconnected(4403)
    assert scene.uploader.batch_limit == 200
    end_over_the_next_batch(scene, 4403)
    assert scene.uploader.batch_limit == 50


def test_stalled_brain_gets_less_at_a_time(scene, kit):
    """A brain that stopped reading in mid-batch gets half of it next."""
    kit.fill(scene.buffer, 200)
    scene.send()
    scene.uploader.disconnected(1006, is_stalled=True)
    scene.connect()
    assert len(scene.send()[0].events) == 100


def test_ack_that_cannot_be_stored_is_stored_later(scene, kit, caplog):
    """While the disk fails acks are remembered, told once, and made good with the next."""
    kit.fill(scene.buffer, 600)
    first, second, third = scene.send_all()
    ack = scene.buffer.ack

    def failing(sequences):
        raise BufferFull

    scene.buffer.ack = failing
    scene.ack(first)
    scene.ack(second)
    assert scene.waiting == 600
    scene.buffer.ack = ack
    scene.ack(third)
    assert scene.waiting == 0
    assert caplog.text.count("could not forget") == 1


def test_silence_is_noticed_only_while_entries_are_out(scene, kit):
    """A probe without an answer is no reason to leave; events without one are."""
    scene.uploader.probe(scene.session)
    scene.clock.now_s = 400
    assert not scene.uploader.is_ignored
    scene.uploader.disconnected(1006)
    scene.connect()
    kit.fill(scene.buffer, 1)
    (batch,) = scene.send()
    scene.clock.now_s = 416
    assert (scene.uploader.is_in_doubt, scene.uploader.is_ignored) == (True, False)
    scene.clock.now_s = 581
    assert scene.uploader.is_ignored
    scene.ack(batch)
    assert not scene.uploader.is_ignored
