"""Random lives of writers, journal, importer and buffer against plain lists.

Every process may be killed before or behind any of its system calls, and in the middle of a
write; the disk may fill, turn read-only or fail a single call. A failing example is printed
as a program, and kept in ``tests/model/examples`` for the next run.
"""

from __future__ import annotations

import copy
import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.damage.life import PassAll
from tests.model.faults import Crash, FaultyDisk
from tests.scratch import IN_MEMORY

from z4j_otel.agent.books import Books
from z4j_otel.agent.conservation import weigh
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
WRITERS = 2
CAP = 25
LEAST_STEPS = 10_000
LEAST_DEATHS = 500
SOURCE = "journal"


@dataclass
class Model:
    """What should be in the buffer, and what has been."""

    held: dict[bytes, EntryKind] = field(default_factory=dict)
    imported: dict[int, int] = field(default_factory=dict)
    """Records by life of a writer."""
    lost: dict[EntryKind, int] = field(default_factory=lambda: dict.fromkeys(EntryKind, 0))
    acked: dict[EntryKind, int] = field(default_factory=lambda: dict.fromkeys(EntryKind, 0))

    def add(self, bodies: list[bytes], kind: EntryKind, out: dict[bytes, int]) -> None:
        """Append, and evict by the port's rule."""
        self.held.update(dict.fromkeys(bodies, kind))
        while len(self.held) > CAP:
            victim = min(self.held, key=lambda body: (self.held[body], body in out))
            self.lost[self.held.pop(victim)] += 1

    def settle(self, bodies: list[bytes], counts: dict[EntryKind, int]) -> None:
        """Take entries out."""
        for body in bodies:
            kind = self.held.pop(body, None)
            if kind is not None:
                counts[kind] += 1


@dataclass
class Life:
    """One writer from its start to its death."""

    number: int
    disk: FaultyDisk
    writer: JournalWriter
    given: int = 0
    certain: int = 0
    """How many of its records are in the file for certain."""

    def body(self, number: int) -> bytes:
        """Return its record of that number, from 0."""
        return b"%d:%d:" % (self.number, number) + b"x" * (number * 37 % 200)


class DeliveryMachine(RuleBasedStateMachine):
    """Appends, imports, leases, acks, faults and deaths in any order."""

    steps = 0
    deaths = 0

    @initialize()
    def begin(self) -> None:
        """Start two writers and an agent."""
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.home = Path(self.folder.name)
        self.now_ns = 1
        self.lives: list[Life] = []
        self.writers = [self.new_life() for _ in range(WRITERS)]
        self.model, self.saved = Model(), Model()
        self.out: dict[bytes, int] = {}
        self.results = 0
        self.clock_s = 0.0
        self.start_agent()

    # Processes.

    def new_life(self) -> Life:
        """Start a writer."""
        disk = FaultyDisk()
        life = Life(len(self.lives), disk, JournalWriter(self.home / "j", disk=disk))
        self.lives.append(life)
        return life

    def start_agent(self, *fuses: int) -> None:
        """Start the agent; it finds what its predecessor left, and may die over it."""
        for fuse in (*fuses, 0):
            self.agent = FaultyDisk()
            if fuse:
                self.agent.arm(fuse, is_behind=bool(fuse % 2), share=0.5, error=None)
            try:
                self.open_all(self.agent)
            except Crash:
                type(self).deaths += 1
                self.agent.die()
            else:
                break
        self.agent.disarm()
        self.out = {}

    def open_all(self, disk: FaultyDisk) -> None:
        """Open what an agent opens."""
        self.buffer = SqliteBuffer(
            self.home / "b.sqlite",
            max_events=CAP,
            disk=disk,
            connect=disk.connect,
            monotonic_s=lambda: self.clock_s,
        )
        self.reader = JournalReader(
            self.home / "j", self.buffer.positions().get(SOURCE), segment_bytes=700, disk=disk
        )
        self.importer = JournalImporter(self.reader, self.buffer, PassAll(), source=SOURCE)

    def held_on_disk(self) -> list[bytes]:
        """Return what the buffer holds, without changing what is on lease."""
        rows = self.buffer._contents._rows_after(0, is_in_memory_only=False)
        gone = self.buffer._contents.unsaved.gone
        return [row.body for row in rows if row.sequence not in gone]

    def is_saved(self) -> bool:
        """Whether everything is on disk."""
        return self.buffer._contents._retry_s is None

    def act(self, operation: Callable[[], object], change: Callable[[Model], None]) -> bool:
        """Do something that may kill the agent; True when it did not.

        A successor finds the state of before, or of behind: nothing in between.
        """
        before = copy.deepcopy(self.model)
        change(self.model)
        try:
            operation()
        except Crash:
            type(self).deaths += 1
            self.agent.die()
            after, self.model = self.model, self.saved
            self.start_agent()
            held = self.held_on_disk()
            if held != list(self.saved.held) or self.counts() != counts_of(self.saved):
                self.model = after
            self.saved = copy.deepcopy(self.model)
            self.check()
            return False
        except BufferError_:
            self.model = before
        if self.is_saved():
            self.saved = copy.deepcopy(self.model)
        return True

    # What processes do.

    @rule(index=st.integers(0, WRITERS - 1), count=st.integers(1, 6), step=st.integers(0, 1))
    def append(self, index: int, count: int, step: int) -> None:
        """A writer appends some records."""
        life = self.writers[index]
        self.now_ns += step * 600_000_000
        try:
            for _ in range(count):
                body = life.body(life.given)
                life.given += 1
                if life.writer.append(body, now_ns=self.now_ns):
                    life.certain = life.given
        except Crash:
            type(self).deaths += 1
            life.disk.die()
            self.writers[index] = self.new_life()

    @rule()
    def import_(self) -> None:
        """The agent imports what is there."""
        pending = self.pending()
        life_of = [tuple(map(int, body.split(b":")[:2])) for body in pending]

        def change(model: Model) -> None:
            for life, number in life_of:
                assert model.imported.get(life, 0) == number, "lost, repeated or out of order"
                model.imported[life] = number + 1
            model.add(pending, EVENT, self.out)

        self.act(lambda: self.importer.import_pending(self.now_ns), change)

    def pending(self) -> list[bytes]:
        """Return what an import finds, by looking at the journal without touching it."""
        position = self.buffer.positions().get(SOURCE)
        judged = self.importer._judged
        reader = JournalReader(self.home / "j", position, segment_bytes=1 << 30)
        waiting = reader.read(10_000, 1 << 30).records
        reader.close()
        assert judged is None or waiting[: len(judged[1])] == judged[1]
        return waiting

    @rule()
    def store_result(self) -> None:
        """The agent stores the result of a command."""
        self.results += 1
        body = b"r%d" % self.results
        self.act(
            lambda: self.buffer.append([(RESULT, body)], now_ns=self.now_ns),
            lambda model: model.add([body], RESULT, self.out),
        )

    @rule(limit=st.integers(1, 8))
    def lease(self, limit: int) -> None:
        """The uploader takes entries."""
        visible = [body for body in self.model.held if body not in self.out][:limit]
        taken = []
        is_alive = self.act(
            lambda: taken.extend(
                self.buffer.lease(limit, max_bytes=1 << 30, now_ns=self.now_ns, hold_s=1e6)
            ),
            lambda model: None,
        )
        if is_alive and (taken or self.agent_can_read()):
            assert [entry.body for entry in taken] == visible
        self.out.update((entry.body, entry.sequence) for entry in taken if is_alive)

    def agent_can_read(self) -> bool:
        """Whether the database is open."""
        return self.buffer._store.connection is not None

    @rule(data=st.data(), what=st.sampled_from(["ack", "drop", "release"]))
    def finish(self, data: st.DataObject, what: str) -> None:
        """The brain acks or refuses, or the connection ends."""
        if not self.out:
            return
        bodies = sorted(data.draw(st.sets(st.sampled_from(sorted(self.out)))))
        sequences = [self.out.pop(body) for body in bodies]
        if what == "release":
            self.buffer.release(sequences)
        elif what == "ack":
            self.act(
                lambda: self.buffer.ack(sequences),
                lambda model: model.settle(bodies, model.acked),
            )
        else:
            self.act(
                lambda: self.buffer.drop(sequences, DropReason.BUFFER_FULL),
                lambda model: model.settle(bodies, model.lost),
            )

    # What happens to them.

    @rule(
        who=st.integers(-WRITERS, WRITERS - 1),
        fuse=st.integers(1, 14),
        is_behind=st.booleans(),
        share=st.floats(0, 1),
    )
    def arm(self, who: int, fuse: int, is_behind: bool, share: float) -> None:
        """One of the next calls of a process will be its last."""
        disk = self.agent if who < 0 else self.writers[who].disk
        disk.arm(fuse, is_behind=is_behind, share=share, error=None)

    @rule(
        index=st.integers(0, WRITERS - 1),
        fuse=st.integers(1, 5),
        # A write that took every byte does not fail.
        share=st.floats(0, 1, exclude_max=True),
        error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE]),
    )
    def fail(self, index: int, fuse: int, share: float, error: int) -> None:
        """One of the next calls of a writer will fail."""
        self.writers[index].disk.arm(fuse, is_behind=False, share=share, error=error)

    @rule(room_bytes=st.one_of(st.none(), st.integers(0, 400)), is_read_only=st.booleans())
    def disk_changes(self, room_bytes: int | None, is_read_only: bool) -> None:
        """The disk fills, or is emptied; it turns read-only, or can be written again."""
        for disk in (self.agent, *(life.disk for life in self.writers)):
            disk.room_bytes = room_bytes
            disk.is_read_only = is_read_only and room_bytes is not None

    @rule()
    def time_passes(self) -> None:
        """It is time to try the disk again."""
        self.clock_s += 10

    @rule(index=st.integers(0, WRITERS - 1))
    def writer_is_killed(self, index: int) -> None:
        """Between two calls; what it had in memory goes with it."""
        self.writers[index].disk.die()
        self.writers[index] = self.new_life()

    @rule(fuses=st.lists(st.integers(1, 30), max_size=2))
    def agent_is_killed(self, fuses: list[int]) -> None:
        """Between two calls, and its successors perhaps while they start."""
        type(self).deaths += 1
        self.agent.die()
        self.model = copy.deepcopy(self.saved)
        self.start_agent(*fuses)

    # What is always true.

    def counts(self) -> tuple[dict[EntryKind, int], dict[EntryKind, int]]:
        """Return what the buffer says was lost and acked."""
        stats = self.buffer.stats()
        lost = {kind: stats.dropped.get((kind, DropReason.BUFFER_FULL), 0) for kind in EntryKind}
        return lost, stats.acked

    @invariant()
    def agrees(self) -> None:
        """The buffer is what the model is, and counts everything once."""
        if hasattr(self, "buffer"):
            type(self).steps += 1
            self.check()

    def check(self) -> None:
        """Compare with the model."""
        with self.agent.watched():
            self.compare()
            if self.is_saved():
                self.saved = copy.deepcopy(self.model)  # asking for numbers saves, too

    def compare(self) -> None:
        """Compare with the model, by calls that count."""
        stats = self.buffer.stats()
        assert stats.entries == len(self.model.held)
        if self.agent_can_read():
            assert self.held_on_disk() == list(self.model.held)
        assert self.counts() == counts_of(self.model)
        for kind in EntryKind:
            assert (
                stats.stored[kind]
                == stats.acked[kind] + stats.held[kind] + counts_of(self.model)[0][kind]
            )
        terms = weigh(Books(self.buffer.accounts()), stats)
        assert terms.closes, terms.describe()

    def teardown(self) -> None:
        """At the end everything that is certain has been imported."""
        if not hasattr(self, "folder"):
            return
        try:
            if hasattr(self, "buffer"):
                self.end()
        finally:
            for disk in (self.agent, *(life.disk for life in self.lives)):
                disk.die()
            self.folder.cleanup()

    def end(self) -> None:
        """Mend the disk, import the rest, and compare."""
        self.disk_changes(None, is_read_only=False)
        for disk in (self.agent, *(life.disk for life in self.writers)):
            disk.disarm()
        for life in self.writers:
            life.writer.close()
            life.certain = life.given
        self.clock_s += 10
        for _ in range(2):
            self.import_()
        self.check()
        assert self.is_saved()
        for life in self.lives:
            assert life.certain <= self.model.imported.get(life.number, 0) <= life.given
        for _ in range(3):
            if self.importer.retire():
                break
        assert list((self.home / "j").glob("*.log")) == []
        self.importer.close()
        self.buffer.close()


def counts_of(model: Model) -> tuple[dict[EntryKind, int], dict[EntryKind, int]]:
    """Return what the model says was lost and acked."""
    return model.lost, model.acked


IS_CI = os.environ.get("Z4J_REQUIRE_SERVICES") == "1"


@pytest.fixture
def quiet() -> Iterator[None]:
    """Leave out what a faulty disk makes the buffer say."""
    logging.getLogger("z4j_otel").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("z4j_otel").setLevel(logging.NOTSET)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("quiet")
def test_nothing_is_lost_repeated_or_miscounted_whoever_dies_when(
    record_property: Callable[[str, object], None],
) -> None:
    """Ten thousand steps at least."""
    DeliveryMachine.steps = DeliveryMachine.deaths = 0
    run_state_machine_as_test(
        DeliveryMachine,
        settings=settings(
            max_examples=250,
            stateful_step_count=50,
            deadline=None,
            derandomize=IS_CI,
            print_blob=True,
            database=None
            if IS_CI
            else DirectoryBasedExampleDatabase(Path(__file__).with_name("examples")),
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("model_steps", DeliveryMachine.steps)
    record_property("model_deaths", DeliveryMachine.deaths)
    assert DeliveryMachine.steps >= LEAST_STEPS
    assert DeliveryMachine.deaths >= LEAST_DEATHS
