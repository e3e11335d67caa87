"""What capturing one run costs, measured here and now."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter_ns

from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import Redactor

__all__ = ["capture_cost_us"]


def capture_cost_us(runs: int = 300) -> float:
    """Return the median cost of the two records of a run, microseconds.

    From the record to the journal: translated, redacted, encoded, appended.
    """
    facts = TaskFacts("celery", "7e3f5d84-5a0e-4f40-9a51-1c4bb0f1e7a0", "shop.add", "orders", "w@h")
    with tempfile.TemporaryDirectory() as folder:
        sink = EventSink(JournalWriter(Path(folder)), Redactor())
        costs = []
        for number in range(runs):
            began_ns = perf_counter_ns()
            at_ns = 1_800_000_000_000_000_000 + number
            sink.emit(LifecycleRecord(EventKind.TASK_STARTED, facts, at_ns))
            done = {"result": 5, "runtime_ms": 3}
            sink.emit(LifecycleRecord(EventKind.TASK_SUCCEEDED, facts, at_ns, done))
            costs.append(perf_counter_ns() - began_ns)
    return statistics.median(costs) / 1000
