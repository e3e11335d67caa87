"""A signal's handler that appends while its own thread does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from z4j_otel.disk import Disk
from z4j_otel.journal.reader import JournalReader
from z4j_otel.journal.writer import JournalWriter


def read_all(directory: Path) -> list[bytes]:
    """Return every record of a journal."""
    reader = JournalReader(directory)
    records = reader.read(1000, 1 << 20).records
    reader.close()
    return records


class Interrupted(Disk):
    """A disk at whose calls a signal comes, whose handler does something."""

    def __init__(self, **handlers) -> None:
        for name, handler in handlers.items():
            setattr(self, name, self._interrupting(getattr(Disk, name), handler))

    def _interrupting(self, call, handler):
        waiting = [handler]

        def interrupted(*arguments):
            result = call(*arguments)
            if waiting:
                waiting.pop()()
            return result

        return interrupted


@pytest.mark.parametrize("call", ["write", "stat", "open", "flock", "listdir"])
def test_a_signals_handler_may_append(tmp_path: Path, call: str) -> None:
    """Wherever it comes, each record is written once and nothing is raised."""
    said: list[bool] = []

    def handler() -> None:
        said.append(writer.append(b"handler's", now_ns=0))
        said.append(writer.flush())

    writer = JournalWriter(tmp_path, disk=Interrupted(**{call: handler}))
    assert writer.append(b"task's", now_ns=0)
    assert said[1] is False
    assert writer.flush()
    assert read_all(tmp_path) == [b"task's", b"handler's"]
    assert writer.dropped == {}


def test_a_signals_handler_may_append_while_the_ring_is_emptied(tmp_path: Path) -> None:
    """What waited is written once and in its order, also when that is much."""
    disk = Interrupted(write=lambda: writer.append(b"handler's", now_ns=1))
    disk.open = lambda *arguments: (_ for _ in ()).throw(OSError(errno.ENOSPC, ""))
    writer = JournalWriter(tmp_path, disk=disk)
    waiting = [b"%d" % number for number in range(40)]
    for record in waiting:
        assert not writer.append(record, now_ns=0)
    del disk.open
    writer.append(b"last", now_ns=1)
    assert writer.flush()
    records = read_all(tmp_path)
    records.remove(b"handler's")
    assert records == [*waiting, b"last"]
