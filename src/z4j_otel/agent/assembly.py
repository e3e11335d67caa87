"""What an agent is built of, and how its files are left."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from z4j_otel.agent.adoption import AdoptingImporter
from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.seat import Seat, redactor_of
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.clock import SystemClock
from z4j_otel.config import AgentConfig
from z4j_otel.events import EventKind, LifecycleRecord, LostSpan, TaskFacts
from z4j_otel.exporter.lost_spans import export_lost_span
from z4j_otel.exporter.sink import EventSink
from z4j_otel.ids import new_boot_id
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.registry import find_engines
from z4j_otel.journal.reader import JournalReader

__all__ = ["build_agent", "leave"]

REPORT_VARIABLE = "Z4J_OTEL_REPORT"
"""Names a file to which every agent appends its counts when it ends, as one JSON line."""


def build_agent(
    seat: Seat, *, worker: Mapping[str, Any], engines: Sequence[EngineAdapter]
) -> AgentRuntime:
    """Put an agent together that delivers the journal of a seat with files.

    Args:
        seat: This process's place.
        worker: The engine's own worker object by engine name, in a worker.
        engines: Adapters to serve commands with; those of the engines in use otherwise.
    """
    assert seat.files is not None
    config, source = seat.config, seat.journal_dir.name
    boot_id = new_boot_id()
    ledger = Ledger(buffer_id=boot_id, runtime_id=f"{boot_id}:{os.getpid()}")
    buffer = SqliteBuffer(
        seat.files.buffer_path,
        max_events=config.buffer_max_events,
        max_bytes=config.buffer_max_bytes,
    )
    reader = JournalReader(seat.journal_dir, buffer.positions().get(source))
    own = JournalImporter(
        reader,
        buffer,
        Arbiter(on_lost_span=_export),
        source=source,
        ledger=ledger,
    )
    importer = AdoptingImporter(
        own, buffer, home=seat.files.buffer_path.parent, deployment=config.deployment
    )
    adapters = list(engines) or _adapters(config)
    for adapter in adapters:
        bind = getattr(adapter, "bind_worker", None)
        if bind is not None and adapter.name in worker:
            bind(worker[adapter.name])
    agent = AgentRuntime(
        config,
        adapters,
        buffer=buffer,
        importer=importer,
        redactor=redactor_of(config),
        ledger=ledger,
        role=config.worker_role or ("task" if worker else "other"),
    )
    agent.announce = _Announcement(seat.sink, adapters)
    return agent


def leave(seat: Seat, ledger: Ledger | None) -> None:
    """Give up the files; they are deleted when nothing is left in them."""
    if seat.files is None:
        return
    seat.journal.close()
    waiting = _empty(seat, seat.files)
    if ledger is not None:
        _report({**ledger.snapshot(), "waiting": waiting})
    if not waiting:
        seat.files.remove()
    seat.files.close()


def _empty(seat: Seat, files: AgentFiles) -> int:
    """Make the files ready to be deleted.

    Returns:
        What is left in them for the next agent; at least 1 when they must stay.
    """
    source = seat.journal_dir.name
    buffer = SqliteBuffer(files.buffer_path)
    reader = JournalReader(seat.journal_dir, buffer.positions().get(source))
    importer = JournalImporter(reader, buffer, Arbiter(), source=source)
    try:
        importer.import_pending(SystemClock().now_ns())
        left = buffer.stats().entries
        return left or int(not importer.retire())
    finally:
        importer.close()
        buffer.close()


class _Announcement:
    """Tells the brain which workers are here: ``worker.online`` (PROTOCOL §6.4)."""

    def __init__(self, sink: EventSink, adapters: Sequence[EngineAdapter]) -> None:
        self._sink = sink
        self._adapters = adapters

    def __call__(self) -> None:
        for adapter in self._adapters:
            for name in adapter.worker_details():
                facts = TaskFacts(adapter.name, "", "", None, name)
                now_ns = SystemClock().now_ns()
                self._sink.emit(LifecycleRecord(EventKind.WORKER_ONLINE, facts, now_ns))


def _export(lost: LostSpan) -> None:
    export_lost_span(lost)


def _report(counts: Mapping[str, Any]) -> None:
    """Append the final counts to the file that ``Z4J_OTEL_REPORT`` names, for measurements."""
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as report:
            report.write(json.dumps({"pid": os.getpid(), **counts}) + "\n")


def _adapters(config: AgentConfig) -> list[EngineAdapter]:
    """Build the adapters of the engines in use."""
    return [
        engine.adapter()
        for name, engine in find_engines().items()
        if engine.is_installed and (not config.engines or name in config.engines)
    ]
