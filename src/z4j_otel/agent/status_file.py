"""The file in which a running agent shows its state to whoever may read it.

It is a JSON object beside the buffer, ``buffer-{pid}.status``, mode 0600, replaced whole
by a rename, so that a reader never sees half of one. It is written when something changed, at
most every five seconds, on the agent's own loop and without a wake-up of its own. It does
not say whether the agent lives: the lock beside it does (``buffer.files``). Nothing in it is
secret, and no task's content is.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from z4j_otel.buffer import names
from z4j_otel.clock import Clock, iso_utc, parse_iso_ns
from z4j_otel.disk import open_own

__all__ = ["STATUS_FORMAT", "StatusFile", "read_status"]

_logger = logging.getLogger(__name__)

STATUS_FORMAT: Final = 1
_NS: Final = 1_000_000_000
_MAX_BYTES: Final = 1_048_576
_VOLATILE: Final = frozenset(
    {"next_attempt_in_s", "clock_offset_s", "connected_for_s", "oldest_age_s", "ago_s"}
)
"""What changes with time alone: no news, and old when it is read."""


class _Buffer(msgspec.Struct):
    entries: int = 0
    bytes: int = 0
    oldest_ns: int | None = None


class _Process(msgspec.Struct):
    process: str
    captured: int
    imported: int
    missing: int
    dropped: dict[str, int]


class _Ledger(msgspec.Struct):
    closes: bool = True
    unaccounted: int = 0


class _Error(msgspec.Struct):
    at: str
    text: str


class _Shape(msgspec.Struct):
    """What readers rely on, where it is there; anything may lie under the file's name."""

    state: str = "starting"
    buffer: _Buffer | None = None
    processes: list[_Process] = []
    ledger: _Ledger | None = None
    last_error: _Error | None = None
    capabilities: dict[str, list[str]] = {}
    schedulers: dict[str, list[str]] = {}


class StatusFile:
    """Writes the state of one agent.

    Args:
        path: The file.
        facts: What never changes: process, role, project and the like.
        clock: Tells when it was written.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], clock: Clock) -> None:
        self._path = path
        self._facts = dict(facts)
        self._clock = clock
        self._shown: dict[str, Any] | None = None

    def show(self, status: Mapping[str, Any]) -> bool:
        """Write a state; tell whether it was new, and hence written.

        Where the disk does not take it the old one stays, without a line of the log: the
        buffer tells of such a disk.

        Args:
            status: Of :meth:`z4j_otel.agent.agent.AgentRuntime.status`, JSON values.
        """
        steady = _steady(status)
        if steady == self._shown:
            return False
        now_ns = self._clock.now_ns()
        content = {
            **steady,
            **self._facts,
            "format": STATUS_FORMAT,
            "written_at": iso_utc(now_ns),
            "last_error": _dated(status.get("last_error"), now_ns),
        }
        try:
            self._replace(json.dumps(content, separators=(",", ":")).encode())
        except OSError as error:
            _logger.debug("%s cannot be written: %s", self._path, error)
            return False
        self._shown = steady
        return True

    def _replace(self, content: bytes) -> None:
        # One name, whoever writes: what a killed one leaves, or somebody planted, goes first.
        draft = names.beside(self._path, names.NEW)
        draft.unlink(missing_ok=True)
        try:
            fd = open_own(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            draft.replace(self._path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


def _steady(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state without what changes with time alone."""
    return {
        name: _steady(value) if isinstance(value, dict) else value
        for name, value in status.items()
        if name not in _VOLATILE
    }


def _dated(error: Mapping[str, Any] | None, now_ns: int) -> dict[str, Any] | None:
    """Return the last error with its time instead of its age."""
    if error is None:
        return None
    at_ns = now_ns - int(error.get("ago_s", 0.0) * _NS)
    return {**_steady(error), "at": iso_utc(at_ns)}


def read_status(path: Path) -> dict[str, Any] | None:
    """Return what an agent showed last; None when it showed nothing that can be read."""
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
            status = msgspec.json.decode(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(status, dict) or status.get("format") != STATUS_FORMAT:
        return None
    try:
        msgspec.convert(status, _Shape)
        parse_iso_ns(str(status.get("started_at", status["written_at"])))
    except (KeyError, ValueError, OverflowError, RecursionError):
        return None
    return status
