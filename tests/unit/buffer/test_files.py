"""Who owns which file."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from z4j_otel.buffer import files as module
from z4j_otel.buffer.files import (
    AgentFiles,
    exists,
    find_abandoned,
    find_served,
    is_owner_alive,
)


def names(home: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in home.iterdir())


def test_a_claim_names_the_files_after_the_pid(tmp_path: Path) -> None:
    """The lock tells who; the journal exists, the database does not yet."""
    files = AgentFiles.claim(tmp_path, 42, "shop")
    assert files.buffer_path == tmp_path / "buffer-42.sqlite"
    assert files.journal_dir == tmp_path / "buffer-42.journal"
    assert files.journal_dir.stat().st_mode & 0o777 == 0o700
    assert files.lock_path.stat().st_mode & 0o777 == 0o600
    told = json.loads(files.lock_path.read_text())
    assert told == {
        "deployment": "shop",
        "pid": 42,
        "boot_id": files.boot_id,
        "suffix": ".sqlite",
    }
    assert repr(files) == f"AgentFiles('{tmp_path}/buffer-42.sqlite')"
    files.close()


def test_a_living_owner_keeps_its_name(tmp_path: Path) -> None:
    """Agents of containers that all have one pid live side by side."""
    claimed = [AgentFiles.claim(tmp_path, 1, "shop") for _ in range(3)]
    stems = [files.buffer_path.stem for files in claimed]
    assert stems == ["buffer-1", "buffer-1-1", "buffer-1-2"]
    for files in claimed:
        files.close()


def test_a_dead_agents_name_stays_taken_until_it_is_adopted(tmp_path: Path) -> None:
    """A restarted container, where every pid is the same, finds its own files abandoned."""
    first = AgentFiles.claim(tmp_path, 1, "shop")
    first.close()
    second = AgentFiles.claim(tmp_path, 1, "shop")
    assert second.buffer_path.stem == "buffer-1-1"
    (left,) = find_abandoned(tmp_path, "shop")
    assert left.boot_id == first.boot_id != second.boot_id
    assert left.remove()
    third = AgentFiles.claim(tmp_path, 1, "shop")
    assert third.buffer_path.stem == "buffer-1"
    for files in (second, third):
        files.close()


def test_files_are_known_by_name_and_life(tmp_path: Path) -> None:
    """A later owner of the same name is somebody else."""
    first = AgentFiles.claim(tmp_path, 1, "shop")
    assert exists(tmp_path, first.key)
    assert first.remove()
    second = AgentFiles.claim(tmp_path, 1, "shop")
    assert [exists(tmp_path, files.key) for files in (first, second)] == [False, True]
    second.close()


def test_a_served_journal_is_one_whose_owner_lives(tmp_path: Path) -> None:
    """Dead agents, other deployments and journals that were removed do not count."""
    AgentFiles.claim(tmp_path, 1, "shop").close()
    other = AgentFiles.claim(tmp_path, 2, "other")
    gone = AgentFiles.claim(tmp_path, 3, "shop")
    gone.journal_dir.rmdir()
    assert find_served(tmp_path, "shop") is None
    alive = AgentFiles.claim(tmp_path, 4, "shop")
    assert find_served(tmp_path, "shop") == alive.journal_dir
    for files in (other, gone, alive):
        files.close()


def test_another_users_files_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write into the directory could have planted them."""
    AgentFiles.claim(tmp_path, 1, "shop").close()
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert find_abandoned(tmp_path, "shop") == []


def test_an_owner_leaves_signs_of_life(tmp_path: Path) -> None:
    """The lock file's time says when it was last known to live."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    os.utime(files.lock_path, (1, 1))
    files.close()
    files.note_alive()
    (left,) = find_abandoned(tmp_path, "shop")
    assert left.last_alive_ns == 1_000_000_000
    left.note_alive()
    assert left.lock_path.stat().st_mtime > 1
    left.close()


@pytest.mark.parametrize("content", ['{"deployment":"other","pid":1,"boot_id":"b"}', "{", "[]"])
def test_a_foreign_or_unreadable_name_is_taken(tmp_path: Path, content: str) -> None:
    """Files of another deployment, or of nobody knows whom, are left alone."""
    (tmp_path / "buffer-1.lock").write_text(content)
    files = AgentFiles.claim(tmp_path, 1, "shop")
    assert files.buffer_path.stem == "buffer-1-1"
    assert (tmp_path / "buffer-1.lock").read_text() == content
    files.close()


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """The other z4j agent uses the same names without our lock file."""
    (tmp_path / "buffer-1.sqlite").write_text("theirs")
    files = AgentFiles.claim(tmp_path, 1, "shop")
    assert files.buffer_path.stem == "buffer-1-1"
    assert "buffer-1.lock" not in names(tmp_path)
    files.close()


def test_an_explicit_path_names_all_three(tmp_path: Path) -> None:
    """Journal and lock lie beside the database."""
    path = tmp_path / "mine.db"
    claimed = [AgentFiles.claim(tmp_path, 1, "shop", buffer_path=path) for _ in range(2)]
    assert [files.buffer_path.name for files in claimed] == ["mine.db", "mine-1.db"]
    assert names(tmp_path) == ["mine-1.journal", "mine-1.lock", "mine.journal", "mine.lock"]
    for files in claimed:
        files.close()
    found = find_abandoned(tmp_path, "shop")
    assert {files.buffer_path.name for files in found} == {"mine.db", "mine-1.db"}
    assert all(files.remove() for files in found)


@pytest.mark.parametrize(
    ("given", "taken"), [("x.lock", "x.sqlite"), ("x", "x"), ("a.b.c", "a.b.c")]
)
def test_an_explicit_database_never_is_the_lock(tmp_path: Path, given: str, taken: str) -> None:
    """Any name is taken as it is, except the two that we need ourselves."""
    files = AgentFiles.claim(tmp_path, 1, "shop", buffer_path=tmp_path / given)
    assert files.buffer_path.name == taken
    assert files.remove()


def test_a_claim_in_a_missing_directory_fails(tmp_path: Path) -> None:
    """It does not try a thousand names."""
    with pytest.raises(FileNotFoundError):
        AgentFiles.claim(tmp_path / "missing", 1, "shop")


def test_a_failed_claim_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is given up and deleted when the journal cannot be made."""

    def no_space(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", no_space)
        with pytest.raises(OSError, match="space"):
            AgentFiles.claim(tmp_path, 1, "shop")
    assert list(tmp_path.iterdir()) == []
    AgentFiles.claim(tmp_path, 1, "shop").close()


@pytest.mark.parametrize("suffix", [".lock", ".sqlite", ".journal"])
def test_a_planted_link_is_passed_over(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Another name is taken, what the link leads to is untouched, and one line tells."""
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / f"buffer-1{suffix}").symlink_to(target)
    mine = AgentFiles.claim(tmp_path, 1, "shop")
    assert mine.lock_path.name == "buffer-1-1.lock"
    assert (list(target.iterdir()), caplog.text.count("is a link")) == ([], 1)
    mine.close()


@pytest.mark.parametrize("is_link", [True, False])
def test_what_stands_for_an_abandoned_journal_is_put_aside(
    tmp_path: Path, is_link: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is read from it or written through it, and the estate comes to its end."""
    theirs = AgentFiles.claim(tmp_path, 1, "shop")
    theirs.close()
    theirs.journal_dir.rmdir()
    if is_link:
        theirs.journal_dir.symlink_to(tmp_path)
    else:
        theirs.journal_dir.write_text("precious")
    (found,) = find_abandoned(tmp_path, "shop")
    assert found.journal_dir.is_dir()
    assert not found.journal_dir.is_symlink()
    assert found.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["buffer-1.journal-foreign"]
    assert caplog.text.count("was not made by z4j-otel") == 1


def test_what_others_put_into_a_journal_goes_aside_with_it(tmp_path: Path) -> None:
    """It is not deleted, and does not keep the files for ever."""
    mine = AgentFiles.claim(tmp_path, 1, "shop")
    (mine.journal_dir / "notes").write_text("precious")
    assert mine.remove()
    assert (tmp_path / "buffer-1.journal-foreign" / "notes").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_claim_ends_when_every_name_is_taken(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """There is an end to numbers."""
    request.addfinalizer(lambda most=module._MOST_NAMES: setattr(module, "_MOST_NAMES", most))
    module._MOST_NAMES = 2
    claimed = [AgentFiles.claim(tmp_path, 1, "shop") for _ in range(2)]
    with pytest.raises(FileExistsError, match="every name"):
        AgentFiles.claim(tmp_path, 1, "shop")
    for files in claimed:
        files.close()


def test_the_owner_is_alive_until_it_closes(tmp_path: Path) -> None:
    """Asking does not end the ownership, and who never was is dead."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    assert [is_owner_alive(files.journal_dir) for _ in range(3)] == [True] * 3
    files.close()
    files.close()
    assert not is_owner_alive(files.journal_dir)
    assert not is_owner_alive(tmp_path / "never.journal")


def test_a_forked_child_sees_its_parent_alive_and_does_not_stand_in_for_it(tmp_path: Path) -> None:
    """After SIGKILL of the owner its files are abandoned, though its child lives on."""
    (from_owner, to_us), (from_us, to_child) = os.pipe(), os.pipe()
    owner = os.fork()
    if not owner:
        files = AgentFiles.claim(tmp_path, 1, "shop")
        if not os.fork():
            os.close(to_child)
            os.write(to_us, b"%d" % is_owner_alive(files.journal_dir))
            os.read(from_us, 1)
            os._exit(0)
        signal.pause()
    assert os.read(from_owner, 1) == b"1"
    assert is_owner_alive(tmp_path / "buffer-1.journal")
    assert find_abandoned(tmp_path, "shop") == []
    os.kill(owner, signal.SIGKILL)
    os.waitpid(owner, 0)
    assert not is_owner_alive(tmp_path / "buffer-1.journal")
    (files,) = find_abandoned(tmp_path, "shop")
    files.close()
    for fd in (to_child, from_us, from_owner, to_us):
        os.close(fd)


def test_sharing_one_part_of_the_name_is_enough(tmp_path: Path) -> None:
    """Files written under a wrong secret or an old token are found under the right one."""
    AgentFiles.claim(tmp_path, 2, "old-secret.token").close()
    (found,) = find_abandoned(tmp_path, "new-secret.token")
    assert found.pid == 2
    found.close()


def test_only_dead_agents_of_the_deployment_are_found(tmp_path: Path) -> None:
    """The living, the others, and what is no lock of ours stay untouched."""
    alive = AgentFiles.claim(tmp_path, 1, "shop")
    for pid, deployment in ((2, "shop"), (3, "other"), (4, "shop")):
        AgentFiles.claim(tmp_path, pid, deployment).close()
    (tmp_path / "apt.lock").write_text("")
    (tmp_path / "dir.lock").mkdir()
    (tmp_path / "link.lock").symlink_to("buffer-2.lock")
    os.utime(tmp_path / "buffer-4.lock", (1, 1))
    found = find_abandoned(tmp_path, "shop")
    assert [files.pid for files in found] == [4, 2]
    assert is_owner_alive(tmp_path / "buffer-2.journal")
    assert find_abandoned(tmp_path, "shop") == []
    for files in (*found, alive):
        files.close()


def test_an_abandoned_journal_directory_is_there_again(tmp_path: Path) -> None:
    """Whoever adopts may read the journal without asking whether it exists."""
    files = AgentFiles.claim(tmp_path, 2, "shop")
    files.journal_dir.rmdir()
    files.close()
    (found,) = find_abandoned(tmp_path, "shop")
    assert found.journal_dir.is_dir()
    assert (found.pid, found.boot_id, found.deployment) == (2, files.boot_id, "shop")
    found.close()


def test_files_are_removed_with_their_lock(tmp_path: Path) -> None:
    """Nothing stays, and the name is free."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm"):
        (tmp_path / f"buffer-1{suffix}").write_text("")
    assert files.remove()
    assert names(tmp_path) == []
    assert AgentFiles.claim(tmp_path, 1, "shop").remove()


def test_files_with_a_journal_that_is_not_empty_are_kept(tmp_path: Path) -> None:
    """There may be a record, or a writer."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    (files.journal_dir / "active.log").write_text("")
    assert not files.remove()
    assert names(tmp_path) == ["buffer-1.journal", "buffer-1.lock"]
    files.close()


def test_removal_does_not_need_the_journal(tmp_path: Path) -> None:
    """A directory that is gone already is gone."""
    files = AgentFiles.claim(tmp_path, 1, "shop")
    files.journal_dir.rmdir()
    assert files.remove()


def test_a_lock_that_vanishes_is_nobodys(tmp_path: Path) -> None:
    """Between listing and locking its owner may have removed it."""
    assert module._lock(tmp_path / "gone.lock", is_new=False) is None
    assert module._modified_ns(tmp_path / "gone.lock") == 0
    assert module._adopt(tmp_path / "gone.lock", "shop") is None


def test_a_name_that_was_freed_while_we_locked_it_is_tried_again(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What was locked has no name any more; the second attempt locks what has."""
    request.addfinalizer(lambda known=module._leads_to: setattr(module, "_leads_to", known))
    answers = [False, True]
    module._leads_to = lambda path, fd: answers.pop(0)
    files = AgentFiles.claim(tmp_path, 1, "shop")
    assert answers == []
    assert is_owner_alive(files.journal_dir)
    files.close()


def test_a_lock_that_changed_hands_is_not_adopted(tmp_path: Path) -> None:
    """The record is read again under the lock."""
    (tmp_path / "a.lock").write_text('{"deployment":"other","pid":1,"boot_id":"b"}')
    assert module._adopt(tmp_path / "a.lock", "shop") is None


def test_a_lock_without_a_name_is_not_owned(tmp_path: Path) -> None:
    """A file removed between open and lock is told from the one at its path."""
    fd = os.open(tmp_path / "a.lock", os.O_RDWR | os.O_CREAT)
    (tmp_path / "a.lock").unlink()
    assert not module._leads_to(tmp_path / "a.lock", fd)
    (tmp_path / "a.lock").touch()
    assert not module._leads_to(tmp_path / "a.lock", fd)
    os.close(fd)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "content",
    [
        None,
        b'{"deployment":"\xff"}',
        b"[" * 4096,
        b'{"deployment":"shop","pid":1,"boot_id":"b","suffix":"/../../etc/passwd"}',
        b'{"deployment":"shop","pid":1,"boot_id":"b","suffix":".lock"}',
    ],
)
def test_a_lock_that_is_none_of_ours_is_left_alone(tmp_path: Path, content: bytes | None) -> None:
    """A pipe is not waited for, and bytes that are no text are no record."""
    if content is None:
        os.mkfifo(tmp_path / "buffer-1.lock")
    else:
        (tmp_path / "buffer-1.lock").write_bytes(content)
    assert module.look_at(tmp_path / "buffer-1.lock") is None
    assert find_abandoned(tmp_path, "shop") == []
    assert not is_owner_alive(tmp_path / "buffer-1.journal")
    mine = AgentFiles.claim(tmp_path, 1, "shop")
    assert mine.lock_path.name == "buffer-1-1.lock"
    mine.close()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-state", ".new"])
def test_what_lies_beside_a_database_takes_its_name(tmp_path: Path, suffix: str) -> None:
    """A new database would be opened together with it."""
    (tmp_path / f"buffer-1.sqlite{suffix}").write_text("")
    mine = AgentFiles.claim(tmp_path, 1, "shop")
    assert mine.lock_path.name == "buffer-1-1.lock"
    mine.close()
