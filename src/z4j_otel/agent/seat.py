"""The place of one process: its files, its gate, and what its agent is built of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from z4j_otel.agent.adoption import AdoptingImporter
from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.agent.importer import JournalImporter
from z4j_otel.agent.ledger import Ledger
from z4j_otel.buffer.files import AgentFiles, is_owner_alive
from z4j_otel.buffer.home import resolve_home
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
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import RedactionPolicy, Redactor

__all__ = ["Seat"]

REPORT_VARIABLE = "Z4J_OTEL_REPORT"
"""Names a file to which every agent appends its counts when it ends, as one JSON line."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One process's role: an owner has files, a guest only a journal to append to."""

    config: AgentConfig
    journal_dir: Path
    journal: JournalWriter
    sink: EventSink
    files: AgentFiles | None = None

    @property
    def is_owner(self) -> bool:
        """Whether the agent belongs to this process."""
        return self.files is not None

    @classmethod
    def owner(cls, config: AgentConfig) -> Seat:
        """Claim files of our own."""
        home = resolve_home(
            {**os.environ, "Z4J_HOME": str(config.home)} if config.home else os.environ
        )
        files = AgentFiles.claim(
            home, os.getpid(), config.deployment, buffer_path=config.buffer_path
        )
        journal = JournalWriter(files.journal_dir)
        return cls(config, files.journal_dir, journal, _gate(config, journal), files)

    @classmethod
    def guest_of(cls, journal_dir: Path, config: AgentConfig) -> Seat | None:
        """Join a living owner's journal; None when its owner is gone."""
        if not is_owner_alive(journal_dir):
            return None
        journal = JournalWriter(journal_dir)
        return cls(config, journal_dir, journal, _gate(config, journal))

    def as_guest(self) -> Seat:
        """Return the seat of a forked child: the same journal, nothing else."""
        return Seat(self.config, self.journal_dir, self.journal, self.sink)

    def is_journal_served(self) -> bool:
        """Whether an owner is alive to deliver what is appended."""
        return is_owner_alive(self.journal_dir)

    def leave(self, ledger: Ledger) -> None:
        """Give up the files; they are deleted when nothing is left in them."""
        if self.files is None:
            return
        self.journal.close()
        waiting = self._empty(self.files)
        _report({**ledger.snapshot(), "waiting": waiting})
        if not waiting:
            self.files.remove()
        self.files.close()

    def _empty(self, files: AgentFiles) -> int:
        """Make the files ready to be deleted.

        Returns:
            What is left in them for the next agent; at least 1 when they must stay.
        """
        source = self.journal_dir.name
        buffer = SqliteBuffer(files.buffer_path)
        reader = JournalReader(self.journal_dir, buffer.positions().get(source))
        importer = JournalImporter(reader, buffer, Arbiter(), source=source)
        try:
            importer.import_pending(SystemClock().now_ns())
            left = buffer.stats().entries
            return left or int(not importer.retire())
        finally:
            importer.close()
            buffer.close()

    def build_agent(
        self, *, worker: Mapping[str, Any], engines: Sequence[EngineAdapter]
    ) -> AgentRuntime:
        """Put an agent together that delivers this seat's journal."""
        assert self.files is not None
        config, source = self.config, self.journal_dir.name
        boot_id = new_boot_id()
        ledger = Ledger(buffer_id=boot_id, runtime_id=f"{boot_id}:{os.getpid()}")
        buffer = SqliteBuffer(
            self.files.buffer_path,
            max_events=config.buffer_max_events,
            max_bytes=config.buffer_max_bytes,
        )
        reader = JournalReader(self.journal_dir, buffer.positions().get(source))
        own = JournalImporter(
            reader,
            buffer,
            Arbiter(on_lost_span=_export),
            source=source,
            ledger=ledger,
        )
        importer = AdoptingImporter(
            own, buffer, home=self.files.buffer_path.parent, deployment=config.deployment
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
            redactor=_redactor(config),
            ledger=ledger,
            role=config.worker_role or ("task" if worker else "other"),
        )
        agent.announce = _Announcement(self.sink, adapters)
        return agent


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


def _redactor(config: AgentConfig) -> Redactor:
    return Redactor(
        RedactionPolicy(
            extra_key_patterns=config.redaction_extra_key_patterns,
            extra_value_patterns=config.redaction_extra_value_patterns,
            max_string_bytes=config.max_payload_bytes,
        )
    )


def _gate(config: AgentConfig, journal: JournalWriter) -> EventSink:
    common: dict[str, Any] = {"environment": config.environment}
    if config.tags:
        common["tags"] = dict(config.tags)
    return EventSink(
        journal,
        _redactor(config),
        common=common,
        max_event_bytes=config.max_event_bytes,
    )


def _adapters(config: AgentConfig) -> list[EngineAdapter]:
    """Build the adapters of the engines in use."""
    return [
        engine.adapter()
        for name, engine in find_engines().items()
        if engine.is_installed and (not config.engines or name in config.engines)
    ]
