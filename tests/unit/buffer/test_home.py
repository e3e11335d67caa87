"""Where the files may lie."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from z4j_otel.buffer.home import (
    _problem_with,
    clamp_buffer_path,
    make_private,
    possible_homes,
    replace_home,
    resolve_home,
)


@pytest.fixture(autouse=True)
def first_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests were told: a process is warned once."""
    monkeypatch.setattr("z4j_otel.buffer.home._stand_ins", {})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the home cannot be made: a file is in the way."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "file").write_text("")
    return {"HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")}


def mode(path: Path) -> int:
    """Return the permission bits."""
    return path.stat().st_mode & 0o777


def test_the_home_is_below_the_users(tmp_path: Path) -> None:
    """It is made for the owner alone, and found again."""
    environ = {"HOME": str(tmp_path)}
    assert resolve_home(environ) == resolve_home(environ) == tmp_path / ".z4j"
    assert mode(tmp_path / ".z4j") == 0o700


def test_the_home_can_be_set(tmp_path: Path) -> None:
    """Z4J_HOME wins; an empty one is none."""
    environ = {"HOME": str(tmp_path), "Z4J_HOME": str(tmp_path / "a" / "b")}
    assert resolve_home(environ) == tmp_path / "a" / "b"
    assert resolve_home({**environ, "Z4J_HOME": ""}) == tmp_path / ".z4j"


def test_without_a_home_the_users_own_is_taken(environ: dict[str, str]) -> None:
    """A missing HOME is looked up; nothing is made here."""
    del environ["HOME"]
    path = Path("~/.z4j/x.sqlite").expanduser()
    assert clamp_buffer_path(path, environ) == path.resolve()


def test_an_unusable_home_is_replaced_with_one_warning(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The stand-in is private, stays the same, and is announced once."""
    with caplog.at_level(logging.WARNING):
        stand_ins = {resolve_home(environ) for _ in range(3)}
    (stand_in,) = stand_ins
    assert stand_in.parent == Path(environ["TMPDIR"])
    assert mode(stand_in) == 0o700
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("obstacle", ["open", "file", "link", "dangling"])
def test_a_stand_in_that_others_could_have_laid_is_not_used(
    environ: dict[str, str], obstacle: str
) -> None:
    """An open directory, a file or a link under the expected name: a new one is made."""
    expected = resolve_home(environ)
    expected.rmdir()
    if obstacle == "open":
        expected.mkdir(mode=0o755)
    elif obstacle == "file":
        expected.write_text("")
    else:
        expected.symlink_to("." if obstacle == "link" else "nowhere")
    other = resolve_home({**environ, "HOME": environ["HOME"] + "/other"})
    assert other.name.startswith(expected.name + "-")
    assert mode(other) == 0o700


def test_a_home_that_everybody_may_write_is_not_used(environ: dict[str, str]) -> None:
    """A temporary directory as home is replaced by a private one in it."""
    shared = Path(environ["TMPDIR"])
    shared.chmod(0o1777)
    assert resolve_home({**environ, "Z4J_HOME": str(shared)}).parent == shared


def test_a_home_shared_with_a_group_is_used(tmp_path: Path) -> None:
    """Orchestrators mount volumes that way."""
    tmp_path.chmod(0o2775)
    assert resolve_home({"Z4J_HOME": str(tmp_path)}) == tmp_path


def test_a_home_that_we_may_not_write_is_not_used(environ: dict[str, str]) -> None:
    """The permission is asked for, not guessed from bits."""
    is_root = os.getuid() == 0
    if is_root:
        os.seteuid(65534)  # nothing forbids root to write
    try:
        assert _problem_with(Path("/")) == "not writable"
    finally:
        if is_root:
            os.seteuid(0)


def test_a_home_that_is_no_directory_is_not_used(environ: dict[str, str]) -> None:
    """A file under the name of the home is replaced like a missing permission."""
    assert _problem_with(Path(environ["HOME"])) == "not a directory"
    stand_in = resolve_home({**environ, "Z4J_HOME": environ["HOME"]})
    assert stand_in.parent == Path(environ["TMPDIR"])


@pytest.mark.parametrize("name", ["x.sqlite", "a/../x.sqlite", "deep/x.sqlite"])
def test_a_path_below_the_home_is_taken(tmp_path: Path, name: str) -> None:
    """Relative paths count from the home directory."""
    environ = {"Z4J_HOME": str(tmp_path / "h"), "TMPDIR": str(tmp_path / "t")}
    expected = (tmp_path / "h" / name).resolve()
    assert clamp_buffer_path(Path(name), environ) == expected
    stand_in = tmp_path / "t" / f"z4j-{os.geteuid()}"
    assert clamp_buffer_path(stand_in / name, environ).is_relative_to(stand_in)


@pytest.mark.parametrize(
    "name", ["../x.sqlite", "/opt/x.sqlite", ".", "link/x.sqlite", "{t}/x.sqlite"]
)
def test_a_path_outside_is_none(tmp_path: Path, name: str) -> None:
    """However it gets out: by dots, a link, or into what others share with us."""
    environ = {"Z4J_HOME": str(tmp_path / "h"), "TMPDIR": str(tmp_path / "t")}
    (tmp_path / "h").mkdir()
    (tmp_path / "h" / "link").symlink_to("/opt")
    path = Path(name.format(t=tmp_path / "t"))
    assert clamp_buffer_path(path, environ) is None


def test_a_planted_stand_in_does_not_widen_the_bounds(tmp_path: Path) -> None:
    """Where the stand-in's name is a link, what it leads to is outside."""
    environ = {"Z4J_HOME": str(tmp_path / "h"), "TMPDIR": str(tmp_path)}
    stand_in = possible_homes(environ)[1]
    stand_in.symlink_to("/opt")
    assert clamp_buffer_path(stand_in / "x.sqlite", environ) is None


def test_possible_homes_are_those_that_resolve_may_choose(tmp_path: Path) -> None:
    """Whoever looks from outside finds what an agent chose, and makes nothing."""
    environ = {"Z4J_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    wanted, stand_in = possible_homes(environ)
    assert list(tmp_path.iterdir()) == []
    assert resolve_home(environ) == wanted
    assert stand_in == tmp_path / f"z4j-{os.getuid()}"


@pytest.mark.parametrize("at", ["home", "above", "link"])
def test_a_home_that_another_user_has_a_hand_in_is_not_used(
    tmp_path: Path, environ: dict[str, str], at: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever owns it, what is above it or a link on the way could have it lead elsewhere."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    above = tmp_path / "above"
    (above / "home").mkdir(parents=True)
    (tmp_path / "link").symlink_to(above)
    os.chown(
        {"home": above / "home", "above": above}.get(at, tmp_path / "link"),
        4711,
        -1,
        follow_symlinks=False,
    )
    home = tmp_path / "link" / "home"
    assert resolve_home({**environ, "Z4J_HOME": str(home)}).parent == Path(environ["TMPDIR"])
    assert "belongs to another user" in caplog.text
    assert list((above / "home").iterdir()) == []


def test_nothing_is_made_in_another_users_directory(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Not even where root may: it is asked before anything is made."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 4711, -1)
    resolve_home({**environ, "Z4J_HOME": str(theirs / "a" / "b")})
    assert list(theirs.iterdir()) == []


def test_every_directory_that_is_made_is_private(tmp_path: Path) -> None:
    """Also those above the home, whatever the umask says."""
    before = os.umask(0)
    try:
        resolve_home({"Z4J_HOME": str(tmp_path / "a" / "b")})
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


def test_a_stand_in_that_was_swapped_behind_our_back_is_refused(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """A temporary directory is cleaned now and then, and the name is free for anybody."""
    stand_in = resolve_home(environ)
    stand_in.rmdir()
    stand_in.symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="not a directory"):
        make_private(stand_in)


def test_a_process_is_warned_once(
    environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever else turns out not to be usable."""
    resolve_home(environ)
    resolve_home({**environ, "Z4J_HOME": str(tmp_path / "file" / "other")})
    replace_home(tmp_path / "third", "full", environ)
    assert len(caplog.records) == 1
