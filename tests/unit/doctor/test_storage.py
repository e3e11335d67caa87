"""Where the agent's files would lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from z4j_otel.buffer import home as homes
from z4j_otel.config import AgentConfig
from z4j_otel.doctor import storage
from z4j_otel.doctor.storage import buffer_path_of, examine_storage
from z4j_otel.findings import Verdict


@pytest.fixture(autouse=True)
def no_stand_in_remembered():
    """Forget which homes could not be used."""
    before = dict(homes._stand_ins)
    yield
    homes._stand_ins.clear()
    homes._stand_ins.update(before)


def environ(tmp_path, home):
    """Return an environment."""
    return {"Z4J_HOME": str(home), "TMPDIR": str(tmp_path)}


def test_a_directory_of_our_own_is_made_and_left_empty(tmp_path):
    """With its owner, mode and room."""
    directory, finding = examine_storage(AgentConfig(), environ(tmp_path, tmp_path / "home"))

    assert directory == tmp_path / "home"
    assert finding.verdict is Verdict.OK
    assert finding.details["mode"] == "0700"
    assert "is writable" in finding.message
    assert list(directory.iterdir()) == []


def test_a_home_that_cannot_be_used_is_told_with_what_stands_in(tmp_path):
    """The path that is really used, and how to have the other."""
    (tmp_path / "file").write_text("")
    directory, finding = examine_storage(AgentConfig(), environ(tmp_path, tmp_path / "file"))

    assert directory.parent == tmp_path
    assert directory.name.startswith("z4j-")
    assert finding.verdict is Verdict.WARN
    assert finding.cure.endswith(str(tmp_path / "file"))


def test_no_directory_at_all_is_a_failure(tmp_path):
    """Not even a temporary one."""
    nowhere = {"Z4J_HOME": "/proc/z4j", "TMPDIR": str(tmp_path / "missing")}
    directory, finding = examine_storage(AgentConfig(), nowhere)

    assert directory is None
    assert finding.verdict is Verdict.FAIL
    assert finding.cure.startswith("sudo install -d -m 0700")


def test_the_setting_beats_the_environment(tmp_path):
    """As in the agent."""
    config = AgentConfig(home=tmp_path / "set")
    assert examine_storage(config, environ(tmp_path, tmp_path / "other"))[0] == tmp_path / "set"


def test_a_buffer_path_of_ones_own_has_its_directory(tmp_path):
    """Below the home."""
    config = AgentConfig(buffer_path=Path("deep/b.sqlite"))
    directory, _ = examine_storage(config, environ(tmp_path, tmp_path / "home"))

    assert directory == tmp_path / "home" / "deep"


@pytest.mark.parametrize(
    ("free", "verdict", "words"),
    [
        (1024, Verdict.FAIL, "is full (1 kB left)"),
        (100 * 1024**2, Verdict.WARN, "less than the buffer may take"),
        (10**13, Verdict.OK, "10.0 TB free"),
    ],
)
def test_room_is_judged_by_what_the_buffer_may_take(monkeypatch, tmp_path, free, verdict, words):
    """A full disk loses events."""
    usage = storage.shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: usage)

    _, finding = examine_storage(AgentConfig(), environ(tmp_path, tmp_path / "home"))

    assert finding.verdict is verdict
    assert words in finding.message


def test_an_owner_without_a_name_is_told_by_number():
    """As in containers."""
    assert storage._user_name(4_000_000_000 - 1) == "3999999999"


@pytest.mark.parametrize(
    ("path", "directory", "shown"),
    [
        (None, Path("/tmp/z4j-33"), "/tmp/z4j-33/buffer-{pid}.sqlite"),
        (None, None, "~/.z4j/buffer-{pid}.sqlite"),
        (Path("b.sqlite"), Path("/home/z4j"), "/home/z4j/b.sqlite"),
    ],
)
def test_the_buffers_path_names_no_process_of_its_own(path, directory, shown):
    """The doctor's number would be of no use."""
    assert buffer_path_of(AgentConfig(buffer_path=path), directory) == shown
