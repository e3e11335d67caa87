"""What is published of a scheduler, in which order, and when nothing is."""

from __future__ import annotations

import threading

import pytest

from z4j_otel.buffer.base import EntryKind
from z4j_otel.errors import AdapterError, BufferFull, CommandRefused
from z4j_otel.wire.schedules import digest

from .scripted import OWNER, activation, schedule


def bodies(events):
    """Return the projections in events."""
    return [event["data"]["external_projection"] for event in events]


def test_activation_publishes_everything_with_the_first_sequence(scene):
    """The answer tells what the frames say."""
    told = scene.activate()
    rows, terminal = (event["data"]["external_snapshot_frame"] for event in scene.told())
    assert [row["source_key"] for row in rows["schedules"]] == ["a", "b"]
    assert (told["sequence"], told["schedule_count"], told["frame_count"]) == (1, 2, 2)
    assert (terminal["sequence"], terminal["row_count"]) == (1, 2)
    assert scene.woken == 1


def test_rows_are_redacted_before_the_digest(scene):
    """What the digest is taken of is what the brain's own redaction leaves alone."""
    scene.activate()
    event = scene.told()[0]
    frame = event["data"]["external_snapshot_frame"]
    assert frame["schedules"][1]["kwargs"] == {"to": "[REDACTED]"}
    assert event["data"]["frame_digest"] == digest(frame)


def test_differences_have_the_next_sequences(scene):
    """Created, changed and deleted rows are told in a gapless order."""
    scene.activate()
    scene.told()
    del scene.scheduler.entries["b"]
    scene.scheduler.put(schedule("a", is_enabled=False))
    scene.scheduler.put(schedule("c"))
    assert scene.mirror.look(OWNER, is_thorough=False)
    found = bodies(scene.told())
    assert [(body["kind"], body["sequence"]) for body in found] == [
        ("deleted", 2),
        ("updated", 3),
        ("created", 4),
    ]
    assert found[0]["deleted_source_keys"] == ["b"]
    assert found[1]["schedules"][0]["is_enabled"] is False


def test_runs_are_told_by_a_thorough_look_only(scene):
    """A run changes no version: it waits until everything is compared."""
    scene.activate()
    scene.told()
    scene.scheduler.entries["a"] = schedule("a", total_runs=5)
    assert not scene.mirror.look(OWNER, is_thorough=False)
    assert scene.mirror.look(OWNER, is_thorough=True)
    assert bodies(scene.told())[0]["schedules"][0]["total_runs"] == 5
    assert not scene.mirror.look(OWNER, is_thorough=True)


def test_many_changed_rows_are_cut_to_the_frame(scene):
    """No publication is larger than a frame of the brain may be."""
    scene.activate()
    scene.told()
    scene.frame_bytes = 8192
    for number in range(20):
        scene.scheduler.put(schedule(f"n{number:02}"))
    scene.mirror.look(OWNER, is_thorough=False)
    found = bodies(scene.told())
    assert len(found) > 2
    assert [body["sequence"] for body in found] == list(range(2, 2 + len(found)))
    assert sum(len(body["schedules"]) for body in found) == 20


def test_sequence_goes_on_in_the_same_epoch_after_a_restart(scene):
    """What was stored with the frames is what the next life begins with."""
    scene.activate()
    scene.scheduler.put(schedule("c"))
    scene.mirror.look(OWNER, is_thorough=False)
    assert scene.buffer.positions() == {f"schedules:{OWNER}": "epoch-1 2"}
    scene.mirror = scene.new_mirror()
    assert scene.activate(epoch=1)["sequence"] == 3
    assert scene.activate(epoch=2)["sequence"] == 1


def test_nothing_is_published_after_the_connection(scene):
    """A fence closes the epoch until the brain opens another one."""
    scene.activate()
    scene.told()
    scene.mirror.fence()
    scene.scheduler.put(schedule("c"))
    assert not scene.mirror.look(OWNER, is_thorough=True)
    with pytest.raises(CommandRefused):
        scene.mirror.publish_all(OWNER, reason="test")
    assert scene.told() == []


def test_activation_that_its_connection_did_not_outlive_opens_nothing(scene):
    """A late thread finds that its epoch is over."""
    scene.mirror.offer(activation(1))
    scene.mirror.fence()
    with pytest.raises(CommandRefused):
        scene.mirror.activate(activation(1))
    assert not scene.mirror.is_active(OWNER)


def test_unreadable_scheduler_publishes_nothing(scene):
    """Half an inventory would delete the other half."""
    scene.scheduler.problem = AdapterError("the database is away")
    with pytest.raises(AdapterError):
        scene.activate()
    assert scene.told() == []
    assert not scene.mirror.is_active(OWNER)


def test_sequence_is_not_used_up_by_a_full_buffer(scene, monkeypatch):
    """What was not stored was not published: the next try has the same sequence."""
    scene.activate()
    scene.scheduler.put(schedule("c"))

    def refuse(*_args, **_kwargs):
        raise BufferFull("full")

    append = scene.buffer.append
    scene.buffer.append = refuse
    with pytest.raises(AdapterError):
        scene.mirror.look(OWNER, is_thorough=False)
    scene.buffer.append = append
    scene.told()
    assert scene.mirror.look(OWNER, is_thorough=False)
    assert [body["sequence"] for body in bodies(scene.told())] == [2]


def test_look_leaves_a_turn_to_whoever_has_it(scene):
    """While a change is carried out, nobody reads what is half done."""
    scene.activate()
    scene.scheduler.put(schedule("c"))
    found = []
    with scene.mirror.turn(OWNER):
        thread = threading.Thread(
            target=lambda: found.append(scene.mirror.look(OWNER, is_thorough=True))
        )
        thread.start()
        thread.join()
    assert found == [False]


def test_commands_of_another_epoch_are_refused(scene):
    """A command names the epoch, the session and how far the brain has come."""
    scene.activate()
    scene.mirror.require({**activation(), "expected_accepted_sequence": 1})
    for wrong in (
        {**activation(2), "expected_accepted_sequence": 1},
        {**activation(), "expected_accepted_sequence": 2},
        {**activation(), "expected_accepted_sequence": None},
        {**activation(), "scheduler": "another", "expected_accepted_sequence": 1},
    ):
        with pytest.raises(CommandRefused):
            scene.mirror.require(wrong)


def test_malformed_activation_is_refused(scene):
    """Nothing is opened on a guess."""
    scene.mirror.offer(activation())
    with pytest.raises(CommandRefused):
        scene.mirror.activate(activation(stable_source=False))


def test_frames_count_apart_from_captured_events(scene):
    """The account of what processes captured has no place for what the agent made."""
    scene.activate()
    held = scene.buffer.stats().held
    assert held[EntryKind.SCHEDULE] == 2
    assert not held[EntryKind.EVENT]
    assert scene.mirror.describe() == {OWNER: {"mirrored": True, "schedules": 2, "sequence": 1}}
