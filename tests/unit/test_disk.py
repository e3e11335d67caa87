"""Opening files of ours, and nothing else, whoever laid what under their names."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from z4j_otel.disk import Disk, is_own_directory, open_own


def open_files() -> int:
    """Count this process's descriptors."""
    return len(list(Path("/dev/fd").iterdir()))


def lay(path: Path, kind: str) -> None:
    """Put something under a name."""
    if kind == "link":
        path.symlink_to(path.with_name("victim"))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "second name":
        path.with_name("victim").write_text("")
        path.hardlink_to(path.with_name("victim"))


def test_a_missing_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, and not inherited by programs that are started."""
    fd = open_own(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("link", errno.ELOOP), ("pipe", errno.EINVAL), ("second name", errno.EMLINK)],
)
def test_what_is_not_ours_is_not_opened(tmp_path: Path, kind: str, number: int) -> None:
    """A link is not followed, a pipe not waited for, a file with a second name not touched."""
    lay(tmp_path / "x", kind)
    before = open_files()
    with pytest.raises(OSError, match="x") as caught:
        open_own(tmp_path / "x", os.O_RDONLY)
    assert caught.value.errno == number
    assert open_files() == before


def test_another_users_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could write into it, or read what we write."""
    (tmp_path / "x").write_text("")
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    with pytest.raises(PermissionError):
        open_own(tmp_path / "x", os.O_RDONLY)
    assert not is_own_directory(tmp_path)


def test_a_descriptor_is_not_left_when_the_look_fails(tmp_path: Path) -> None:
    """Whatever the system says."""

    class Broken(Disk):
        def fstat(self, _fd: int) -> os.stat_result:
            raise OSError(errno.EIO, "I/O error")

    before = open_files()
    with pytest.raises(OSError, match="I/O error"):
        open_own(tmp_path / "x", os.O_RDWR | os.O_CREAT, disk=Broken())
    assert open_files() == before


def test_a_link_to_a_directory_is_none_of_ours(tmp_path: Path) -> None:
    """Nor is a file; a missing one is an error."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    assert is_own_directory(tmp_path)
    assert not is_own_directory(tmp_path / "link")
    assert not is_own_directory(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        is_own_directory(tmp_path / "missing")
