"""What the brain may still have is remembered, and named once more before it is deleted."""

from __future__ import annotations

import pytest

from z4j_otel.agent.schedules.memory import ToldMemory
from z4j_otel.agent.schedules.mirror import ScheduleMirror
from z4j_otel.schedules import row_of

from .scripted import OWNER, activation, schedule


@pytest.fixture
def path(tmp_path):
    """A file beside a lock."""
    return tmp_path / "schedules.told"


def remember(scene, path):
    """Give a scene the next life of an agent on a machine."""
    scene.mirror = ScheduleMirror(
        scene.native,
        scene.buffer,
        scene.clock,
        on_stored=scene._wake,
        frame_bytes=lambda: 1_000_000,
        memory=ToldMemory(path),
    )


def frames(scene):
    """Return the rows of the snapshots and the keys deleted since the last call."""
    rows, deleted = [], []
    for event in scene.told():
        data = event["data"]
        rows += data.get("external_snapshot_frame", {}).get("schedules", [])
        deleted += data.get("external_projection", {}).get("deleted_source_keys", [])
    return {row["source_key"]: row for row in rows}, deleted


def test_what_went_between_two_lives_is_named_and_deleted(scene, path):
    """The brain drops an inventory that begins an epoch and lacks a schedule it has."""
    remember(scene, path)
    scene.activate()
    scene.told()
    del scene.scheduler.entries["a"]
    scene.scheduler.put(schedule("c", name="name of a"))
    remember(scene, path)
    told = scene.activate(epoch=2)
    rows, deleted = frames(scene)
    assert sorted(rows) == ["a", "b"]
    assert deleted == ["a"]
    assert (told["schedule_count"], told["sequence"]) == (2, 3)
    assert scene.mirror.told(OWNER, "c")["name"] == "name of a"
    assert scene.mirror.told(OWNER, "a") is None


def test_deletion_is_remembered_until_the_brain_has_it(scene, path):
    """An agent that dies before it was delivered leaves the next one to repeat it."""
    remember(scene, path)
    scene.activate()
    del scene.scheduler.entries["a"]
    scene.scheduler.changes += 1
    scene.mirror.look(OWNER, is_thorough=False)
    scene.told()
    remember(scene, path)
    scene.activate(epoch=2)
    assert frames(scene)[1] == ["a"]
    scene.buffer.ack(range(100))
    scene.mirror.look(OWNER, is_thorough=False)
    remember(scene, path)
    scene.activate(epoch=3)
    assert frames(scene) == ({"b": scene.mirror.told(OWNER, "b")}, [])


def test_created_schedule_is_remembered_before_it_is_told(scene, path):
    """It may name too much, never too little."""
    remember(scene, path)
    scene.activate()
    scene.scheduler.put(schedule("c"))
    scene.mirror.look(OWNER, is_thorough=False)
    assert set(ToldMemory(path).recall(OWNER)) == {"a", "b", "c"}


def test_runs_are_not_written_down(path):
    """A file that changed with every run would be written all the time."""
    memory = ToldMemory(path)
    memory.keep(OWNER, {"a": row_of(schedule("a", total_runs=1, last_run_at="then"))})
    inode = path.stat().st_ino
    memory.keep(OWNER, {"a": row_of(schedule("a", total_runs=2, last_run_at="now"))})
    assert path.stat().st_ino == inode
    assert memory.recall(OWNER)["a"]["total_runs"] == 0


def test_nothing_secret_is_written_down(scene, path):
    """Rows are redacted before anything is done with them."""
    remember(scene, path)
    scene.activate()
    assert b"jane" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"not json", b'{"celery-beat":[]}', b'{"celery-beat":{"a":{"b":1}}}']
)
def test_unusable_file_says_nothing(path, content):
    """It is written anew."""
    path.write_bytes(content)
    memory = ToldMemory(path)
    assert memory.recall(OWNER) == {}
    memory.keep(OWNER, {"a": row_of(schedule("a"))})
    assert set(ToldMemory(path).recall(OWNER)) == {"a"}


def test_directory_that_cannot_be_written_costs_the_memory_only(tmp_path, scene):
    """Schedules are told all the same."""
    remember(scene, tmp_path / "missing" / "file")
    scene.activate()
    assert len(scene.told()) == 2
    scene.mirror.offer(activation(2))
    assert scene.mirror.activate(activation(2))["schedule_count"] == 2
