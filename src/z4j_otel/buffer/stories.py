"""What the arbiter remembers of each task, as rows beside the entries it judged.

Functions of a connection; the transaction is the caller's. A body means nothing here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

__all__ = ["STORIES_KEPT", "forget_all", "keys", "read_all", "recall", "store", "trim"]

STORIES_KEPT = 50_000
"""Most tasks remembered, about 250 bytes each; those touched last stay."""


def store(connection: sqlite3.Connection, stories: Mapping[str, bytes]) -> None:
    """Replace stories by key; each is then the one touched last."""
    if stories:
        # Without a number a replaced row gets the highest: their order is that of touch.
        connection.executemany(
            "REPLACE INTO stories (task, body) VALUES (?, ?)", list(stories.items())
        )


def recall(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return a story, or None."""
    row = connection.execute("SELECT body FROM stories WHERE task = ?", (key,)).fetchone()
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


def trim(connection: sqlite3.Connection, kept: int) -> None:
    """Delete all but the ``kept`` stories touched last."""
    connection.execute(
        "DELETE FROM stories WHERE turn <="
        " (SELECT turn FROM stories ORDER BY turn DESC LIMIT 1 OFFSET ?)",
        (kept,),
    )
