"""The arbiter against an oracle: whatever interleaves, dies and steps, one end per run.

One task runs again and again, in two workers that share a home. Each worker has a journal,
a queue in causal order, and an agent with a buffer. Between any two records an agent may be
killed and started anew, with or without having stored what it judged last; a worker may be
killed with its agent, and what it left is adopted by the other one.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.wire import canonical

SECOND = 1_000_000_000
T0 = 1_795_000_000 * SECOND
ENDS = ["succeeded", "failed", "retried", "revoked"]
LOST = [("failed", "worker_lost"), ("failed", "time_limit"), ("retried", "worker_lost")]


@dataclass(eq=False)
class Run:
    """One run, as it truly was."""

    pid: int
    attempt: int
    started_ns: int
    ended_ns: int = 0
    has_end: bool = False


@dataclass(eq=False)
class Worker:
    """A worker: its journal, and the agent that reads it."""

    name: str
    journal: deque[bytes] = field(default_factory=deque)
    buffer: MemoryBuffer = field(default_factory=MemoryBuffer)
    waiting: list[int] = field(default_factory=list)
    """Attempts of messages that were received and have not begun."""
    running: list[Run] = field(default_factory=list)
    reader: Worker | None = None
    """Whose agent reads the journal; None between death and adoption."""

    def __post_init__(self) -> None:
        self.reader = self
        self.restart()

    def restart(self) -> None:
        """Start the agent anew: only the buffer is left."""
        self.arbiter = Arbiter(max_tasks=1, recall=self.buffer.recall_story)

    def judge(self, record: bytes, source: str, *, is_stored: bool = True) -> None:
        """Import one record; an agent that is killed before the commit forgets it."""
        told = self.arbiter.judge(record, source=source)
        if is_stored:
            entries = [] if told is None else [(EntryKind.EVENT, told)]
            self.buffer.append(entries, now_ns=0, stories=self.arbiter.changes())
        else:
            self.restart()


class OneEndPerRun(RuleBasedStateMachine):
    """Random lives of a task."""

    def __init__(self) -> None:
        super().__init__()
        self.workers = [Worker("a"), Worker("b")]
        self.runs: list[Run] = []
        self.now_ns = self.skew_ns = 0
        self.attempt = 0
        self.revoked = 0

    def write(self, worker: Worker, kind: str, attempt: int, **data: Any) -> None:
        """Append a record to a worker's journal, by the clocks of this moment."""
        self.now_ns += SECOND // 8
        event = canonical.encode(
            {
                "id": "x",
                "kind": f"task.{kind}",
                "engine": "celery",
                "task_id": "t1",
                "mono_ns": self.now_ns,
                "occurred_at": iso_utc(T0 + self.now_ns + self.skew_ns),
                "data": {"attempt": attempt, "queue": "q", "worker": worker.name, **data},
            }
        )
        worker.journal.append(event)

    def alive(self, number: int) -> Worker:
        """Return one of the workers that live."""
        living = [worker for worker in self.workers if worker.reader is worker]
        return living[number % len(living)]

    @precondition(lambda self: all(len(each.waiting) < 3 for each in self.workers))
    @rule(number=st.integers(0, 1))
    def deliver(self, number: int) -> None:
        """A broker delivers the message: the next attempt's, or the same one again."""
        worker = self.alive(number)
        self.write(worker, "received", self.attempt)
        worker.waiting.append(self.attempt)

    @precondition(lambda self: len([run for run in self.runs if not run.has_end]) < 5)
    @rule(number=st.integers(0, 1))
    def start(self, number: int) -> None:
        """A child of the worker begins a run."""
        worker = self.alive(number)
        if worker.waiting:
            run = Run(100 + len(self.runs), worker.waiting.pop(0), self.now_ns + SECOND // 8)
            self.write(worker, "started", run.attempt, pid=run.pid)
            worker.running.append(run)
            self.runs.append(run)

    @rule(number=st.integers(0, 1))
    def give_up_waiting(self, number: int) -> None:
        """An operator revokes a message that waits."""
        worker = self.alive(number)
        if worker.waiting:
            self.write(worker, "revoked", worker.waiting.pop(0))
            self.revoked += 1

    @rule(number=st.integers(0, 1), which=st.integers(0, 9), told=st.data())
    def end(self, number: int, which: int, told: st.DataObject) -> None:
        """A run ends: told by the child, by the main process, or by both, in any order."""
        worker = self.alive(number)
        if not worker.running:
            return
        run = worker.running.pop(which % len(worker.running))
        run.has_end, run.ended_ns = True, self.now_ns + SECOND // 8
        by_child = {"pid": run.pid, "runtime_ms": 7, "terminated": True}
        evidence = told.draw(
            st.lists(
                st.one_of(
                    st.sampled_from(ENDS).map(lambda kind: (kind, by_child)),
                    st.sampled_from(LOST).map(lambda lost: (lost[0], self.lost(run, lost[1]))),
                ),
                min_size=1,
                max_size=3,
            )
        )
        for kind, data in evidence:
            self.write(worker, kind, run.attempt, **data)
        if evidence[0][0] == "retried" and run.attempt == self.attempt:
            self.attempt += 1

    @staticmethod
    def lost(run: Run, cause: str) -> dict[str, Any]:
        """Return what the main process says of a child that died."""
        return {"pid": run.pid, "cause": cause}

    @rule(number=st.integers(0, 1), count=st.integers(1, 6), is_stored=st.booleans())
    def read(self, number: int, count: int, is_stored: bool) -> None:
        """An agent imports some records, and is killed before the commit of the last one."""
        worker = self.workers[number]
        for left in range(min(count, len(worker.journal)), 0, -1):
            if worker.reader is not None:
                is_last = left == 1
                worker.reader.judge(
                    worker.journal[0], worker.name, is_stored=is_stored or not is_last
                )
                if is_stored or not is_last:
                    worker.journal.popleft()

    @rule(number=st.integers(0, 1))
    def restart(self, number: int) -> None:
        """An agent is killed between two records."""
        self.alive(number).restart()

    @rule(number=st.integers(0, 1))
    def kill(self, number: int) -> None:
        """A worker dies with its agent; its children have told all that they will."""
        if all(worker.reader is worker for worker in self.workers):
            self.workers[number].reader = None

    @rule()
    def adopt(self) -> None:
        """The other agent takes over the stories, and from now on the journal."""
        for worker in self.workers:
            if worker.reader is None:
                worker.reader = self.alive(0)
                worker.reader.arbiter.take_over(worker.buffer.stories())
                stories = worker.reader.arbiter.changes()
                worker.reader.buffer.append([], now_ns=0, stories=stories)

    @rule(hours=st.integers(-3, 3))
    def step(self, hours: int) -> None:
        """Somebody sets the clock."""
        self.skew_ns = hours * 3600 * SECOND

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now_ns += seconds * SECOND

    def told(self, worker: Worker) -> list[dict[str, Any]]:
        """Return what an agent lets through."""
        entries = worker.buffer.lease(10_000, max_bytes=1 << 30, now_ns=0)
        worker.buffer.release(entry.sequence for entry in entries)
        return [json.loads(entry.body) for entry in entries]

    def teardown(self) -> None:
        """In the end all that was witnessed is told, with its true length."""
        self.adopt()
        for number in (0, 1):
            self.read(number, 10_000, is_stored=True)
        events = [event for worker in self.workers for event in self.told(worker)]
        self.assert_nothing_is_told_twice(events)
        for worker in self.workers:
            self.assert_times_ascend_and_differ(self.told(worker))
        starts = {e["data"]["pid"] for e in events if e["kind"] == "task.started"}
        assert starts == {run.pid for run in self.runs}
        ends = {
            e["data"]["pid"]: e
            for e in events
            if e["kind"][5:] in ENDS and e["data"].get("pid") is not None
        }
        assert set(ends) == {run.pid for run in self.runs if run.has_end}
        assert sum(e["kind"] == "task.revoked" and "pid" not in e["data"] for e in events) == (
            self.revoked
        )
        for run in self.runs:
            if run.has_end and ends[run.pid]["data"]["runtime_ms"] != 7:
                lasted_ms = ends[run.pid]["data"]["runtime_ms"]
                assert 0 <= lasted_ms - (run.ended_ns - run.started_ns) // 1_000_000 <= 500

    @staticmethod
    def assert_nothing_is_told_twice(events: list[dict[str, Any]]) -> None:
        """Each run has at most one start and one end."""
        seen = Counter(
            (event["kind"] == "task.started", event["data"]["pid"])
            for event in events
            if "pid" in event["data"]
        )
        assert not [key for key, count in seen.items() if count > 1]

    @staticmethod
    def assert_times_ascend_and_differ(events: list[dict[str, Any]]) -> None:
        """To the brain an agent never goes back, nor tells two of a kind in one second."""
        times = [parse_iso_ns(event["occurred_at"]) for event in events]
        assert times == sorted(times)
        seconds = [(event["kind"], event["occurred_at"][:19]) for event in events]
        assert len(set(seconds)) == len(seconds)


TestOneEndPerRun = OneEndPerRun.TestCase
TestOneEndPerRun.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
