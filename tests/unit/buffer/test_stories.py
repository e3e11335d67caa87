"""Stories stand once in the file, in the order of touch, and are found by a table in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from z4j_otel.buffer import stories
from z4j_otel.buffer.database import open_database


class SameHash(str):
    """A key whose hash is that of every other."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the place of a database."""
    return tmp_path / "b.sqlite"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a new database."""
    connection = open_database(path)
    yield connection
    connection.close()


def test_a_story_stands_once_and_last_where_it_was_touched_last(db: sqlite3.Connection) -> None:
    """Storing it again replaces it, also behind others."""
    stories.store(db, {"a": b"1", "b": b"2"})
    stories.store(db, {"a": b"3"})
    assert db.execute("SELECT task, body FROM stories ORDER BY turn").fetchall() == [
        ("b", b"2"),
        ("a", b"3"),
    ]
    assert (stories.recall(db, "a"), stories.recall(db, "c")) == (b"3", None)


def test_a_later_process_finds_them(db: sqlite3.Connection, path: Path) -> None:
    """The table in memory is made anew, and the file is not written for it."""
    stories.store(db, {"a": b"1", "b": b"2"})
    stories.store(db, {"a": b"3"})
    db.close()
    path.with_name("b.sqlite-wal").unlink(missing_ok=True)
    before = path.read_bytes()
    again = open_database(path)
    assert path.read_bytes() == before
    assert (stories.recall(again, "a"), stories.recall(again, "b")) == (b"3", b"2")
    stories.store(again, {"b": b"4"})
    assert stories.read_all(again) == {"a": b"3", "b": b"4"}
    assert list(stories.read_all(again)) == ["a", "b"]
    again.close()


def test_of_two_with_one_hash_the_latter_is_found_and_none_is_mixed_up(
    db: sqlite3.Connection,
) -> None:
    """A hash alone proves nothing."""
    stories.store(db, {SameHash("a"): b"1"})
    stories.store(db, {SameHash("b"): b"2"})
    assert stories.recall(db, SameHash("a")) is None
    assert stories.recall(db, SameHash("b")) == b"2"
    assert stories.read_all(db) == {"a": b"1", "b": b"2"}


def test_what_is_trimmed_or_forgotten_is_not_found(db: sqlite3.Connection) -> None:
    """The table in memory holds no more than the file."""
    stories.store(db, {"a": b"1", "b": b"2", "c": b"3"})
    stories.trim(db, 5)
    assert stories.keys(db) == ["a", "b", "c"]
    stories.trim(db, 2)
    assert (stories.recall(db, "a"), stories.recall(db, "b")) == (None, b"2")
    assert db.execute("SELECT count(*) FROM story_turns").fetchone() == (2,)
    stories.forget_all(db)
    assert stories.recall(db, "b") is None
    assert db.execute("SELECT count(*) FROM story_turns").fetchone() == (0,)


def test_what_a_transaction_takes_back_is_as_it_was(db: sqlite3.Connection) -> None:
    """A disk that takes nothing leaves both tables alone."""
    stories.store(db, {"a": b"1"})
    db.execute("BEGIN")
    stories.store(db, {"a": b"2"})
    db.execute("ROLLBACK")
    assert stories.recall(db, "a") == b"1"
