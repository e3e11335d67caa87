"""Opening the buffer's database, and what SQLite's errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from z4j_otel.buffer import stories
from z4j_otel.buffer.names import SQLITES, beside
from z4j_otel.disk import DISK, Disk, open_own, what_is_wrong_with
from z4j_otel.errors import BufferCorrupt, BufferError_, BufferFull

__all__ = [
    "SCHEMA_VERSION",
    "UNREADABLE",
    "Connect",
    "check_schema",
    "is_busy",
    "is_damage",
    "is_full",
    "is_read_only",
    "make_file",
    "make_tables",
    "open_database",
    "read_only",
    "reason_of",
    "transaction",
    "translate",
]

SCHEMA_VERSION = 3
UNREADABLE = (sqlite3.Error, ValueError, TypeError, OverflowError)
"""What reading a damaged database raises: Python cannot even decode some of SQLite's texts."""
Connect = Callable[..., sqlite3.Connection]
"""Opens a database as :func:`sqlite3.connect` does."""
_NOT_OURS = frozenset({errno.EINVAL, errno.EMLINK})
_SCHEMA = Path(__file__).with_name("schema.sql")
_PRAGMAS = (
    "PRAGMA page_size=4096",
    "PRAGMA journal_mode=WAL",
    # In WAL mode this loses nothing when the process dies, only when the machine does.
    "PRAGMA synchronous=NORMAL",
    "PRAGMA temp_store=MEMORY",
    # Redacted before it came here; zeros over it would be written and logged as well.
    "PRAGMA secure_delete=OFF",
    "PRAGMA journal_size_limit=4194304",
)


def open_database(
    path: Path, *, disk: Disk = DISK, connect: Connect = sqlite3.connect
) -> sqlite3.Connection:
    """Open a database, made with mode 0600 if it is missing.

    Returns:
        A connection in autocommit mode that threads may share under a lock.

    Raises:
        BufferCorrupt: The file is damaged, foreign, or of another schema version. It is
            left where it is: see :mod:`z4j_otel.buffer.rebuilding`.
        BufferError_: The file cannot be opened or made.
    """
    is_new = not make_file(path, disk=disk)
    try:
        connection = connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=32
        )
    except sqlite3.Error as error:
        raise BufferError_(f"buffer {path} cannot be opened: {error}") from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if is_new:
            with transaction(connection):
                make_tables(connection)
        check_schema(connection, path)
        stories.begin(connection)
    except UNREADABLE as error:
        connection.close()
        raise translate(error, path) from error
    except BufferCorrupt:
        connection.close()
        raise
    return connection


def make_file(path: Path, *, disk: Disk = DISK) -> bool:
    """Make the file of a database, mode 0600, if it is missing.

    Returns:
        Whether there is anything in it.

    Raises:
        BufferCorrupt: It, or what SQLite keeps beside it, is something else than a file of
            ours.
        BufferError_: It cannot be opened or made; links are not followed.
    """
    try:
        # SQLite would make it readable for others; its companions take the same mode.
        fd = open_own(path, os.O_RDWR | os.O_CREAT, disk=disk)
        size_bytes = disk.fstat(fd).st_size
        disk.close(fd)
    except OSError as error:
        if error.errno in _NOT_OURS:
            raise BufferCorrupt(str(path), str(error.strerror)) from error
        raise BufferError_(f"buffer {path} cannot be opened: {error}") from error
    if problem := _stranger_beside(path):
        raise BufferCorrupt(str(path), problem)
    return size_bytes > 0


def _stranger_beside(path: Path) -> str:
    """Return what has the name of one of SQLite's own files, which it opens by itself."""
    return next(filter(None, (_stranger_at(beside(path, suffix)) for suffix in SQLITES)), "")


def _stranger_at(path: Path) -> str:
    """Return what there is in the place of a file of ours; nothing if there is none."""
    # Not by opening it: closing would end the locks that SQLite holds in this process.
    try:
        problem = what_is_wrong_with(path.lstat())[1]
    except OSError:
        return ""
    return f"{path.name} is {problem}" if problem else ""


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse another version than ours.

    Raises:
        BufferCorrupt: It is older, newer or foreign.
        UNREADABLE: It cannot be read.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_VERSION:
        raise BufferCorrupt(str(path), f"schema version {version}, not {SCHEMA_VERSION}")


def read_only(path: Path, connect: Connect = sqlite3.connect) -> sqlite3.Connection:
    """Open a database for reading, whatever its schema; nothing is made.

    Raises:
        sqlite3.Error: It cannot be opened. Damage shows when it is read.
    """
    if problem := _stranger_at(path) or _stranger_beside(path):
        raise sqlite3.OperationalError(problem)
    connection: sqlite3.Connection = connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )
    return connection


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of this version, within the caller's transaction."""
    for statement in _SCHEMA.read_text(encoding="utf-8").split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


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


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file is damaged, rather than busy or the disk full."""
    return type(error) is sqlite3.DatabaseError or not isinstance(error, sqlite3.Error)


def is_busy(error: Exception) -> bool:
    """Whether somebody else keeps the file locked at the moment."""
    return "locked" in str(error)


def is_read_only(error: Exception) -> bool:
    """Whether the file, or the file system, must not be written."""
    return "readonly" in str(error)


def is_full(error: Exception) -> bool:
    """Whether the disk is full, or the file as large as it may become."""
    return "full" in str(error)


def reason_of(error: Exception) -> str:
    """Return what went wrong in a few words: without path and number, for a line of the log."""
    if isinstance(error, BufferCorrupt):
        return error.reason
    cause = error.__cause__ or error
    return (isinstance(cause, OSError) and cause.strerror) or str(cause)


def translate(error: Exception, path: Path) -> BufferError_:
    """Return our error for one of SQLite's."""
    if is_damage(error):
        return BufferCorrupt(str(path), str(error))
    if is_full(error):
        return BufferFull(f"buffer {path}: {error}")
    return BufferError_(f"buffer {path}: {error}")
