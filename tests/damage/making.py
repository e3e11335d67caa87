"""The files to be damaged: of an agent that has lived a little, and what became of its events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.journal.format import WriterId, frame
from z4j_otel.journal.writer import JournalWriter

from .disks import Files, snapshot
from .life import BUFFER, JOURNAL, Life

__all__ = ["Made", "make"]

_TOO_LARGE = 1024 * 1024 + 1


@dataclass(frozen=True)
class Made:
    """Files, and all that is true of them."""

    origin: Path
    """Where they were made."""
    files: Files
    given: tuple[str, ...]
    """Ids of all events, in the order of their capture."""
    results: tuple[str, ...]
    """Ids of all command results."""
    settled: frozenset[str]
    """Of both, what the brain has, or what was dropped and counted before."""
    bodies: dict[str, bytes]
    """Every event's bytes by its id."""
    dropped: int
    """Events that were dropped and counted before the damage."""
    last_words: bytes
    """One more record of each writer, as it would be appended after the damage."""


def event(number: int, size_bytes: int = 0) -> bytes:
    """Return the canonical bytes of an event."""
    return b'{"data":{"x":"%b"},"engine":"celery","id":"e%03d","kind":"task.received"}' % (
        b"y" * size_bytes,
        number,
    )


def result(number: int) -> bytes:
    """Return a stored command result."""
    return (
        b'{"command_id":"r%03d","payload":{"delivery_claim_token":null,"error":null,'
        b'"result":{"ok":true},"status":"success"}}' % number
    )


def make(directory: Path, *, is_killed: bool) -> Made:
    """Live a little in a directory.

    Some events are with the brain, one was rejected by it, one was too large to be written;
    some wait in the buffer, one of them on pages of its own, and a result; the journal of
    two processes has two segments that nobody has read yet.

    Args:
        directory: An empty one.
        is_killed: Whether the agent dies with its database open; else it was closed.
    """
    life = Life(directory)
    writers = [JournalWriter(directory / JOURNAL) for _ in range(2)]
    now_ns = life.clock.now_ns()
    bodies: dict[str, bytes] = {}

    def append(count: int, size_bytes: int = 0) -> None:
        for _ in range(count):
            number = len(bodies)
            bodies[f"e{number:03}"] = event(number, size_bytes)
            writers[number % 2].append(bodies[f"e{number:03}"], now_ns=now_ns)

    append(6)
    life.take_in()
    life.deliver(6)
    writers[0].append(b"y" * _TOO_LARGE, now_ns=now_ns)
    append(2, 9000)
    append(4)
    life.take_in()
    (first, *_) = life.lease(1)
    life.buffer.drop([first.sequence], DropReason.REJECTED)
    if is_killed:
        # The older half stands in the file, the newer half in the log.
        life.buffer._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    life.buffer.append([(EntryKind.COMMAND_RESULT, result(1))], now_ns=now_ns)
    append(2)
    life.take_in()
    append(7, 40)
    life.importer._reader.read(1, 1)  # seals the segment; what it returned is read again
    append(4, 10)
    if not is_killed:
        life.close()
    files = {name: data for name, data in snapshot(directory).items() if not name.endswith("-shm")}
    given = tuple(bodies)
    last_words = b"".join(_last_words(writer) for writer in writers)
    for writer in writers:
        writer.close()
    life.close()
    settled = frozenset((*given[:6], "e006"))
    assert life.delivered == Counter(given[:6])
    assert {name.split("/")[0].removesuffix("-wal").removesuffix("-state") for name in files} == {
        BUFFER,
        JOURNAL,
    }
    return Made(directory, files, given, ("r001",), settled, bodies, 2, last_words)


def _last_words(writer: JournalWriter) -> bytes:
    name: WriterId = writer.writer_id
    return frame(event(900 + name.boot % 2), name, next(writer._numbers))
