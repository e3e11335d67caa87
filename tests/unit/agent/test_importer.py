"""From journal to buffer, and what dead agents left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from z4j_otel.agent.adoption import ADOPT_EVERY_NS, AdoptingImporter
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_, BufferFull
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

RECEIVED = (
    b'{"data":{"attempt":0,"queue":"q"},"engine":"celery","id":"x","kind":"task.received",'
    b'"occurred_at":"2026-01-02T03:04:05.000000+00:00","task_id":"%b"}'
)


def importer_of(
    directory: Path, buffer: MemoryBuffer, ledger: Ledger | None = None
) -> JournalImporter:
    """Build an importer that goes on where the buffer says."""
    reader = JournalReader(directory, buffer.positions().get("j"))
    return JournalImporter(reader, buffer, Arbiter(), source="j", ledger=ledger)


def bodies(buffer: MemoryBuffer) -> list[bytes]:
    """Return all that waits in a buffer."""
    return [e.body for e in buffer.lease(1000, max_bytes=1 << 30, now_ns=0)]


def write(directory: Path, *task_ids: str) -> None:
    """Journal one arrival per task, and let the journal go."""
    writer = JournalWriter(directory)
    for task_id in task_ids:
        writer.append(RECEIVED % task_id.encode(), now_ns=1)
    writer.close()


def test_records_are_imported_once_and_in_order(tmp_path: Path) -> None:
    """A restarted import goes on where the buffer's transaction ended."""
    buffer = MemoryBuffer()
    write(tmp_path / "j", "a", "b")
    first = importer_of(tmp_path / "j", buffer)
    assert first.import_pending(1) == 2
    first.close()
    write(tmp_path / "j", "c")
    assert importer_of(tmp_path / "j", buffer).import_pending(2) == 1
    assert [body.split(b'"task_id":"')[1][:1] for body in bodies(buffer)] == [b"a", b"b", b"c"]


def test_what_is_told_twice_is_counted(tmp_path: Path) -> None:
    """The ledger balances: imported is sent plus told twice."""
    ledger, buffer = Ledger(buffer_id="b", runtime_id="r"), MemoryBuffer()
    writer = JournalWriter(tmp_path / "j")
    for _ in range(2):
        writer.append((RECEIVED % b"a").replace(b"received", b"failed"), now_ns=1)
    assert importer_of(tmp_path / "j", buffer, ledger).import_pending(1) == 2
    assert (ledger.told_twice, len(bodies(buffer))) == (1, 1)


class FullDisk(MemoryBuffer):
    """A buffer whose disk is full once."""

    is_full = True

    def append(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the first time."""
        if self.is_full:
            self.is_full = False
            raise BufferFull("no space left")
        super().append(*args, **kwargs)


def test_what_the_disk_did_not_take_is_imported_later(tmp_path: Path) -> None:
    """A full disk delays records and loses none."""
    write(tmp_path / "j", "a", "b")
    buffer = FullDisk()
    importer = importer_of(tmp_path / "j", buffer)
    with pytest.raises(BufferFull):
        importer.import_pending(1)
    assert importer.import_pending(2) == 2
    assert len(bodies(buffer)) == 2


def test_an_imported_journal_without_writers_can_be_retired(tmp_path: Path) -> None:
    """Its directory is empty afterwards; a record that waits forbids it."""
    write(tmp_path / "j", "a")
    importer = importer_of(tmp_path / "j", MemoryBuffer())
    assert importer.retire() is False
    importer.import_pending(1)
    assert importer.retire() is True
    assert list((tmp_path / "j").iterdir()) == []


def leave_behind(home: Path, *, deployment: str) -> None:
    """Let a process die with one event in its buffer and one in its journal."""
    code = (
        "import sys, os; from pathlib import Path\n"
        "from z4j_otel.buffer.files import AgentFiles\n"
        "from z4j_otel.buffer.sqlite import SqliteBuffer\n"
        "from z4j_otel.buffer.base import EntryKind\n"
        "from z4j_otel.journal.writer import JournalWriter\n"
        "files = AgentFiles.claim(Path(sys.argv[1]), os.getpid(), sys.argv[2])\n"
        "buffer = SqliteBuffer(files.buffer_path)\n"
        "buffer.append([(EntryKind.EVENT, b'{}')], now_ns=1)\n"
        "JournalWriter(files.journal_dir).append(sys.argv[3].encode(), now_ns=1)\n"
        "os._exit(1)\n"
    )
    record = (RECEIVED % b"left").decode()
    subprocess.run([sys.executable, "-c", code, str(home), deployment, record], check=False)


def test_what_a_dead_agent_left_is_taken_over_whole(tmp_path: Path) -> None:
    """Buffer and journal of the same deployment are adopted, and their files deleted."""
    leave_behind(tmp_path, deployment="d1")
    files = AgentFiles.claim(tmp_path, os.getpid(), "d1")
    buffer = SqliteBuffer(files.buffer_path)
    own = JournalImporter(JournalReader(files.journal_dir), buffer, Arbiter(), source="own")
    adopting = AdoptingImporter(own, buffer, home=tmp_path, deployment="d1", arbiter=Arbiter())
    assert adopting.import_pending(1) == 2
    assert {entry.kind for entry in buffer.lease(9, max_bytes=1 << 20, now_ns=0)} == {
        EntryKind.EVENT
    }
    assert all(f"buffer-{os.getpid()}" in path.name for path in tmp_path.iterdir())
    adopting.close()
    buffer.close()
    files.close()


def test_a_journal_whose_writers_live_on_is_taken_once(tmp_path: Path) -> None:
    """Only what an orphan appended since the last look is imported, and at last all is gone."""
    orphans = AgentFiles.claim(tmp_path, 1, "d1")
    writer = JournalWriter(orphans.journal_dir)
    orphans.close()
    buffer = MemoryBuffer()
    adopting = AdoptingImporter(
        importer_of(tmp_path / "j", buffer),
        buffer,
        home=tmp_path,
        deployment="d1",
        arbiter=Arbiter(),
    )
    counts = []
    for turn, task_ids in enumerate((b"ab", b"", b"c", b"", b"")):
        for task_id in task_ids:
            writer.append(RECEIVED % bytes([task_id]), now_ns=turn)
        if turn == 4:
            writer.close()
        counts.append(adopting.import_pending(turn * ADOPT_EVERY_NS))
    assert counts == [2, 0, 1, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_strangers_files_are_left_alone(tmp_path: Path) -> None:
    """Another deployment's events are not ours to deliver."""
    leave_behind(tmp_path, deployment="other")
    buffer = MemoryBuffer()
    adopting = AdoptingImporter(
        importer_of(tmp_path / "j", buffer),
        buffer,
        home=tmp_path,
        deployment="d1",
        arbiter=Arbiter(),
    )
    assert adopting.import_pending(1) == 0


def test_adoption_is_tried_every_thirty_seconds(tmp_path: Path) -> None:
    """Looking for abandoned files costs a directory listing, so it is not done all the time."""
    buffer = MemoryBuffer()
    adopting = AdoptingImporter(
        importer_of(tmp_path / "j", buffer),
        buffer,
        home=tmp_path,
        deployment="d1",
        arbiter=Arbiter(),
    )
    adopting.import_pending(1)
    leave_behind(tmp_path, deployment="d1")
    assert adopting.import_pending(2) == 0
    assert adopting.import_pending(2 + ADOPT_EVERY_NS) == 2


class NoDisk(MemoryBuffer):
    """A buffer whose disk takes nothing, while everything in memory has been delivered."""

    takes = False

    def append(self, *args: Any, **kwargs: Any) -> bool:
        """Hold it in memory only."""
        super().append(*args, **kwargs)
        return self.takes


def test_what_is_delivered_makes_room_on_a_full_disk(tmp_path: Path) -> None:
    """The journal goes, down to the segment that is written, and what comes is imported."""
    writer = JournalWriter(tmp_path / "j")
    buffer = NoDisk()
    importer = importer_of(tmp_path / "j", buffer)
    for turn, task in enumerate((b"a", b"b", b"c")):
        writer.append(RECEIVED % task, now_ns=turn * 2_000_000_000)
        importer.import_pending(turn * 2_000_000_000)
        importer.import_pending(turn * 2_000_000_000)
    assert len(bodies(buffer)) == 3
    sizes = [path.stat().st_size for path in (tmp_path / "j").iterdir()]
    assert sum(sizes) < 2 * len(RECEIVED) + 100
    buffer.takes = True
    writer.close()
    importer.import_pending(9_000_000_000)
    assert importer.retire()


class LockedAtTimes(MemoryBuffer):
    """A buffer whose database somebody locks for a moment."""

    locked_at = ("celery/c",)

    def recall_story(self, key: str) -> bytes | None:
        """Fail once where it is told to."""
        if key in self.locked_at:
            self.locked_at = ()
            raise BufferError_("buffer b.sqlite: database is locked")
        return super().recall_story(key)


def test_what_cannot_be_judged_now_is_judged_on_later(tmp_path: Path) -> None:
    """A story that cannot be read costs no record, and none is told twice."""
    buffer = LockedAtTimes()
    write(tmp_path / "j", "a", "b", "c", "d")
    importer = JournalImporter(
        JournalReader(tmp_path / "j"), buffer, Arbiter(recall=buffer.recall_story), source="j"
    )
    with pytest.raises(BufferError_):
        importer.import_pending(1)

    assert importer.import_pending(2) == 4

    assert bodies(buffer) == [RECEIVED % task_id for task_id in (b"a", b"b", b"c", b"d")]
    assert importer.ledger.conservation(buffer).lost(EntryKind.EVENT) == 0


def test_record_that_nobody_can_judge_costs_no_other(tmp_path: Path) -> None:
    """It passes as it is: two arrivals in a second, of which the second cannot be moved."""
    buffer = MemoryBuffer()
    bare = RECEIVED.replace(b'"data":{"attempt":0,"queue":"q"},', b"") % b"a"
    writer = JournalWriter(tmp_path / "j")
    for record in (bare, bare, RECEIVED % b"b"):
        writer.append(record, now_ns=1)
    writer.close()

    assert importer_of(tmp_path / "j", buffer).import_pending(1) == 3

    assert bodies(buffer) == [bare, bare, RECEIVED % b"b"]
