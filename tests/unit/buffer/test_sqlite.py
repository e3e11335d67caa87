"""What only the SQLite buffer has: a file that lives, fills and breaks."""

from __future__ import annotations

import os
import sqlite3
import threading
import tracemalloc
from pathlib import Path

import pytest

from z4j_otel.buffer import store, stories
from z4j_otel.buffer.base import DropReason, Entry, EntryKind, KnownCommand
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.errors import BufferError_

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the buffer lies."""
    return tmp_path / "b.sqlite"


def lease(buffer: SqliteBuffer) -> list[Entry]:
    """Lease all."""
    return buffer.lease(1000, max_bytes=1 << 30, now_ns=0)


def test_everything_but_leases_outlives_the_object(path: Path) -> None:
    """Entries, losses, positions and commands are there again; leased entries are visible."""
    first = SqliteBuffer(path)
    first.append([(EVENT, b"1"), (RESULT, b"2")], now_ns=4, positions={"j": "p"})
    first.count_dropped(EVENT, DropReason.REJECTED, 3)
    first.remember_result("c", b"r", now_ns=0)
    lease(first)
    first.close()
    second = SqliteBuffer(path)
    assert [entry.body for entry in lease(second)] == [b"1", b"2"]
    assert (second.positions(), second.recall_result("c")) == ({"j": "p"}, b"r")
    stats = second.stats()
    assert (stats.entries, stats.bytes, stats.oldest_ns) == (2, 2, 4)
    assert stats.dropped == {(EVENT, DropReason.REJECTED): 3}
    second.close()


def test_a_life_on_disk(path: Path) -> None:
    """Append, lease, release, expire, ack, drop and evict; the newest is not on lease."""
    buffer = SqliteBuffer(path, max_events=2, max_bytes=10)
    buffer.append([(EVENT, b"1"), (EVENT, b"2345"), (EVENT, b"x" * 11)], now_ns=1)
    (first,) = buffer.lease(9, max_bytes=4, now_ns=0, hold_s=1.0)
    (second,) = buffer.lease(1, max_bytes=9, now_ns=0)
    buffer.release([first.sequence, second.sequence])
    assert buffer.lease(1, max_bytes=9, now_ns=0, hold_s=1.0) == [first]
    assert lease(buffer) == [second]
    buffer.release([first.sequence])
    assert buffer.lease(9, max_bytes=9, now_ns=0, hold_s=1.0) == [first]
    buffer.append([(EVENT, b"3")], now_ns=2)
    assert buffer.lease(1, max_bytes=9, now_ns=10**9) == [first]
    buffer.ack([first.sequence])
    buffer.drop([second.sequence], DropReason.REJECTED)
    assert buffer.stats().dropped == {
        (EVENT, reason): 1
        for reason in (DropReason.TOO_LARGE, DropReason.BUFFER_FULL, DropReason.REJECTED)
    }
    assert (buffer.begin_command("c", 0), buffer.begin_command("c", 0)) == (True, False)
    buffer.close()


def test_a_lease_needs_a_limit(path: Path) -> None:
    """Asking for nothing is a mistake."""
    buffer = SqliteBuffer(path)
    with pytest.raises(ValueError, match="limit"):
        buffer.lease(0, max_bytes=1, now_ns=0)
    buffer.close()
    buffer.close()


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_cannot_be_read_is_set_aside(
    path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent goes on with a new file, and says so."""
    path.write_bytes(garbage)
    buffer = SqliteBuffer(path)
    buffer.append([(EVENT, b"1")], now_ns=0)
    assert len(lease(buffer)) == 1
    assert buffer.stats().files_set_aside == 1
    assert path.with_name("b.sqlite.corrupt-1").read_bytes() == garbage
    assert "could not be used" in caplog.text
    buffer.close()


def damage(path: Path) -> None:
    """Overwrite all pages but the first."""
    size = path.stat().st_size
    with path.open("r+b") as database:
        database.seek(4096)
        database.write(b"\xa5" * (size - 4096))


def test_damage_that_shows_at_opening_is_set_aside(path: Path) -> None:
    """The totals touch every page with an entry."""
    buffer = SqliteBuffer(path)
    buffer.append([(EVENT, b"x" * 500)] * 100, now_ns=0)
    buffer.close()
    damage(path)
    buffer = SqliteBuffer(path)
    assert (buffer.stats().entries, buffer.stats().files_set_aside) == (0, 1)
    buffer.close()


def test_damage_in_use_is_set_aside_and_the_operation_repeated(path: Path) -> None:
    """The entries known to be lost are counted by kind; the new ones are stored."""
    buffer = SqliteBuffer(path)
    buffer.append([(EVENT, b"x" * 500)] * 100 + [(RESULT, b"r")], now_ns=0)
    last = lease(buffer)[-1].sequence
    buffer._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    buffer._store.connection.execute("PRAGMA cache_size=0")
    damage(path)
    buffer.append([(EVENT, b"new")], now_ns=0, positions={"j": "p"})
    assert [entry.body for entry in lease(buffer)] == [b"new"]
    assert buffer._contents.state.last_sequence > last
    stats = buffer.stats()
    lost = {(EVENT, DropReason.BUFFER_CORRUPT): 100, (RESULT, DropReason.BUFFER_CORRUPT): 1}
    assert (stats.entries, stats.dropped, stats.files_set_aside) == (1, lost, 1)
    buffer.close()


def test_a_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The caller decides what to do without a disk."""
    with pytest.raises(BufferError_):
        SqliteBuffer(tmp_path / "missing" / "b.sqlite")


def test_threads_share_a_buffer(path: Path) -> None:
    """Entries of several threads are all there, each thread's in order."""
    buffer = SqliteBuffer(path)

    def work(name: int) -> None:
        for number in range(20):
            buffer.append([(EVENT, b"%d %d" % (name, number))], now_ns=0)
            buffer.stats()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [tuple(map(int, entry.body.split())) for entry in lease(buffer)]
    assert sorted(seen) == [(name, number) for name in range(4) for number in range(20)]
    assert all(sorted(mine) == mine for n in range(4) if (mine := [s for s in seen if s[0] == n]))
    buffer.close()


def test_a_forked_child_cannot_use_the_parents_buffer(path: Path) -> None:
    """SQLite forbids it; the parent is not disturbed."""
    buffer = SqliteBuffer(path)
    pid = os.fork()
    if not pid:
        try:
            buffer.append([(EVENT, b"child")], now_ns=0)
        except BufferError_:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    buffer.append([(EVENT, b"parent")], now_ns=0)
    assert [entry.body for entry in lease(buffer)] == [b"parent"]
    buffer.close()


def test_an_inherited_connection_is_kept_from_being_closed(path: Path) -> None:
    """Not even garbage collection closes it in the child."""
    buffer = SqliteBuffer(path)
    connection = buffer._store.connection
    buffer._leave_to_parent()
    assert store._inherited.pop() is connection
    with pytest.raises(BufferError_, match="closed"):
        buffer.positions()
    connection.close()


def test_stories_can_be_forgotten(tmp_path: Path) -> None:
    """Whoever adopted them has them now."""
    buffer = SqliteBuffer(tmp_path / "b.sqlite")
    buffer.append([], now_ns=0, stories={"a": b"1"})
    buffer.forget_stories()
    assert buffer.stories() == {}
    buffer.close()


@pytest.mark.parametrize("goes", ["b.sqlite", "b.sqlite*"])
def test_a_file_that_is_removed_while_in_use_comes_back_with_all_it_knew(
    path: Path, goes: str
) -> None:
    """Commands that were done are not done again; stories, accounts and entries are there."""
    buffer = SqliteBuffer(path)
    buffer.remember_result("c", b"r", now_ns=0)
    buffer.append([(EVENT, b"1")], now_ns=1, stories={"t": b"s"}, accounts={"o": b"a"})
    for each in path.parent.glob(goes):
        each.unlink()
    buffer.append([(EVENT, b"2")], now_ns=2)
    buffer.close()
    again = SqliteBuffer(path)
    assert not again.begin_command("c", 3)
    assert (again.recall_result("c"), again.recall_story("t")) == (b"r", b"s")
    assert again.accounts() == {"o": b"a"}
    assert [entry.body for entry in lease(again)] == [b"1", b"2"]
    again.close()


def test_only_the_commands_that_are_asked_for_are_read(tmp_path: Path) -> None:
    """Asking every few seconds costs nothing for all the answers that are kept."""
    buffer = SqliteBuffer(tmp_path / "b.sqlite")
    kept = [KnownCommand(f"c{number}", number, b"done" * 2500) for number in range(100)]
    buffer.take_commands([*kept, KnownCommand("c-b", 200, b"begun"), KnownCommand("n", 201, None)])
    tracemalloc.start()
    found = buffer.commands(b"begun")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [known.key for known in found] == ["c-b"]
    assert len(buffer.commands()) == 102
    assert peak_bytes < 100_000
    buffer.close()


def test_a_story_is_found_also_while_nobody_can_say_which_there_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the list of keys each is looked for; a task must not be told of twice."""
    buffer = SqliteBuffer(path)
    buffer.append([], now_ns=1, stories={"t": b"s"})
    buffer.close()

    def fail(_connection: sqlite3.Connection) -> list[str]:
        raise sqlite3.OperationalError("disk I/O error")

    again = SqliteBuffer(path)
    with monkeypatch.context() as patch:
        patch.setattr(stories, "keys", fail)
        assert (again.recall_story("t"), again.recall_story("u")) == (b"s", None)
        again.append([], now_ns=2, stories={"u": b"v"})
    assert (again.recall_story("t"), again.recall_story("u")) == (b"s", b"v")
    again.close()
