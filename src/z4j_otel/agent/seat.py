"""The place of one process: its files and its gate.

Nothing of the network or of the database is loaded here: pool children and publishers that
are guests need neither.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from z4j_otel.buffer.files import AgentFiles, is_owner_alive
from z4j_otel.buffer.home import resolve_home
from z4j_otel.config import AgentConfig
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import RedactionPolicy, Redactor

__all__ = ["Seat", "redactor_of"]


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


def redactor_of(config: AgentConfig) -> Redactor:
    """Build the redactor that the settings ask for."""
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
        redactor_of(config),
        common=common,
        max_event_bytes=config.max_event_bytes,
    )
