"""Opening the buffer's database, and setting one aside that cannot be used.

The file is a cache of what the brain has not yet: one that is damaged, or that another
version of the schema wrote, is renamed to ``<name>.corrupt-<n>`` with its companions and a
new one is made. Nothing of what it held is guessed at.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from z4j_otel.errors import BufferCorrupt, BufferError_, BufferFull

__all__ = ["SCHEMA_VERSION", "is_damage", "open_database", "set_aside", "transaction", "translate"]

SCHEMA_VERSION = 1
_SCHEMA = Path(__file__).with_name("schema.sql")
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    # In WAL mode this loses nothing when the process dies, only when the machine does.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=16777216",
)


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database, made with mode 0600 if it is missing.

    Returns:
        A connection in autocommit mode that threads may share under a lock.

    Raises:
        BufferCorrupt: The file is damaged, foreign, or of another schema version. It is
            left where it is: see :func:`set_aside`.
        BufferError_: The file cannot be opened or made.
    """
    try:
        # SQLite would make it readable for others; its companions take the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=32
        )
    except (OSError, sqlite3.Error) as error:
        raise BufferError_(f"buffer {path} cannot be opened: {error}") from error
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    except BufferCorrupt:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != 0 or tables != 0:
        raise BufferCorrupt(str(path), f"schema version {version}, not {SCHEMA_VERSION}")
    with transaction(connection):
        for statement in _SCHEMA.read_text(encoding="utf-8").split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def set_aside(path: Path) -> Path:
    """Rename a closed database and its companions out of the way and return its new path."""
    number = 1
    while (target := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return target


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run statements all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite itself may have rolled back
            connection.execute("ROLLBACK")
        raise


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, rather than busy or the disk full."""
    return type(error) is sqlite3.DatabaseError


def translate(error: sqlite3.Error, path: Path) -> BufferError_:
    """Return our error for one of SQLite's."""
    if is_damage(error):
        return BufferCorrupt(str(path), str(error))
    if "full" in str(error):
        return BufferFull(f"buffer {path}: {error}")
    return BufferError_(f"buffer {path}: {error}")
