"""What dead agents left is adopted whole and once, whoever dies in the middle of it."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from z4j_otel.agent.adoption import ADOPT_EVERY_NS, AdoptingImporter
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.contents import Contents
from z4j_otel.buffer.files import AgentFiles, is_owner_alive
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.buffer.store import Store
from z4j_otel.errors import BufferError_, BufferFull
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import Redactor
from z4j_otel.wire import canonical

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT
NOW = 1_800_000_000 * 10**9
EVERYTHING = Counter(
    {
        "t1.received": 1,
        "t1.started": 1,
        "t1.succeeded": 1,
        "t2.received": 1,
        "t2.started": 1,
        "t2.failed": 1,
        "result": 1,
    }
)


def event(kind: str, task_id: str, second: int, **data: Any) -> bytes:
    """Encode an event as a journal has it."""
    return canonical.encode(
        {
            "id": f"{task_id}.{kind}",
            "kind": f"task.{kind}",
            "engine": "celery",
            "task_id": task_id,
            "occurred_at": f"2026-01-02T03:04:{second:02}.000000+00:00",
            "data": {"attempt": 0, "queue": "q", "task_name": "n", "worker": "w", **data},
        }
    )


class Agent:
    """The part of an agent that owns files and adopts."""

    def __init__(self, home: Path, *, pid: int | None = None) -> None:
        self.files = AgentFiles.claim(home, pid or os.getpid(), "d1")
        self.buffer = SqliteBuffer(self.files.buffer_path)
        self.journal = JournalWriter(self.files.journal_dir)
        arbiter = Arbiter(recall=self.buffer.recall_story)
        own = JournalImporter(
            JournalReader(self.files.journal_dir),
            self.buffer,
            arbiter,
            source=self.files.journal_dir.name,
            life=self.files.boot_id,
        )
        self.importer = AdoptingImporter(
            own,
            self.buffer,
            home=home,
            deployment="d1",
            arbiter=arbiter,
            files=self.files,
            tell=EventSink(self.journal, Redactor()).emit,
        )

    def told(self) -> Counter[str]:
        """Count what waits for the brain, by task and kind."""
        found: Counter[str] = Counter()
        for entry in self.buffer.lease(1000, max_bytes=1 << 30, now_ns=0):
            value = json.loads(entry.body)
            is_event = entry.kind is EVENT
            found[f"{value['task_id']}.{value['kind'][5:]}" if is_event else "result"] += 1
        return found

    def die(self) -> None:
        """Let everything go, as the kernel does for a process that was killed."""
        self.importer._own.close()
        for estate in self.importer._estates.values():
            estate.close()
        self.journal._close_descriptor()
        self.buffer.close()
        self.files.close()


def leave_behind(home: Path) -> None:
    """Let an agent die with entries in its buffer, records in its journal, and an open run."""
    dead = Agent(home, pid=1)
    for number, task_id in enumerate(("t1", "t2")):
        dead.journal.append(event("received", task_id, 1), now_ns=NOW)
        dead.journal.append(event("started", task_id, 2, pid=90 + number), now_ns=NOW)
    dead.importer.import_pending(NOW)
    dead.buffer.append([(RESULT, b"{}")], now_ns=NOW)
    dead.buffer.begin_command("c1", NOW)
    end = {"pid": 90, "runtime_ms": 1}
    dead.journal.append(event("succeeded", "t1", 3, **end), now_ns=NOW)
    dead.journal.append(event("failed", "t1", 4, pid=90, cause="worker_lost"), now_ns=NOW)
    dead.die()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home with what a dead agent left."""
    leave_behind(tmp_path)
    return tmp_path


def assert_all_is_here(agent: Agent, home: Path) -> None:
    """Everything was adopted, each once; nothing else is left in the home."""
    agent.importer.import_pending(NOW)
    assert agent.told() == EVERYTHING
    assert not agent.buffer.begin_command("c1", NOW)
    assert agent.buffer.positions().keys() <= {agent.files.journal_dir.name}
    stem = agent.files.buffer_path.stem
    assert {path.stem.partition(".")[0] for path in home.iterdir()} == {stem}


def test_all_is_adopted_once_with_what_was_known(home: Path) -> None:
    """Buffer, journal, stories and commands; a run that nobody could end gets its end."""
    agent = Agent(home)
    assert_all_is_here(agent, home)
    assert agent.importer.import_pending(NOW + ADOPT_EVERY_NS) == 0
    agent.die()


def test_the_end_of_a_lost_run_says_that_it_is_inferred(home: Path) -> None:
    """Its time is the last sign of life, never before its start."""
    os.utime(home / "buffer-1.lock", (1, 1))
    agent = Agent(home)
    agent.importer.import_pending(NOW)
    bodies = [entry.body for entry in agent.buffer.lease(99, max_bytes=1 << 20, now_ns=0)]
    (end,) = [json.loads(body) for body in bodies if b'"task.failed"' in body]
    assert end["data"]["inferred"] is True
    assert (end["data"]["cause"], end["data"]["pid"]) == ("worker_lost", 91)
    assert end["data"]["runtime_ms"] >= 0
    assert end["occurred_at"] >= "2026-01-02T03:04:02"
    agent.die()


OPERATIONS = (
    (Store, "save"),
    (Contents, "read"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "rename"),
)


def killed_at(step: int, home: Path) -> bool:
    """Adopt in a process that is killed before its n-th operation; False when it was not."""
    pid = os.fork()
    if not pid:
        count = 0

        def counting(operation: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count > step:
                    os._exit(9)
                return operation(*args, **kwargs)

            return call

        agent = Agent(home, pid=2)
        for owner, name in OPERATIONS:
            setattr(owner, name, counting(getattr(owner, name)))
        agent.importer.import_pending(NOW)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def steps() -> Iterator[int]:
    """Count up."""
    yield from range(1000)


def test_an_adopter_may_be_killed_at_any_step(tmp_path: Path) -> None:
    """Whoever comes next has everything, each once, and leaves nothing behind."""
    for step in steps():
        home = tmp_path / str(step)
        home.mkdir()
        leave_behind(home)
        was_killed = killed_at(step, home)
        agent = Agent(home)
        assert_all_is_here(agent, home)
        agent.die()
        if not was_killed:
            break
    assert step > 20


def test_several_adopters_may_be_killed_one_after_the_other(tmp_path: Path) -> None:
    """The third one settles what the second had begun with what the first had begun."""
    for first in range(2, 40, 5):
        for second in range(3, 60, 7):
            home = tmp_path / f"{first}-{second}"
            home.mkdir()
            leave_behind(home)
            killed_at(first, home)
            killed_at(second, home)
            agent = Agent(home)
            assert_all_is_here(agent, home)
            agent.die()


def test_two_agents_that_race_share_nothing(home: Path) -> None:
    """Each estate goes to one of them, whole."""
    pids = []
    for number in (2, 3, 4):
        pid = os.fork()
        if not pid:
            agent = Agent(home, pid=number)
            agent.importer.import_pending(NOW)
            told = agent.told()
            os._exit(0 if told in (EVERYTHING, Counter()) else 1)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    agent = Agent(home)
    assert_all_is_here(agent, home)
    agent.die()


def test_what_a_living_agent_is_taking_waits_for_it(home: Path) -> None:
    """An agent that gave up for a while goes on itself; others leave it alone."""
    first, second = Agent(home, pid=2), Agent(home, pid=3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(first.buffer, "take_commands", failing)
        assert first.importer.import_pending(NOW) == 0
    assert second.importer.import_pending(NOW) == 0
    assert is_owner_alive(home / "buffer-1.journal") is False
    assert first.importer.import_pending(NOW + ADOPT_EVERY_NS) > 0
    assert first.told() == EVERYTHING
    for agent in (first, second):
        agent.die()


def failing(*_args: Any, **_kwargs: Any) -> None:
    """Stand for a disk that is full."""
    raise BufferError_("no space")


def test_orphans_are_tended_until_they_end(home: Path) -> None:
    """What they append comes at once, and their own ends stand."""
    writer = JournalWriter(home / "buffer-1.journal")
    writer.append(event("sent", "t3", 5), now_ns=NOW)
    agent = Agent(home)
    agent.importer.import_pending(NOW)
    assert is_owner_alive(home / "buffer-1.journal")
    ended = event("succeeded", "t2", 6, pid=91, runtime_ms=5)
    writer.append(ended, now_ns=NOW)
    assert agent.importer.import_pending(NOW + 1) == 1
    assert agent.told() == EVERYTHING + Counter(["t2.succeeded", "t3.sent"]) - Counter(
        ["t2.failed"]
    )
    writer.close()
    agent.importer.import_pending(NOW + ADOPT_EVERY_NS)
    assert not (home / "buffer-1.lock").exists()
    agent.die()


def test_what_the_disk_does_not_take_of_a_tended_journal_comes_later(home: Path) -> None:
    """It is not read anew, which would look like something that was told already."""
    writer = JournalWriter(home / "buffer-1.journal")
    writer.append(event("sent", "t3", 5), now_ns=NOW)
    agent = Agent(home)
    agent.importer.import_pending(NOW)
    before = agent.told()
    append = agent.buffer.append

    def full(*_: Any, **__: Any) -> bool:
        raise BufferFull("the disk takes nothing")

    agent.buffer.append = full  # type: ignore[method-assign] -- a disk that fills
    writer.append(event("succeeded", "t2", 6, pid=91, runtime_ms=5), now_ns=NOW)
    agent.importer._own.close()  # nothing of ours comes between
    for now_ns in (NOW + 1, NOW + ADOPT_EVERY_NS):
        with contextlib.suppress(BufferFull):
            assert agent.importer.import_pending(now_ns) == 0
    agent.buffer.append = append  # type: ignore[method-assign] -- as it was
    agent.importer.import_pending(NOW + ADOPT_EVERY_NS + 1)
    assert agent.told() == Counter(["t2.succeeded"])
    assert before == EVERYTHING + Counter(["t3.sent"]) - Counter(["t2.failed"])
    writer.close()
    agent.die()


def test_what_is_tended_is_handed_on(home: Path) -> None:
    """An agent that stops settles with its estates, and the next one goes on there."""
    writer = JournalWriter(home / "buffer-1.journal")
    writer.append(event("sent", "t3", 5), now_ns=NOW)
    first = Agent(home, pid=2)
    first.importer.import_pending(NOW)
    first.importer.close()
    told = first.told()
    assert first.buffer.positions().keys() <= {first.files.journal_dir.name}
    first.die()
    writer.close()
    second = Agent(home)
    second.importer.import_pending(NOW)
    assert told + Counter(["t2.failed"]) == EVERYTHING + Counter(["t3.sent"])
    assert second.told() == EVERYTHING + Counter(["t3.sent"])
    second.die()


def test_other_deployments_and_users_are_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not ours stays as it is."""
    AgentFiles.claim(home, 5, "other").close()
    agent = Agent(home, pid=2)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert agent.importer.import_pending(NOW) == 0
    assert (home / "buffer-1.lock").exists()
    assert (home / "buffer-5.lock").exists()
    agent.die()


def test_a_clock_that_is_set_back_does_not_put_adoption_off(home: Path) -> None:
    """The next look is due when the last one is no longer believable."""
    agent = Agent(home, pid=2)
    agent.importer._looked_ns = NOW + 3600 * 10**9
    assert agent.importer.import_pending(NOW) > 0
    agent.die()
