"""The external schedule protocol against recorded frames, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from z4j_otel.errors import FrameMalformed, LocalWireError
from z4j_otel.schedules import Schedule, row_of
from z4j_otel.wire.schedules import (
    ROW_MEMBERS,
    build_projection,
    build_projection_event,
    build_snapshot,
    build_snapshot_event,
    digest,
    read_authority,
    source_scope,
    split_rows,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "schedule_vectors.json").read_text("utf-8")
)
ACTIVATION = VECTORS["activation"]
EVENT = VECTORS["event"]
FRAME = EVENT["data"]["external_snapshot_frame"]
AUTHORITY = read_authority(ACTIVATION)


def row(key, **members):
    """Return the row of an hourly schedule."""
    return row_of(
        Schedule(
            source_key=key,
            engine="celery",
            scheduler="celery-beat",
            name=f"name of {key}",
            task_name="app.task",
            expression="60.0",
            **members,
        )
    )


def test_recorded_snapshot_is_made_again_to_the_byte():
    """From the recorded activation and row comes the recorded event, digests included."""
    frames = build_snapshot(
        AUTHORITY, 1, FRAME["schedules"], snapshot_id=FRAME["snapshot_id"], max_bytes=100_000
    )
    event = build_snapshot_event(
        frames[0], event_id=EVENT["id"], occurred_at=EVENT["occurred_at"], reason="activation"
    )
    assert json.loads(event) == EVENT


def test_terminal_frame_closes_the_snapshot():
    """The last frame has the number of the others as its index, and no rows."""
    *_, terminal = build_snapshot(AUTHORITY, 1, FRAME["schedules"], snapshot_id="i", max_bytes=10)
    assert (terminal["frame_kind"], terminal["frame_index"], terminal["frame_count"]) == (
        "terminal",
        1,
        1,
    )
    assert terminal["schedules"] == []
    assert len(terminal) == len(FRAME) == 16


def test_empty_inventory_is_a_lone_terminal():
    """Nothing at all is told in one frame."""
    (terminal,) = build_snapshot(AUTHORITY, 7, [], snapshot_id="i", max_bytes=10)
    assert (terminal["frame_count"], terminal["row_count"], terminal["sequence"]) == (0, 0, 7)


def test_rows_are_cut_into_frames_in_order():
    """Frames stay near the size asked for, each has a row, and none is lost."""
    rows = [row(f"k{number}") for number in range(9, -1, -1)]
    frames = build_snapshot(AUTHORITY, 1, rows, snapshot_id="i", max_bytes=1000)
    told = [each["source_key"] for frame in frames for each in frame["schedules"]]
    assert told == sorted(told) == [f"k{number}" for number in range(10)]
    assert len(frames) > 3
    assert {frame["snapshot_digest"] for frame in frames} == {frames[0]["snapshot_digest"]}


def test_one_large_row_gets_a_frame_of_its_own():
    """A row that is larger than a frame should be is told all the same."""
    parts = split_rows([row("a"), row("b", args=["x" * 500]), row("c")], 400)
    assert [len(part) for part in parts] == [1, 1, 1]


@pytest.mark.parametrize(
    ("kind", "event_kind"),
    [
        ("created", "schedule.created"),
        ("updated", "schedule.updated"),
        ("deleted", "schedule.deleted"),
        ("control", "schedule.updated"),
    ],
)
def test_projection_becomes_the_event_of_its_kind(kind, event_kind):
    """A difference carries its body and the digest of it, under the owner's name."""
    body = build_projection(
        AUTHORITY, 2, kind, rows=[row("a")], deleted=["z", "b"], operation_id="op"
    )
    event = json.loads(build_projection_event(body, event_id="e", occurred_at="t"))
    assert len(body) == 14
    assert (event["kind"], event["engine"], event["task_id"]) == (event_kind, "celery-beat", "")
    assert event["data"]["payload_digest"] == digest(event["data"]["external_projection"])
    assert body["deleted_source_keys"] == ["b", "z"]
    assert body["complete"] is False


def test_row_has_exactly_the_members_of_the_wire():
    """The value type and the protocol agree on the twenty members."""
    assert set(row("a")) == ROW_MEMBERS == set(FRAME["schedules"][0])


@pytest.mark.parametrize(
    "wrong",
    [
        {**row("a"), "more": 1},
        {name: value for name, value in row("a").items() if name != "queue"},
        {**row("a"), "scheduler": "another"},
        {**row("a"), "name": " blank "},
        {**row("a"), "task_name": ""},
        {**row("a"), "args": {}},
        {**row("a"), "kwargs": []},
    ],
)
def test_row_that_the_brain_would_drop_is_refused(wrong):
    """What is not of the protocol's form never leaves."""
    with pytest.raises(LocalWireError):
        build_projection(AUTHORITY, 1, "snapshot", rows=[wrong])


def test_two_rows_of_one_key_are_refused():
    """Keys are unique in a publication."""
    with pytest.raises(LocalWireError):
        build_projection(AUTHORITY, 1, "snapshot", rows=[row("a"), row("a")])


@pytest.mark.parametrize(
    "change",
    [
        {"stable_source": False},
        {"stable_source": 1},
        {"epoch_number": 0},
        {"epoch_number": "1"},
        {"epoch_uuid": None},
        {"source_scope": source_scope("another")},
    ],
)
def test_activation_of_another_kind_is_refused(change):
    """Every member is checked; nothing is converted."""
    with pytest.raises(FrameMalformed):
        read_authority({**ACTIVATION, **change})


@pytest.mark.parametrize("name", ["stream_id", "epoch_uuid", "session_generation"])
def test_activation_without_a_member_is_refused(name):
    """All members that name the epoch are needed."""
    with pytest.raises(FrameMalformed):
        read_authority({key: value for key, value in ACTIVATION.items() if key != name})


def test_authority_matches_only_its_own_epoch_and_session():
    """A control command has no owner and scope; any other difference is another epoch."""
    control = {
        key: value for key, value in ACTIVATION.items() if key not in {"owner", "source_scope"}
    }
    assert AUTHORITY.matches(ACTIVATION)
    assert AUTHORITY.matches(control)
    assert not AUTHORITY.matches({**ACTIVATION, "owner": "another"})
    assert not AUTHORITY.matches({**control, "session_generation": "later"})
    assert not AUTHORITY.matches({})


def test_digest_is_of_the_canonical_form():
    """Order and numbers count as the wire writes them."""
    assert digest({"b": 1, "a": 1e-7}) == digest({"a": 1e-7, "b": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
