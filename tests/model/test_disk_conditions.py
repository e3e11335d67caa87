"""Disks as operators meet them: full, read-only, emptied, another user's, with links in it.

All files are real. In each condition the agent starts and goes on, what is intact is
delivered, the rest is counted, and exactly one line of the log says what to do.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.model.faults import FaultyDisk

from z4j_otel.agent.adoption import ADOPT_EVERY_NS, AdoptingImporter
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.conservation import Conservation
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.disk import DISK
from z4j_otel.errors import BufferError_
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

from ..damage.life import ACTIVE, BUFFER, JOURNAL, Life  # noqa: TID252 -- an agent's life
from ..damage.making import event  # noqa: TID252 -- as above

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
RETRY_S = 6.0
EVENT = EntryKind.EVENT


class Scene:
    """A life, a process that captures, and what an operator reads."""

    def __init__(self, home: Path, log: pytest.LogCaptureFixture, disk: FaultyDisk | None = None):
        log.set_level(logging.INFO, "z4j_otel")
        self.home, self.log = home, log
        self.disk = disk
        self.life = Life(home, disk=disk or DISK, connect=disk.connect if disk else sqlite3.connect)
        self.writer = JournalWriter(home / JOURNAL, disk=disk or DISK)
        self.given = 0

    def capture(self, count: int) -> None:
        """Append events, and import what arrives."""
        for _ in range(count):
            self.writer.append(event(self.given, 300), now_ns=self.life.clock.now_ns())
            self.given += 1
            if self.given % 50 == 0:
                self.work()
        self.work()

    def work(self, *, delivers: bool = False) -> None:
        """Let some seconds pass for the agent."""
        self.life.clock.advance(RETRY_S)
        self.writer.flush()
        self.life.take_in()
        if delivers:
            self.life.deliver()

    def end(self) -> Conservation:
        """Bring everything to its end."""
        for _ in range(4):
            self.work(delivers=True)
        self.writer.close()
        account = self.life.end()
        self.life.close()
        assert account.closes, account.describe()
        assert (account.captured, account.pending) == (self.given, 0)
        assert account.acked == len(self.life.delivered)
        return account

    @property
    def lines(self) -> list[str]:
        """What the log says, without paths."""
        found = [each for each in self.log.records if each.levelno >= logging.INFO]
        return [
            f"{each.levelname} {each.getMessage()}".replace(str(self.home), "H") for each in found
        ]


def check_lines(scene: Scene, *beginnings: str) -> None:
    """Compare what an operator reads: one line each."""
    assert len(scene.lines) == len(beginnings), scene.lines
    for line, beginning in zip(scene.lines, beginnings, strict=True):
        assert line.startswith(beginning), line


@pytest.mark.parametrize("is_read_only", [False, True], ids=["full", "read-only"])
@pytest.mark.parametrize("is_away", [False, True], ids=["brain there", "brain away"])
def test_a_disk_that_takes_nothing_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_read_only: bool, is_away: bool
) -> None:
    """Nothing is lost within what memory holds, and delivery goes on."""
    disk = FaultyDisk()
    scene = Scene(tmp_path, caplog, disk)
    scene.capture(100)
    disk.is_read_only, disk.room_bytes = is_read_only, 0
    scene.capture(100)
    for _ in range(5):
        scene.work(delivers=not is_away)
    if not is_away:
        assert len(scene.life.delivered) == 100
    disk.is_read_only, disk.room_bytes = False, None
    assert scene.end().acked == 200
    reason = "read-only file system" if is_read_only else "database or disk is full"
    if is_away:
        check_lines(scene)  # nothing was to be written: what came waits where it was captured
    else:
        check_lines(
            scene,
            f"WARNING buffer H/b.sqlite cannot be written ({reason}): make room on its disk, or "
            "let this user write there;",
            "INFO buffer H/b.sqlite is on disk again",
        )


def test_a_file_may_not_grow_any_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit of the process is a full disk, too; what no memory holds is counted."""
    scene = Scene(tmp_path, caplog)
    scene.capture(100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        scene.capture(2000)
        scene.work(delivers=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    account = scene.end()
    lost = {reason.value: count for (_, reason), count in account.dropped.items() if count}
    assert account.acked == scene.given - sum(lost.values())
    assert set(lost) <= {"journal_unwritable"}
    assert [line.split(" (")[0] for line in scene.lines] == [
        "WARNING buffer H/b.sqlite cannot be written",
        "INFO buffer H/b.sqlite is on disk again",
    ]


@pytest.fixture
def volume(tmp_path: Path, service_missing: Callable[[str], None]) -> Iterator[Path]:
    """Return a small disk of its own."""
    path = tmp_path / "volume"
    path.mkdir()
    mount = shutil.which("mount")
    wanted = [mount or "", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if not IS_ROOT or not mount or subprocess.run(wanted, check=False).returncode:
        service_missing("no right to mount a disk; run the tests as root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_the_agent_fills_itself(volume: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the brain is back, what is delivered makes room for what waits."""
    scene = Scene(volume, caplog)
    scene.capture(5000)
    assert os.statvfs(volume).f_bavail == 0
    for _ in range(40):
        scene.work(delivers=True)
    account = scene.end()
    lost = {reason.value: count for (_, reason), count in account.dropped.items() if count}
    assert set(lost) == {"journal_unwritable"}
    assert account.acked == 5000 - lost["journal_unwritable"]
    assert account.acked > 2000
    assert sum("cannot be written" in line for line in scene.lines) == 1


def test_the_directory_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everything is there again, and what was imported is not lost."""
    home = tmp_path / "home"
    home.mkdir()
    scene = Scene(home, caplog)
    scene.capture(50)
    shutil.rmtree(home)
    home.mkdir()
    (home / JOURNAL).mkdir()  # a living agent's writers make it
    scene.capture(50)
    assert scene.end().acked == 100
    check_lines(scene, "WARNING buffer H/b.sqlite was removed while it was in use and is written")


@pytest.mark.parametrize("name", [ACTIVE, BUFFER, f"{BUFFER}-wal", f"{BUFFER}-state"])
def test_a_planted_link_is_not_followed(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it leads to is untouched, and everything is delivered."""
    target = tmp_path / "target"
    target.write_text("precious")
    home = tmp_path / "home"
    (home / JOURNAL).mkdir(parents=True)
    (home / name).symlink_to(target)
    scene = Scene(home, caplog)
    scene.capture(20)
    assert scene.end().acked == 20
    assert target.read_text() == "precious"
    assert len(scene.lines) <= 1, scene.lines
    assert all("delete it" in line for line in scene.lines)


def killed(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Leave the files of an agent that died with 30 events in its database."""
    scene = Scene(home, caplog)
    scene.capture(30)
    scene.writer.close()
    scene.life.importer._reader.retire(scene.life.importer._reader.read(1, 1).position)
    for _ in range(2):
        scene.life.importer._reader.retire(scene.life.importer._reader.read(1, 1).position)
    assert not list((home / JOURNAL).iterdir())
    kept = {path: path.read_bytes() for path in home.glob("b.sqlite*")}
    scene.life.close()
    for path, data in kept.items():
        path.write_bytes(data)
    caplog.clear()


def delivered_from(home: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Start an agent there; return the lines of its log once all is delivered."""
    scene = Scene(home, caplog)
    scene.given = 30
    assert scene.end().acked == 30
    return scene.lines


@pytest.mark.parametrize("version", [1, 2, 4])
def test_another_schema(tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture) -> None:
    """An older and a newer version's entries are delivered."""
    killed(tmp_path, caplog)
    with sqlite3.connect(tmp_path / BUFFER) as connection:
        connection.execute(f"PRAGMA user_version={version}")
    connection.close()
    (line,) = delivered_from(tmp_path, caplog)
    assert f"(schema version {version}, not 3) and was written anew" in line


@pytest.mark.parametrize("keeps_state", [True, False])
def test_a_log_without_its_database(
    tmp_path: Path, keeps_state: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What the log holds is delivered, and the account closes."""
    killed(tmp_path, caplog)
    (tmp_path / BUFFER).unlink()
    if not keeps_state:
        (tmp_path / f"{BUFFER}-state").unlink()
    (line,) = delivered_from(tmp_path, caplog)
    assert "(it is empty or missing) and was written anew" in line


@pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else")
def test_a_database_of_another_user_waits_for_its_permission(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not count as empty; one line tells, and it is delivered when it may be read."""
    home = Path("/tmp") / f"z4j-owner-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        theirs = AgentFiles.claim(home, 1, "shop")
        buffer = SqliteBuffer(theirs.buffer_path)
        buffer.append([(EVENT, event(number)) for number in range(5)], now_ns=1)
        buffer.close()
        theirs.close()
        as_root(theirs.buffer_path, 0)
        caplog.set_level(logging.INFO, "z4j_otel")
        ours = SqliteBuffer(home / "ours.sqlite")
        arbiter = Arbiter(recall=ours.recall_story)
        own = JournalImporter(JournalReader(home / "j"), ours, arbiter, source="j")
        importer = AdoptingImporter(own, ours, home=home, deployment="shop", arbiter=arbiter)
        for turn in range(4):
            importer.import_pending(turn * ADOPT_EVERY_NS)
        assert ours.stats().entries == 0
        (line,) = [each.getMessage() for each in caplog.records]
        assert "cannot be taken over (Permission denied)" in line
        assert f"see that user {NOBODY} may read and write it" in line
        with pytest.raises(BufferError_):
            SqliteBuffer(theirs.buffer_path)
        as_root(theirs.buffer_path, NOBODY)
        importer.import_pending(9 * ADOPT_EVERY_NS)
        assert ours.stats().entries == 5
        ours.close()
    finally:
        os.seteuid(0)
        shutil.rmtree(home)


def as_root(path: Path, owner: int) -> None:
    """Give a file away, as whoever ran a command as root has done."""
    os.seteuid(0)
    os.chown(path, owner, -1)
    os.seteuid(NOBODY)
