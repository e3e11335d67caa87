"""What lies in a home directory, seen from outside: whose files, and what waits in them.

Everything here only reads, and disturbs no living agent: a database is opened read-only,
beside its owner if need be, and what it holds is seen as of that moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.database import UNREADABLE, read_only, translate
from z4j_otel.buffer.files import is_owner_alive, look_at
from z4j_otel.buffer.records import OVERHEAD_BYTES, created_ns_of, read_row

__all__ = ["FilesSeen", "WaitingEntry", "WaitingSums", "find_files", "sum_waiting", "waiting_in"]

_MAX_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class FilesSeen:
    """The files of one agent, alive or dead."""

    name: str
    """What they have in common, for example ``buffer-123``."""
    pid: int
    """The process that claimed them."""
    deployment: str
    is_alive: bool
    """Whether their agent lives."""
    last_alive_ns: int
    """The agent's last sign of life, which a living one gives every few seconds."""
    buffer_path: Path
    journal_dir: Path
    status_path: Path

    @property
    def journal_bytes(self) -> int:
        """Size of what processes have appended and nobody has deleted yet."""
        try:
            return sum(path.stat().st_size for path in self.journal_dir.iterdir())
        except OSError:
            return 0


@dataclass(frozen=True, slots=True)
class WaitingEntry:
    """One entry that the brain has not acknowledged."""

    sequence: int
    kind: EntryKind
    stored_ns: int
    body: bytes
    """Canonical bytes; redacted, as everything that is stored."""


@dataclass(frozen=True, slots=True)
class WaitingSums:
    """How much waits in one database."""

    entries: int = 0
    bytes: int = 0
    oldest_ns: int | None = None


def find_files(home: Path) -> list[FilesSeen]:
    """Return the files of every agent in a directory, by name; empty when there is none."""
    found = []
    for lock_path in sorted(home.glob("*.lock")):
        record = look_at(lock_path)
        if record is None:
            continue
        journal_dir = lock_path.with_suffix(".journal")
        try:
            last_alive_ns = lock_path.stat().st_mtime_ns
        except OSError:
            continue  # it was removed a moment ago
        found.append(
            FilesSeen(
                name=lock_path.stem,
                pid=record.pid,
                deployment=record.deployment,
                is_alive=is_owner_alive(journal_dir),
                last_alive_ns=last_alive_ns,
                buffer_path=lock_path.with_suffix(record.suffix),
                journal_dir=journal_dir,
                status_path=lock_path.with_suffix(".status"),
            )
        )
    return found


def sum_waiting(path: Path) -> WaitingSums:
    """Return how much waits in a database; nothing when there is none.

    Raises:
        BufferError_: It cannot be read.
    """
    for entries, size_bytes, oldest in _read(
        path,
        f"SELECT count(*), coalesce(sum(length(record) - {OVERHEAD_BYTES}), 0),"  # noqa: S608 -- a number
        f" (SELECT substr(record, 1, {OVERHEAD_BYTES}) FROM entries ORDER BY sequence LIMIT 1)"
        " FROM entries",
    ):
        return WaitingSums(entries, size_bytes, oldest and created_ns_of(oldest))
    return WaitingSums()


def waiting_in(path: Path) -> Iterator[WaitingEntry]:
    """Yield what waits in a database, oldest first; a damaged entry is left out.

    Raises:
        BufferError_: It cannot be read.
    """
    for (record,) in _read(path, "SELECT record FROM entries ORDER BY sequence"):
        row = read_row(record)
        if row is not None:
            yield WaitingEntry(row.sequence, EntryKind(row.kind), row.created_ns, row.body)


def _read(path: Path, query: str) -> Iterator[tuple[Any, ...]]:
    if not path.exists():
        return
    try:
        with closing(read_only(path, partial(sqlite3.connect, timeout=_MAX_WAIT_S))) as connection:
            yield from connection.execute(query)
    except UNREADABLE as error:
        raise translate(error, path) from error
