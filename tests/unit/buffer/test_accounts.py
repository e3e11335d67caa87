"""What is counted, beside the database that it is counted in."""

from __future__ import annotations

from pathlib import Path

from z4j_otel.buffer.accounts import Passed, read_all, store
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.database import open_database
from z4j_otel.buffer.sqlite import SqliteBuffer

EVENT, RESULT = EntryKind.EVENT, EntryKind.COMMAND_RESULT


def test_what_has_passed_adds_up() -> None:
    """Counts are kept by kind; nothing more is the same account."""
    passed = Passed("id").plus(stored={EVENT: 2}).plus(stored={EVENT: 1, RESULT: 1})
    assert passed == Passed("id", (3, 1, 0), (0, 0, 0))
    assert passed.plus(stored={}, acked=None) is passed
    assert passed.plus(acked={RESULT: 1}).acked == (0, 1, 0)
    assert len(Passed.begin().buffer_id) == 32


def test_account_of_an_older_version_is_widened() -> None:
    """It knew fewer kinds, and had none of the others."""
    assert Passed("id", (3, 1), (2, 0)).widened() == Passed("id", (3, 1, 0), (2, 0, 0))
    assert Passed.begin().widened().stored == (0, 0, 0)


def test_accounts_are_kept_by_owner(tmp_path: Path) -> None:
    """The one touched last is at the end; empty bytes delete one."""
    connection = open_database(tmp_path / "b.sqlite")
    store(connection, {"a": b"1", "b": b"2", "c": b"3"})
    store(connection, {"a": b"4", "c": b""})
    store(connection, {})
    assert list(read_all(connection).items()) == [("b", b"2"), ("a", b"4")]
    connection.close()


def test_counts_outlive_a_damaged_file(tmp_path: Path) -> None:
    """A database that breaks under a living agent loses its entries, not its counts."""
    path = tmp_path / "b.sqlite"
    buffer = SqliteBuffer(path)
    buffer.append([(EVENT, b"1"), (EVENT, b"2")], now_ns=0, accounts={"a": b"1"})
    buffer.ack([1])
    name = buffer.buffer_id
    buffer._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    buffer._store.connection.execute("PRAGMA cache_size=0")
    with path.open("r+b") as database:
        database.seek(4096)
        database.write(b"\xa5" * (path.stat().st_size - 4096))
    buffer.append([(EVENT, b"3")], now_ns=0)
    stats = buffer.stats()
    assert (buffer.buffer_id, buffer.accounts()) == (name, {"a": b"1"})
    assert stats.dropped == {(EVENT, DropReason.BUFFER_CORRUPT): 1}
    assert (stats.stored[EVENT], stats.acked[EVENT], stats.held[EVENT]) == (3, 1, 1)
    buffer.close()
    again = SqliteBuffer(path)
    assert (again.buffer_id, again.accounts()) == (name, {"a": b"1"})
    again.close()
