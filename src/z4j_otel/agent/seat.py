"""The place of one process: its files and its gate.

Nothing of the network or of the database is loaded here: pool children and publishers that
are guests need neither.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from z4j_otel.buffer.files import AgentFiles, find_served, is_owner_alive
from z4j_otel.buffer.foreign import is_no_directory_of_ours
from z4j_otel.buffer.home import (
    clamp_buffer_path,
    make_private,
    possible_homes,
    replace_home,
    resolve_home,
    with_home,
)
from z4j_otel.config import AgentConfig
from z4j_otel.exporter.sink import EventSink
from z4j_otel.journal.writer import JournalWriter
from z4j_otel.redaction import RedactionPolicy, Redactor
from z4j_otel.redaction.custom import NamedRedactor
from z4j_otel.redaction.tokens import derive_key

__all__ = ["Seat", "home_of", "redactor_of"]

_logger = logging.getLogger(__name__)


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
        """Claim files of our own; in the stand-in where the home takes none.

        Raises:
            OSError: Not even the stand-in takes them.
        """
        home, pid, deployment = home_of(config), os.getpid(), config.deployment
        path = _buffer_path(config)
        try:
            if path is not None:
                make_private(path.parent)
            files = AgentFiles.claim(home, pid, deployment, buffer_path=path)
        except OSError as error:
            if home == possible_homes(os.environ)[1] and path is None:
                raise  # it is the stand-in
            place = home if path is None else path.parent
            stand_in = replace_home(place, error.strerror or str(error), os.environ)
            files = AgentFiles.claim(stand_in, pid, deployment)
        return cls.of_files(config, files)

    @classmethod
    def of_files(cls, config: AgentConfig, files: AgentFiles) -> Seat:
        """Sit down at files that are owned already."""
        journal = _writer(config, files.journal_dir)
        return cls(config, files.journal_dir, journal, _gate(config, journal), files)

    @classmethod
    def guest_of(cls, journal_dir: Path, config: AgentConfig) -> Seat | None:
        """Join a living owner's journal; None when its owner is gone."""
        # The path comes from the environment.
        if is_no_directory_of_ours(journal_dir) or not is_owner_alive(journal_dir):
            return None
        journal = _writer(config, journal_dir)
        return cls(config, journal_dir, journal, _gate(config, journal))

    @classmethod
    def stray(cls, config: AgentConfig) -> Seat:
        """Write where the next agent of the deployment looks: no agent may run here."""
        journal_dir = _Succession(home_of(config), config.deployment).find()
        journal = _writer(config, journal_dir)
        return cls(config, journal_dir, journal, _gate(config, journal))

    def as_guest(self) -> Seat:
        """Return the seat of a forked child: the same journal, nothing else."""
        # It would wake the parent's agent, through a socket that was inherited.
        self.sink.call_at_next(None)
        return Seat(self.config, self.journal_dir, self.journal, self.sink)

    def is_journal_served(self) -> bool:
        """Whether an owner is alive to deliver what is appended."""
        return is_owner_alive(self.journal_dir)


def redactor_of(config: AgentConfig) -> Redactor:
    """Build the redactor that the settings ask for."""
    if not config.redaction_defaults_enabled:
        _tell_of_missing_rules()
    has_tokens = config.redaction_tokens and bool(config.hmac_secret)
    return Redactor(
        RedactionPolicy(
            extra_key_patterns=config.redaction_extra_key_patterns,
            extra_value_patterns=config.redaction_extra_value_patterns,
            defaults_enabled=config.redaction_defaults_enabled,
            disabled_rules=frozenset(config.redaction_disabled_rules),
            redactors=tuple(map(NamedRedactor, config.redactors)),
            # Derived, never stored: forked children have it, all others derive it again.
            token_key=derive_key(config.signing_key()) if has_tokens else b"",
            max_string_bytes=config.max_payload_bytes,
        )
    )


@cache
def _tell_of_missing_rules() -> None:
    _logger.warning(
        "the built-in redaction rules are off: passwords, tokens and addresses in arguments and"
        " results leave this process as they are; unset Z4J_REDACTION_DEFAULTS_ENABLED to"
        " have them back",
        extra={"action": "redaction_defaults_off"},
    )


def home_of(config: AgentConfig) -> Path:
    """Return the directory of this machine's agents."""
    return resolve_home(with_home(os.environ, config.home))


def _buffer_path(config: AgentConfig) -> Path | None:
    """Return where an explicit buffer lies, looked at again: a link may have changed since."""
    if config.buffer_path is None:
        return None
    path = clamp_buffer_path(config.buffer_path, with_home(os.environ, config.home))
    if path is None:
        raise PermissionError(errno.EPERM, "buffer_path leads out of Z4J_HOME")
    return path


def _writer(config: AgentConfig, journal_dir: Path) -> JournalWriter:
    succession = _Succession(journal_dir.parent, config.deployment, journal_dir)
    return JournalWriter(journal_dir, successor=succession.find)


class _Succession:
    """Where a process writes whose journal is gone: it outlived its agent.

    A living agent of the deployment takes it over, with its own journal. If there is none,
    files are made and given up at once: they lie there as a dead agent's do, and the next
    agent adopts them and tends them while this process lives. Nothing is held, no thread
    runs and nobody waits, so this is fit for pool children.
    """

    def __init__(self, home: Path, deployment: str, journal_dir: Path | None = None) -> None:
        self._home = home
        self._deployment = deployment
        self._journal_dir = journal_dir

    def find(self) -> Path:
        """Return a journal that exists; raises ``OSError`` when none can be made."""
        if self._journal_dir is not None and _made_again(self._journal_dir):
            return self._journal_dir
        make_private(self._home)
        found = find_served(self._home, self._deployment)
        if found is None:
            files = AgentFiles.claim(self._home, os.getpid(), self._deployment)
            files.close()
            found = files.journal_dir
        self._journal_dir = found
        return found


def _made_again(journal_dir: Path) -> bool:
    """Make the journal of a living agent anew, which somebody removed; it reads the name."""
    if not is_owner_alive(journal_dir):
        return False
    journal_dir.mkdir(mode=0o700, exist_ok=True)
    if is_no_directory_of_ours(journal_dir):
        return False
    # Whoever retires a dead agent's files holds their lock, too, and the journal goes first.
    # If the lock is still there now, its removal is yet to come and will find the journal.
    if is_owner_alive(journal_dir):
        return True
    with contextlib.suppress(OSError):
        journal_dir.rmdir()
    return False


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
