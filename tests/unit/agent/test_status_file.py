"""The file that shows an agent's state."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from z4j_otel.agent.status_file import StatusFile, read_status
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.testing.clocks import ManualClock

STATUS = {
    "state": "waiting",
    "next_attempt_in_s": 3.0,
    "last_error": {"text": "refused", "kind": "connection", "ago_s": 5.0},
    "buffer": {"entries": 2, "oldest_age_s": 7.5},
}


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    """Return where the file is."""
    return tmp_path / "buffer-1.status"


def test_state_can_be_read_back(path: Path, clock):
    """What was shown is there with what never changes, ages as times, for this user only."""
    shown = StatusFile(path, {"pid": 1}, clock)
    assert shown.show(STATUS)
    assert read_status(path) == {
        "format": 1,
        "pid": 1,
        "written_at": "2026-01-02T03:04:05.000000+00:00",
        "state": "waiting",
        "last_error": {
            "text": "refused",
            "kind": "connection",
            "at": "2026-01-02T03:04:00.000000+00:00",
        },
        "buffer": {"entries": 2},
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_only_news_are_written(path: Path, clock):
    """Time that passes is no news; a count that rises is."""
    shown = StatusFile(path, {}, clock)
    shown.show(STATUS)
    clock.advance(60)
    older = {**STATUS, "next_attempt_in_s": 1.0, "last_error": {**STATUS["last_error"], "ago_s": 9}}
    assert not shown.show(older)
    assert shown.show({**older, "buffer": {"entries": 3}})
    assert read_status(path)["written_at"] == "2026-01-02T03:05:05.000000+00:00"


def test_failed_write_keeps_the_old_state(path: Path, clock, monkeypatch):
    """A full disk leaves what was there, no draft, and the news for the next time."""
    shown = StatusFile(path, {}, clock)
    shown.show({"state": "connected", "last_error": None})

    def no_space(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_space)
        assert not shown.show(STATUS)
    assert read_status(path)["state"] == "connected"
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert shown.show(STATUS)


def test_what_a_killed_writer_left_goes_with_the_files(tmp_path, clock, monkeypatch):
    """A draft whose writer died before the rename is no file that nobody ever removes."""
    files = AgentFiles.claim(tmp_path, 7, "d")

    def die(*_args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(SystemExit):
            StatusFile(files.status_path, {}, clock).show(STATUS)
    assert len(list(tmp_path.glob("*.status*"))) == 1
    assert files.remove()
    assert list(tmp_path.iterdir()) == []


def test_link_is_not_followed(path: Path, clock):
    """A link planted in a shared directory is replaced, never written or read through."""
    victim = path.with_name("victim")
    victim.write_text('{"format": 1}')
    path.symlink_to(victim)
    assert read_status(path) is None
    StatusFile(path, {}, clock).show(STATUS)
    assert victim.read_text() == '{"format": 1}'
    draft = path.with_name(f"{path.name}.new")
    draft.symlink_to(victim)
    assert StatusFile(path, {}, clock).show({"state": "x"})
    assert victim.read_text() == '{"format": 1}'
    assert not any(each.is_symlink() for each in (path, draft))


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"format": 2})])
def test_what_is_no_status_is_none(path: Path, content):
    """Whatever lies there, reading it is safe."""
    assert read_status(path) is None
    path.write_text(content)
    assert read_status(path) is None


@pytest.mark.parametrize(
    "members",
    [
        {"state": 3},
        {"buffer": {"entries": "many"}},
        {"processes": [{"process": "7@8"}]},
        {"ledger": {"unaccounted": []}},
        {"last_error": "text"},
        {"capabilities": ["x"]},
        {"started_at": "yesterday"},
        {"written_at": None},
    ],
)
def test_a_state_of_another_shape_is_none(path: Path, members):
    """Whoever reads one can rely on it, whatever lies under the name."""
    whole = {"format": 1, "written_at": "2026-01-02T03:04:05Z", "state": "connected"}
    path.write_text(json.dumps(whole))
    assert read_status(path) == whole
    path.write_text(json.dumps({**whole, **members}))
    assert read_status(path) is None


@pytest.mark.timeout(10)
def test_a_pipe_in_its_place_is_not_waited_for(path: Path):
    """Opening one for reading waits for a writer, who never comes."""
    os.mkfifo(path)
    assert read_status(path) is None


def test_a_state_nested_without_end_is_none(path: Path):
    """The parser gives up by an error that is not about values."""
    path.write_text("[" * 100_000)
    assert read_status(path) is None
