"""Opening databases, good and bad."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from z4j_otel.buffer.database import (
    SCHEMA_VERSION,
    is_busy,
    is_damage,
    is_full,
    open_database,
    read_only,
    transaction,
    translate,
)
from z4j_otel.errors import BufferCorrupt, BufferError_, BufferFull


def test_a_new_database_is_private_and_durable(tmp_path: Path) -> None:
    """Mode 0600 for the file and its companions, WAL, and our version."""
    connection = open_database(tmp_path / "b.sqlite")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()


def test_our_database_opens_again(tmp_path: Path) -> None:
    """The second opening changes nothing."""
    open_database(tmp_path / "b.sqlite").close()
    connection = open_database(tmp_path / "b.sqlite")
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_another_schema_is_refused(tmp_path: Path, version: int) -> None:
    """Older, newer or somebody else's: it is not touched."""
    path = tmp_path / "b.sqlite"
    other = sqlite3.connect(path)
    other.executescript(f"CREATE TABLE theirs (x); PRAGMA user_version={version}")
    other.close()
    with pytest.raises(BufferCorrupt, match=f"schema version {version}"):
        open_database(path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """Garbage is told from an error of the disk."""
    (tmp_path / "b.sqlite").write_bytes(b"no database at all" * 99)
    with pytest.raises(BufferCorrupt, match="not a database"):
        open_database(tmp_path / "b.sqlite")


@pytest.mark.parametrize("name", ["missing/b.sqlite", "link.sqlite", "."])
def test_what_cannot_be_opened_is_an_error(tmp_path: Path, name: str) -> None:
    """No directory, a link, or a directory in its place."""
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    with pytest.raises(BufferError_, match="cannot be opened"):
        open_database(tmp_path / name)
    assert not (tmp_path / "elsewhere.sqlite").exists()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "b.sqlite")
    with pytest.raises(BufferCorrupt, match="not a file"):
        open_database(tmp_path / "b.sqlite")


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """Names with odd characters are names."""
    path = tmp_path / "a?b#c%d.sqlite"
    with pytest.raises(sqlite3.OperationalError):
        read_only(path)
    open_database(path).close()
    connection = read_only(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """All or nothing, also for errors that are not SQLite's."""
    connection = open_database(tmp_path / "b.sqlite")
    with pytest.raises(KeyError), transaction(connection):  # noqa: PT012 -- both lines matter
        connection.execute("INSERT INTO commands VALUES ('a', 0, NULL)")
        raise KeyError
    assert not connection.in_transaction
    assert connection.execute("SELECT count(*) FROM commands").fetchone() == (0,)
    connection.close()


def test_errors_are_told_apart(tmp_path: Path) -> None:
    """Damage, a full disk, and the rest."""
    damage, full = sqlite3.DatabaseError("malformed"), sqlite3.OperationalError("disk is full")
    assert is_damage(damage)
    assert not is_damage(full)
    assert type(translate(damage, tmp_path)) is BufferCorrupt
    assert type(translate(full, tmp_path)) is BufferFull
    assert (is_full(full), is_full(damage)) == (True, False)
    assert (is_busy(full), is_busy(sqlite3.OperationalError("database is locked"))) == (False, True)
    assert type(translate(sqlite3.OperationalError("locked"), tmp_path)) is BufferError_


@pytest.mark.timeout(10)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["pipe", "link", "second name"])
def test_what_was_planted_for_sqlite_is_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    """SQLite opens its own files by itself: it would wait for a pipe, or write a file of others."""
    path = tmp_path / "b.sqlite"
    open_database(path).close()
    victim, planted = tmp_path / "victim", tmp_path / f"b.sqlite{suffix}"
    victim.write_text("")
    planted.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(planted)
    elif kind == "link":
        planted.symlink_to(victim)
    else:
        planted.hardlink_to(victim)
    with pytest.raises(BufferError_):
        open_database(path)
    with pytest.raises(sqlite3.OperationalError):
        read_only(path)
    assert victim.read_text() == ""
