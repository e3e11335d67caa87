"""Whatever lies under one of our names, nothing outside our directories is touched.

Each case plays an agent's life in a child process, as this user and, where that is root, as
``nobody`` too. Planted before it begins, a thing was there first; planted after the name is
claimed, it is what a race between our look and our open would leave.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from z4j_otel.agent.schedules.memory import ToldMemory
from z4j_otel.agent.schedules.ownership import MirrorSeat
from z4j_otel.agent.status_file import StatusFile, read_status
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.census import find_files, sum_waiting
from z4j_otel.buffer.files import AgentFiles, find_abandoned, find_served
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.clock import SystemClock
from z4j_otel.errors import BufferError_
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

IS_ROOT = os.geteuid() == 0
NOBODY = 65534
STRANGER = 4711
USERS = [os.geteuid(), *([NOBODY] if IS_ROOT else [])]
SUFFIXES = ["", "-wal", "-shm", "-journal", "-state", ".new", ".corrupt-1"]
NAMES = [
    "buffer-7.lock",
    "buffer-7.journal",
    "buffer-7.journal/active.log",
    "buffer-7.status",
    "buffer-7.status.new",
    *(f"buffer-7.sqlite{suffix}" for suffix in SUFFIXES),
    "schedules-7.seat",
    "schedules-7.told",
    "schedules-7.new",
]
KINDS = ["link", "directory link", "dangling link", "hard link", "directory", "pipe", "socket"]
KINDS += ["another user's file", "device"] if IS_ROOT else []
SECOND_NS = 1_000_000_000
LIMIT_S = 20


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that every user can reach: pytest's own is private."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="z4j-planted-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        yield directory


def furnish(place: Path, uid: int) -> tuple[Path, Path]:
    """Make a home, and what may not be touched; all of it belongs to the user."""
    home, outside = place / "home", place / "outside"
    home.mkdir(mode=0o700)
    outside.mkdir()
    (outside / "directory").mkdir()
    for name in ("victim", "directory/victim"):
        (outside / name).write_bytes(b"")  # an empty one looks like a lock that nobody took
    (outside / "letter").write_bytes(b"precious")
    for path in (home, outside, *outside.rglob("*")):
        os.chown(path, uid, -1)
    return home, outside


def plant(path: Path, kind: str, outside: Path) -> None:
    """Put something there, in the place of what may be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if kind == "link":
        path.symlink_to(outside / "letter")
    elif kind == "directory link":
        path.symlink_to(outside / "directory")
    elif kind == "dangling link":
        path.symlink_to(outside / "missing")
    elif kind == "hard link":
        path.hardlink_to(outside / "victim")
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "another user's file":
        path.write_bytes(b"")
        path.chmod(0o666)
        os.chown(path, STRANGER, -1)
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))  # /dev/full


def seen(outside: Path) -> dict[str, tuple[object, ...]]:
    """Return what is outside, with all that tells whether somebody touched it."""
    found = {}
    for path in sorted([outside, *outside.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def live(home: Path, *, plant_late: bool, plant_now: object) -> list[str]:
    """Be an agent: claim, append, read, store, show, look around, leave; return complaints."""
    complaints = []
    files = AgentFiles.claim(home, 7, "shop")
    if plant_late:
        plant_now()
    writer = JournalWriter(files.journal_dir, successor=lambda: None)
    reader = JournalReader(files.journal_dir)
    told = []
    for second in range(1, 4):
        writer.append(b"%d" % second, now_ns=second * 2 * SECOND_NS)
        with contextlib.suppress(OSError):
            told += reader.read(max_records=10, max_bytes=1000).records
    is_journal_gone = plant_late and told == []
    if told != [b"1", b"2", b"3"] and not is_journal_gone:
        complaints.append(f"journal: {told}")
    try:
        buffer = SqliteBuffer(files.buffer_path)
        buffer.append([(EntryKind.EVENT, b"{}")], now_ns=1)
        if sum_waiting(files.buffer_path).entries != 1:
            complaints.append("buffer: nothing is there")
        buffer.close()
    except BufferError_ as error:
        if not plant_late:
            complaints.append(f"buffer: {error}")
    StatusFile(files.status_path, {}, SystemClock()).show({"state": "connected"})
    read_status(files.status_path)
    seat = MirrorSeat(home / "schedules-7.seat")
    seat.take()
    seat.leave()
    ToldMemory(home / "schedules-7.told").keep("beat", {})
    find_files(home)
    find_served(home, "shop")
    for found in find_abandoned(home, "shop"):
        found.close()
    reader.close()
    writer.close()
    with contextlib.suppress(OSError):
        files.remove()
    return complaints


def as_user(uid: int, work: object) -> list[str]:
    """Do something in a child process as a user; return its complaints."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(LIMIT_S)
            if uid != os.geteuid():
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            complaints = work()
        except BaseException as error:  # noqa: BLE001 -- the parent tells of it
            complaints = [f"{type(error).__name__}: {error}"]
        os.write(writing, json.dumps(complaints).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(answer) if answer else [f"no answer within {LIMIT_S} s: {code}"]


@pytest.mark.parametrize("uid", USERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_is_touched(place: Path, name: str, kind: str, uid: int) -> None:
    """What was there first is passed over, and the agent works."""
    home, outside = furnish(place, uid)
    plant(home / name, kind, outside)
    if name.startswith("buffer-7.journal/"):
        os.chown(home / "buffer-7.journal", uid, -1)
    before = seen(outside)
    complaints = as_user(uid, lambda: live(home, plant_late=False, plant_now=None))
    assert complaints == []
    assert seen(outside) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_is_touched_after_a_race(place: Path, name: str, kind: str) -> None:
    """What was put there behind our back is not followed either, and nothing hangs or raises."""
    home, outside = furnish(place, os.geteuid())
    before = seen(outside)

    late = partial(plant, home / name, kind, outside)
    complaints = as_user(os.geteuid(), lambda: live(home, plant_late=True, plant_now=late))
    assert complaints == []
    assert seen(outside) == before
