"""Who owns which file."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from z4j_otel.buffer import files as module
from z4j_otel.buffer.files import AgentFiles, find_abandoned, is_owner_alive


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


def test_a_dead_agents_name_is_taken_over_by_its_deployment(tmp_path: Path) -> None:
    """A restarted container goes on with its own entries, as a new life."""
    first = AgentFiles.claim(tmp_path, 1, "shop")
    first.buffer_path.write_text("entries")
    first.close()
    second = AgentFiles.claim(tmp_path, 1, "shop")
    assert second.buffer_path.read_text() == "entries"
    assert second.boot_id != first.boot_id
    second.close()


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


def test_a_failed_claim_holds_nothing(tmp_path: Path) -> None:
    """The lock is given up when the journal cannot be made."""
    (tmp_path / "buffer-1.journal").write_text("in the way")
    with pytest.raises(FileExistsError):
        AgentFiles.claim(tmp_path, 1, "shop")
    assert not is_owner_alive(tmp_path / "buffer-1.journal")


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
