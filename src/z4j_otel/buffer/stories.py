"""What the arbiter remembers of each task, as rows beside the entries it judged.

Functions of a connection; the transaction is the caller's. A body means nothing here.

Stories stand in the file in the order of touch. Which row is whose, a table in memory says:
an index in the file changed a page of its own for nearly every task, as tasks' ids are
random, and quadrupled what the file's log had to take.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

__all__ = ["STORIES_KEPT", "begin", "forget_all", "keys", "read_all", "recall", "store", "trim"]

STORIES_KEPT = 50_000
"""Most tasks remembered, about 250 bytes each; those touched last stay."""


def begin(connection: sqlite3.Connection) -> None:
    """Have a connection know which row is whose; :func:`store` and :func:`recall` need it.

    Keys are known by their hash, for as long as the process lives. Of two with the same hash
    the one touched last is found.
    """
    known = connection.execute("SELECT task, turn FROM stories ORDER BY turn")
    turns = [(hash(task), turn) for task, turn in known]
    # Nothing of the file is written, so it may be full or read-only.
    connection.execute("BEGIN")
    connection.execute(
        "CREATE TEMP TABLE story_turns (task INTEGER PRIMARY KEY, turn INTEGER NOT NULL)"
    )
    connection.executemany("REPLACE INTO story_turns VALUES (?, ?)", turns)
    connection.execute("COMMIT")


def store(connection: sqlite3.Connection, stories: Mapping[str, bytes]) -> None:
    """Replace stories by key; each is then the one touched last."""
    if not stories:
        return
    (last,) = connection.execute("SELECT ifnull(max(turn), 0) FROM stories").fetchone()
    connection.executemany(
        "DELETE FROM stories WHERE turn = (SELECT turn FROM story_turns WHERE task = ?)"
        " AND task = ?",
        [(hash(key), key) for key in stories],
    )
    numbered = list(enumerate(stories.items(), last + 1))
    connection.executemany(
        "INSERT INTO stories VALUES (?, ?, ?)",
        [(turn, key, body) for turn, (key, body) in numbered],
    )
    connection.executemany(
        "REPLACE INTO story_turns VALUES (?, ?)", [(hash(key), turn) for turn, (key, _) in numbered]
    )


def recall(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return a story, or None."""
    row = connection.execute(
        "SELECT body FROM stories WHERE turn = (SELECT turn FROM story_turns WHERE task = ?)"
        " AND task = ?",
        (hash(key), key),
    ).fetchone()
    return None if row is None else row[0]


def keys(connection: sqlite3.Connection) -> list[str]:
    """Return the keys of all stories, the one touched last at the end."""
    return [key for (key,) in connection.execute("SELECT task FROM stories ORDER BY turn")]


def read_all(connection: sqlite3.Connection) -> dict[str, bytes]:
    """Return every story, the one touched last at the end."""
    return dict(connection.execute("SELECT task, body FROM stories ORDER BY turn"))


def forget_all(connection: sqlite3.Connection) -> None:
    """Delete every story."""
    connection.execute("DELETE FROM stories")
    connection.execute("DELETE FROM story_turns")


def trim(connection: sqlite3.Connection, kept: int) -> None:
    """Delete all but the ``kept`` stories touched last."""
    oldest = connection.execute(
        "SELECT turn FROM stories ORDER BY turn DESC LIMIT 1 OFFSET ?", (kept,)
    ).fetchone()
    if oldest is not None:
        connection.execute("DELETE FROM stories WHERE turn <= ?", oldest)
        connection.execute("DELETE FROM story_turns WHERE turn <= ?", oldest)
