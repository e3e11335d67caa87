"""Random lives of processes, agents and their heirs, and the equation that must always hold.

``captured = acked + told twice + pending + dropped``: after every step, for whoever looks at
the disk. An agent may be killed before or behind any of its system calls and statements, in
the middle of a commit too, while it imports, adopts, delivers or starts.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.model.faults import Crash, FaultyDisk
from tests.scratch import IN_MEMORY

from z4j_otel.agent import adoption as adoption_module
from z4j_otel.agent import estate as estate_module
from z4j_otel.agent.adoption import ADOPT_EVERY_NS, AdoptingImporter
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.books import LATE_NS, Books
from z4j_otel.agent.conservation import Conservation, weigh
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.seat import _Succession
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.files import AgentFiles, find_abandoned
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.journal.format import HEADER_BYTES
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter

pytestmark = pytest.mark.timeout(600)
EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
EVENT_TEXT = (
    b'{"data":{"attempt":0,"queue":"q"},"engine":"celery","id":"x","kind":"%b",'
    b'"occurred_at":"2026-01-02T03:04:05.000000+00:00","task_id":"t%d"}'
)
CAP = 12
DEPLOYMENT = "d"
EXAMPLES = 100
LEAST_STEPS = 1500
LEAST_DEATHS = 100
LEAST_CALLS = 100
"""Of one adoption."""
IS_CI = os.environ.get("Z4J_REQUIRE_SERVICES") == "1"


class OneAgent:
    """An agent without a network, on a disk of its own: files, buffer, ledger, importers."""

    living: ClassVar[OneAgent]

    def __init__(self, home: Path) -> None:
        self.home = home
        self.disk = FaultyDisk()
        self.files = AgentFiles.claim(home, os.getpid(), DEPLOYMENT)
        self.owned = [self.files]
        """What a dead process would no longer hold."""
        OneAgent.living = self

    def open(self) -> None:
        """Open what an agent opens."""
        self.buffer = SqliteBuffer(
            self.files.buffer_path, max_events=CAP, disk=self.disk, connect=self.disk.connect
        )
        self.ledger = Ledger(buffer_id="", runtime_id="r")
        self.ledger.open(self.buffer)
        arbiter = Arbiter(recall=self.buffer.recall_story)
        source = self.files.journal_dir.name
        reader = JournalReader(
            self.files.journal_dir,
            self.buffer.positions().get(source),
            segment_bytes=2000,
            disk=self.disk,
        )
        own = JournalImporter(
            reader, self.buffer, arbiter, source=source, life=self.files.boot_id, ledger=self.ledger
        )
        self.importer = AdoptingImporter(
            own, self.buffer, home=self.home, deployment=DEPLOYMENT, arbiter=arbiter,
            ledger=self.ledger, files=self.files,
        )  # fmt: skip

    def terms(self) -> Conservation:
        """Return the equation, and that another look at the disk gives the same."""
        with self.disk.watched():
            terms = self.ledger.conservation(self.buffer)
            assert weigh(Books(self.buffer.accounts()), self.buffer.stats()) == terms
        return terms

    def die(self) -> None:
        """Let go of everything, as the kernel does for a killed process."""
        for files in self.owned:
            files.close()
        self.disk.die()


@pytest.fixture(autouse=True)
def _on_faulty_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an agent touch also what it adopts through its own disk."""

    def find(home: Path, deployment: str) -> list[AgentFiles]:
        found = find_abandoned(home, deployment)
        OneAgent.living.owned += found
        return found

    def buffer(path: Path, **caps: int) -> SqliteBuffer:
        disk = OneAgent.living.disk
        return SqliteBuffer(path, disk=disk, connect=disk.connect, **caps)

    def reader(directory: Path, position: str | None) -> JournalReader:
        return JournalReader(directory, position, disk=OneAgent.living.disk)

    monkeypatch.setattr(adoption_module, "find_abandoned", find)
    monkeypatch.setattr(estate_module, "SqliteBuffer", buffer)
    monkeypatch.setattr(estate_module, "JournalReader", reader)


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_dead_agents_account_is_carried_over_once(is_behind: bool) -> None:
    """Its successors die at any call of the adoption, and the last one has true numbers."""
    for fuse in itertools.count(1):
        with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
            home = Path(folder)
            leave_something(home)
            deaths = [die_adopting(home, fuse, is_behind=is_behind) for _ in range(2)]
            assert_nothing_is_missing(home)
        if not any(deaths):
            break
    assert fuse > LEAST_CALLS


def die_adopting(home: Path, fuse: int, *, is_behind: bool) -> bool:
    """Let an agent die while it adopts; False when it came to the end."""
    agent = OneAgent(home)
    agent.open()
    agent.disk.arm(fuse, is_behind=is_behind, share=0.5, error=None)
    try:
        agent.importer.import_pending(ADOPT_EVERY_NS)
    except Crash:
        return True
    finally:
        agent.die()
    return False


def leave_something(home: Path) -> None:
    """Let an agent die that has some of everything."""
    agent = OneAgent(home)
    agent.open()
    writer = JournalWriter(agent.files.journal_dir)
    for number in [*range(CAP + 3), CAP]:
        writer.append(EVENT_TEXT % (b"task.failed", number), now_ns=1)
    agent.importer.import_pending(1)
    agent.buffer.ack([entry.sequence for entry in agent.buffer.lease(4, max_bytes=9999, now_ns=1)])
    agent.buffer.append([(RESULT, b"{}")], now_ns=1)
    writer.count_lost("unencodable")
    writer.append(EVENT_TEXT % (b"task.failed", 99), now_ns=1)
    writer.close()
    agent.die()


def assert_nothing_is_missing(home: Path) -> None:
    """Compare what the last agent has with what the first one left."""
    agent = OneAgent(home)
    agent.open()
    agent.importer.import_pending(ADOPT_EVERY_NS * 9)
    terms = agent.terms()
    agent.die()
    assert terms.closes, terms.describe()
    assert (terms.captured, terms.acked, terms.told_twice, terms.adopted) == (CAP + 6, 4, 1, 0)
    assert (terms.held, terms.results_held) == (9, 1)
    assert terms.dropped == {(EVENT, DropReason.BUFFER_FULL): 3, (EVENT, DropReason.UNENCODABLE): 1}
    assert len(list(home.glob("*.lock"))) == 1


class LedgerMachine(RuleBasedStateMachine):
    """Two processes, an agent that dies at any system call, and its successors."""

    steps = 0
    deaths = 0

    @initialize()
    def begin(self) -> None:
        """Start the first agent and two writers of its journal."""
        self.folder = tempfile.TemporaryDirectory(dir=IN_MEMORY)
        self.home = Path(self.folder.name)
        self.now_ns = ADOPT_EVERY_NS
        self.given = self.told_twice = self.damaged = self.unencoded = 0
        self.start_agent()
        self.writers = [self.new_writer(), self.new_writer()]

    def start_agent(self, *fuses: int) -> None:
        """Start an agent; the first ones may die over it."""
        for fuse in (*fuses, 0):
            self.agent = OneAgent(self.home)
            try:
                self.armed(self.agent.open, fuse, is_behind=bool(fuse % 2), share=0.5)
            except Crash:
                self.bury()
            else:
                break

    def bury(self) -> None:
        """Let the agent die; it is some time until the next one starts."""
        type(self).deaths += 1
        self.agent.die()
        self.now_ns += ADOPT_EVERY_NS

    def armed(self, act: Callable[[], object], fuse: int, *, is_behind: bool, share: float) -> None:
        """Do something that may kill the agent."""
        disk = self.agent.disk
        if fuse:
            disk.arm(fuse, is_behind=is_behind, share=share, error=None)
        act()
        disk.disarm()

    def guarded(self, act: Callable[[], object], how: tuple[int, bool, float]) -> None:
        """Do something that may kill the agent; then its successor starts."""
        fuse, is_behind, share = how
        try:
            self.armed(act, fuse, is_behind=is_behind, share=share)
        except Crash:
            self.bury()
            self.start_agent()

    def new_writer(self) -> JournalWriter:
        """Return a process of the living agent, which finds another one when it is gone."""
        directory = self.agent.files.journal_dir
        succession = _Succession(self.home, DEPLOYMENT, directory)
        return JournalWriter(directory, successor=succession.find)

    def append(self, who: int) -> None:
        """Append one end of a task."""
        text = EVENT_TEXT % (b"task.failed", self.given)
        assert self.writers[who].append(text, now_ns=self.now_ns)
        self.given += 1

    how = st.tuples(
        st.one_of(st.just(0), st.integers(1, 60), st.integers(1, 400)),
        st.booleans(),
        st.sampled_from([0.0, 0.5, 1.0]),
    )
    """At which of the next calls an agent dies, whether behind it, and how much is written."""

    @rule(who=st.integers(0, 1), count=st.integers(1, 5), again=st.booleans())
    def capture(self, who: int, count: int, again: bool) -> None:
        """A process records ends of tasks, some of them twice."""
        for _ in range(count):
            text = EVENT_TEXT % (b"task.failed", self.given)
            self.append(who)
            if again:
                assert self.writers[who].append(text, now_ns=self.now_ns)
                self.given += 1
                self.told_twice += 1

    @rule(who=st.integers(0, 1))
    def refuse(self, who: int) -> None:
        """A record cannot be encoded."""
        self.writers[who].count_lost("unencodable")
        assert self.writers[who].flush()
        self.given += 1
        self.unencoded += 1

    @rule(who=st.integers(0, 1))
    def process_leaves(self, who: int) -> None:
        """A process ends and another one takes its place at the living agent's journal."""
        self.writers[who].close()
        self.writers[who] = self.new_writer()

    @rule(who=st.integers(0, 1))
    def damage(self, who: int) -> None:
        """A byte of a record that nobody has read yet flips."""
        writer = self.writers[who]
        self.append(who)
        self.damaged += 1
        status = os.fstat(writer._fd)
        path = next(p for p in writer._directory.iterdir() if p.stat().st_ino == status.st_ino)
        with path.open("r+b") as segment:
            segment.seek(status.st_size - HEADER_BYTES)
            byte = segment.read(1)
            segment.seek(status.st_size - HEADER_BYTES)
            segment.write(bytes([byte[0] ^ 1]))

    @rule(how=how, step=st.integers(0, 2))
    def import_journal(self, how: tuple[int, bool, float], step: int) -> None:
        """The agent reads, and adopts when it is time to."""
        self.now_ns += step * ADOPT_EVERY_NS // 2
        self.guarded(lambda: self.agent.importer.import_pending(self.now_ns), how)

    @rule(count=st.integers(1, 8), how=how)
    def deliver(self, count: int, how: tuple[int, bool, float]) -> None:
        """The brain acks a batch."""
        entries = self.agent.buffer.lease(count, max_bytes=1 << 20, now_ns=self.now_ns)
        taken = [entry.sequence for entry in entries]
        self.guarded(lambda: self.agent.buffer.ack(taken), how)

    @rule(how=how)
    def reject(self, how: tuple[int, bool, float]) -> None:
        """The brain refuses an entry for good."""
        entries = self.agent.buffer.lease(1, max_bytes=1 << 20, now_ns=self.now_ns)
        taken = [entry.sequence for entry in entries]
        self.guarded(lambda: self.agent.buffer.drop(taken, DropReason.REJECTED), how)

    @rule(how=how)
    def answer(self, how: tuple[int, bool, float]) -> None:
        """A command's result is stored."""
        self.guarded(lambda: self.agent.buffer.append([(RESULT, b"{}")], now_ns=self.now_ns), how)

    @rule(
        stays=st.booleans(),
        meanwhile=st.integers(0, 2),
        fuses=st.lists(st.integers(1, 40), max_size=1),
    )
    def agent_dies(self, stays: bool, meanwhile: int = 0, fuses: tuple[int, ...] = ()) -> None:
        """The agent is killed; its processes go on without one, or die with it."""
        self.bury()
        for number in range(meanwhile):
            self.append(number)
        if not stays:
            for writer in self.writers:
                writer.close()
        self.start_agent(*fuses)
        if not stays:
            self.writers = [self.new_writer(), self.new_writer()]

    @invariant()
    def nothing_is_unaccounted_for(self) -> None:
        """At every commit: that is the promise."""
        if hasattr(self, "writers"):
            type(self).steps += 1
            terms = self.agent.terms()
            assert terms.closes, terms.describe()

    def teardown(self) -> None:
        """Compare at the end, and leave nothing behind whatever was found."""
        if not hasattr(self, "folder"):
            return
        try:
            if hasattr(self, "writers"):
                for writer in self.writers:
                    writer.close()
                self.end()
        finally:
            if hasattr(self, "agent"):
                self.agent.die()
            self.folder.cleanup()

    def end(self) -> None:
        """Everything comes together in one agent, and every number is the true one."""
        self.bury()
        self.start_agent()
        for _ in range(4):
            self.now_ns += max(ADOPT_EVERY_NS, LATE_NS)
            self.agent.importer.import_pending(self.now_ns)
        terms = self.agent.terms()
        dropped = terms.dropped
        assert terms.closes, terms.describe()
        assert (terms.captured, terms.late, terms.adopted) == (self.given, 0, 0)
        assert terms.told_twice == self.told_twice
        assert dropped.get((EVENT, DropReason.UNENCODABLE), 0) == self.unencoded
        assert dropped.get((EVENT, DropReason.JOURNAL_CORRUPT), 0) == self.damaged
        assert len(list(self.home.glob("*.lock"))) == 1
        assert len(list(self.home.glob("*.journal"))) == 1


def test_nothing_is_unaccounted_for_whoever_dies_when(
    record_property: Callable[[str, object], None],
) -> None:
    """Processes, agents and heirs in any order: the equation holds, and every number is true."""
    LedgerMachine.steps = LedgerMachine.deaths = 0
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize=IS_CI,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record_property("model_steps", LedgerMachine.steps)
    record_property("model_deaths", LedgerMachine.deaths)
    assert LedgerMachine.steps >= LEAST_STEPS
    assert LedgerMachine.deaths >= LEAST_DEATHS


@pytest.fixture
def machine() -> Iterator[LedgerMachine]:
    """Return a machine that has begun, compared at the end with what was done to it."""
    machine = LedgerMachine()
    machine.begin()
    yield machine
    machine.nothing_is_unaccounted_for()
    machine.teardown()


@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_process_is_heard_whose_journal_was_retired_before_it_wrote(
    machine: LedgerMachine, is_damaged: bool
) -> None:
    """Found by the model: its first record goes to the living agent, damaged or whole."""
    machine.agent_dies(stays=False)
    machine.agent_dies(stays=True)
    machine.import_journal((0, False, 0.0), step=0)
    if is_damaged:
        machine.damage(0)
    else:
        machine.capture(0, 1, again=False)
