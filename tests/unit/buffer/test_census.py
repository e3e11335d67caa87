"""A home directory seen from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.census import WaitingSums, find_files, sum_waiting, waiting_in
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_


def test_files_of_the_living_and_the_dead_are_found(tmp_path: Path):
    """Each agent's files are listed with who left them; what is none of ours is not."""
    dead = AgentFiles.claim(tmp_path, 7, "shop")
    dead.close()
    alive = AgentFiles.claim(tmp_path, 8, "shop")
    (alive.journal_dir / "1.seg").write_bytes(b"12345")
    (tmp_path / "other.lock").write_text("not ours")
    first, second = find_files(tmp_path)
    assert (first.name, first.pid, first.is_alive, first.journal_bytes) == ("buffer-7", 7, False, 0)
    assert (second.name, second.is_alive, second.journal_bytes) == ("buffer-8", True, 5)
    assert second.status_path == tmp_path / "buffer-8.status"
    assert second.buffer_path == alive.buffer_path
    assert second.deployment == "shop"
    assert second.last_alive_ns > 0
    alive.close()


def test_nothing_is_found_where_nothing_is(tmp_path: Path):
    """A home that does not exist has no files, and a journal may have gone."""
    assert find_files(tmp_path / "missing") == []
    files = AgentFiles.claim(tmp_path, 7, "shop")
    files.journal_dir.rmdir()
    (seen,) = find_files(tmp_path)
    assert seen.journal_bytes == 0
    files.close()


def test_waiting_entries_are_read_beside_their_owner(tmp_path: Path):
    """Sums and entries are those of the moment, while the owner goes on."""
    path = tmp_path / "buffer-1.sqlite"
    buffer = SqliteBuffer(path)
    buffer.append([(EntryKind.EVENT, b"{}"), (EntryKind.COMMAND_RESULT, b"[1]")], now_ns=5)
    assert sum_waiting(path) == WaitingSums(2, 5, 5)
    entries = list(waiting_in(path))
    assert [(entry.kind, entry.body) for entry in entries] == [
        (EntryKind.EVENT, b"{}"),
        (EntryKind.COMMAND_RESULT, b"[1]"),
    ]
    buffer.ack([entries[0].sequence])
    assert sum_waiting(path).entries == 1
    buffer.close()
    assert sum_waiting(path).entries == 1


def test_database_that_cannot_be_read_says_so(tmp_path: Path):
    """A damaged file is an error of ours; a missing one holds nothing."""
    assert sum_waiting(tmp_path / "none") == WaitingSums()
    assert list(waiting_in(tmp_path / "none")) == []
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database" * 100)
    with pytest.raises(BufferError_):
        sum_waiting(damaged)
