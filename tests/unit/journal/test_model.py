"""Random lives of a journal against a list."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from z4j_otel.journal.format import frame
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

WRITERS = 3


class JournalMachine(RuleBasedStateMachine):
    """Appends, crashes and rotations in any order; every record is stored once, in order."""

    @initialize()
    def begin(self) -> None:
        """Start with three writers and a reader that rotates often."""
        self.folder = tempfile.TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.writers = [JournalWriter(self.directory) for _ in range(WRITERS)]
        self.appended: list[bytes] = []
        self.stored: list[bytes] = []
        self.position: str | None = None
        self.torn = 0
        self.corrupt = 0
        self.now_ns = 0
        self.reader = self.open_reader()

    def open_reader(self) -> JournalReader:
        """Return a reader at the stored position."""
        return JournalReader(self.directory, self.position, segment_bytes=120)

    @rule(index=st.integers(0, WRITERS - 1), size=st.integers(0, 60), step=st.integers(0, 2))
    def append(self, index: int, size: int, step: int) -> None:
        """Append a record whose bytes tell its number."""
        record = b"%d:" % len(self.appended) + b"x" * size
        self.now_ns += step * 600_000_000
        assert self.writers[index].append(record, now_ns=self.now_ns)
        self.appended.append(record)

    @rule(index=st.integers(0, WRITERS - 1), kept=st.integers(1, 15))
    def writer_is_killed(self, index: int, kept: int) -> None:
        """A writer dies in the middle of an append; another takes its place."""
        fd = self.writers[index]._fd
        if fd >= 0 and os.pread(fd, 1, 0) == b"\xf5":
            self.torn += 1
            os.write(fd, frame(b"never whole")[:kept])
        self.writers[index].close()
        self.writers[index] = JournalWriter(self.directory)

    @rule(records=st.integers(1, 5), is_stored=st.booleans())
    def read(self, records: int, is_stored: bool) -> None:
        """Read; then store records and position together, or die before that."""
        chunk = self.reader.read(records, 1 << 20)
        if not is_stored:
            self.reader.close()
            self.reader = self.open_reader()
            return
        self.stored += chunk.records
        self.corrupt += chunk.corrupt_records
        self.position = chunk.position

    @rule()
    def release(self) -> None:
        """Remove what the stored position proves to be done with."""
        self.reader.release(self.position or "{}")

    @rule()
    def reader_restarts(self) -> None:
        """The agent dies and its successor goes on from the stored position."""
        self.reader.close()
        self.reader = self.open_reader()

    @invariant()
    def stored_is_a_prefix(self) -> None:
        """Nothing is stored twice, out of order, or with a gap."""
        if hasattr(self, "stored"):
            assert self.stored == self.appended[: len(self.stored)]

    def teardown(self) -> None:
        """At the end everything arrives, damage is counted, and the disk is empty."""
        if not hasattr(self, "folder"):
            return
        for writer in self.writers:
            writer.close()
        while True:
            self.read(1000, is_stored=True)
            if self.reader.retire(self.position or "{}"):
                break
        assert self.stored == self.appended
        assert self.corrupt <= self.torn
        assert (self.corrupt > 0) == (self.torn > 0)
        assert list(self.directory.iterdir()) == []
        self.folder.cleanup()


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def child_writes(directory: Path, name: int, records: int) -> None:
    """Append numbered records, unless killed before the end."""
    writer = JournalWriter(directory)
    for number in range(records):
        assert writer.append(b"%d %d" % (name, number), now_ns=number)


def test_processes_that_are_killed_lose_nothing_they_appended(tmp_path: Path) -> None:
    """Four processes write while one is killed and the reader rotates and removes."""
    victim = random.Random(7).randrange(4)
    pids = []
    for name in range(4):
        pid = os.fork()
        if not pid:
            child_writes(tmp_path, name, 10**9 if name == victim else 2000)
            os._exit(0)
        pids.append(pid)
    reader = JournalReader(tmp_path, segment_bytes=4000)
    by_writer: dict[int, list[int]] = {name: [] for name in range(4)}
    is_retired = False
    while not is_retired:
        chunk = reader.read(100, 1 << 20)
        for record in chunk.records:
            name, number = map(int, record.split())
            by_writer[name].append(number)
        if pids and len(by_writer[victim]) > 50:
            os.kill(pids[victim], signal.SIGKILL)
            while pids:
                os.waitpid(pids.pop(), 0)
        is_retired = not pids and not chunk.records and reader.retire(chunk.position)
        if not is_retired:
            reader.release(chunk.position)
    for name, numbers in by_writer.items():
        assert numbers == list(range(len(numbers)))
        assert name == victim or len(numbers) == 2000
    assert list(tmp_path.iterdir()) == []


def test_causal_order_holds_between_processes(tmp_path: Path) -> None:
    """Two processes append in turns, each only after the other; they are read in turns."""
    (in_a, out_a), (in_b, out_b) = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        writer = JournalWriter(tmp_path)
        while number := int.from_bytes(os.read(in_a, 4), "big"):
            writer.append(b"%d" % number, now_ns=0)
            os.write(out_b, (number + 1).to_bytes(4, "big"))
        os._exit(0)
    writer = JournalWriter(tmp_path)
    reader = JournalReader(tmp_path, segment_bytes=200)
    read: list[int] = []
    for number in range(1, 2000, 2):
        os.write(out_a, number.to_bytes(4, "big"))
        chunk = reader.read(100, 1 << 20)  # while the other one writes
        read += map(int, chunk.records)
        reader.release(chunk.position)
        writer.append(os.read(in_b, 4)[:0] + b"%d" % (number + 1), now_ns=0)
    os.write(out_a, bytes(4))
    os.waitpid(pid, 0)
    read += map(int, reader.read(1000, 1 << 20).records)
    assert read == list(range(1, 2001))
    for fd in (in_a, out_a, in_b, out_b):
        os.close(fd)
