"""How fast an agent delivers: from the journal to the acks of a brain that takes everything.

The brain has a process of its own and stores nothing; it parses frames, verifies signatures
and acks. What counts is the agent's own processor time: one core of it.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from pathlib import Path

from fast_brain import FastBrain

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.config import load_config
from z4j_otel.events import EventKind, LifecycleRecord, SpanIds, TaskFacts
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import Redactor

TASKS = 8_000
_DEADLINE_S = 60.0


def run() -> dict[str, float]:
    """Return events per second of the agent's processor time, and of wall time."""
    with tempfile.TemporaryDirectory() as folder, FastBrain() as brain:
        home = Path(folder)
        os.environ.update(brain.environment)
        events = _fill(home / "journal")
        ledger = Ledger(buffer_id="bench", runtime_id="bench")
        buffer = SqliteBuffer(home / "buffer.sqlite")
        reader = JournalReader(home / "journal")
        importer = JournalImporter(
            reader, buffer, Arbiter(recall=buffer.recall_story), source="bench", ledger=ledger
        )
        agent = AgentRuntime(
            load_config(), buffer=buffer, importer=importer, redactor=Redactor(), ledger=ledger
        )
        wall, processor = time.perf_counter(), time.process_time()
        agent.start()
        assert agent.wait_connected()
        assert agent.flush(_DEADLINE_S)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        agent.shutdown()
        assert ledger.acked == events
    return {"per_cpu_s": events / processor, "per_wall_s": events / wall}


def _fill(directory: Path) -> int:
    """Journal the lives of some tasks and return how many events that makes."""
    writer = JournalWriter(directory, max_bytes=1 << 32)
    sink = EventSink(writer, Redactor(), common={"environment": "bench"})
    now_ns = time.time_ns()
    for number in range(TASKS):
        facts = TaskFacts("celery", str(uuid.uuid4()), "bench.add", "celery", "bench@host")
        span = SpanIds(uuid.uuid4().int, number + 1, 1, is_sampled=True)
        received = {"args": [2, 3], "kwargs": {"note": "n"}, "root_task_id": facts.task_id}
        ended = {"result": 5, "runtime_ms": 0}
        for kind, details in (
            (EventKind.TASK_RECEIVED, received),
            (EventKind.TASK_STARTED, {}),
            (EventKind.TASK_SUCCEEDED, ended),
        ):
            sink.emit(LifecycleRecord(kind, facts, now_ns, details, span))
    writer.close()
    return sink.captured


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:30} {value:8.0f}")  # noqa: T201 -- this is what it is for
