"""The buffer's disk: one database, the copy of its state beside it, and their repair.

What is in a buffer is decided in :mod:`z4j_otel.buffer.sqlite`; here it is written and read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Mapping
from pathlib import Path

from z4j_otel.buffer import accounts, statements, stories
from z4j_otel.buffer.database import (
    UNREADABLE,
    Connect,
    check_schema,
    make_file,
    open_database,
    read_only,
    reason_of,
    transaction,
)
from z4j_otel.buffer.home import make_private
from z4j_otel.buffer.mirror import MIRROR_BYTES, Mirror, read_mirror, write_mirror
from z4j_otel.buffer.names import aside_of, log_of, mirror_of
from z4j_otel.buffer.rebuilding import Rebuilder
from z4j_otel.buffer.state import State
from z4j_otel.buffer.unsaved import Unsaved
from z4j_otel.disk import Disk, open_own
from z4j_otel.errors import BufferCorrupt, BufferError_

__all__ = ["TRIM_EVERY", "Store"]

_log = logging.getLogger(__name__)

_PAGE_BYTES = 4096
TRIM_EVERY = 5_000
"""Stories stored between two looks at how many there are: so many more may be there."""
_CLOSED = -1

# Connections that a child inherited. SQLite forbids to use or close them there; held here,
# they are not closed by garbage collection either.
_inherited: list[sqlite3.Connection | None] = []


class Store:
    """One database file and what lies beside it. Its user has a lock."""

    def __init__(self, path: Path, *, max_file_bytes: int, disk: Disk, connect: Connect) -> None:
        self.path = path
        self.connection: sqlite3.Connection | None = None
        """None while there is no usable file."""
        self.rebuilt = 0
        """How often a file was replaced by a new one."""
        self._max_pages = max_file_bytes // _PAGE_BYTES
        self._disk = disk
        self._connect = connect
        self._rebuilder = Rebuilder(path, disk, connect)
        self._mirror_fd = _CLOSED
        self._inode = 0
        self._untrimmed = TRIM_EVERY

    def open(self) -> State:
        """Open the database, or a new one with all that is intact in the old.

        Returns:
            The state that is on disk.

        Raises:
            BufferError_: There is no way to have a file here; whatever is there is untouched.
        """
        try:
            self._rebuilder.finish()
            try:
                return self._open()
            except BufferError_ as error:
                return self._replace(None, error)
        except (OSError, *UNREADABLE) as error:
            self.close()
            raise BufferError_(f"buffer {self.path} cannot be opened: {error}") from error

    def replace(self, known: State, error: Exception) -> State:
        """Put a new file in place of one that turned out to be damaged.

        Args:
            known: What should be on disk.
            error: What showed it.

        Raises:
            BufferError_: No new file can be made; the old one stays in use, if it was.
        """
        try:
            return self._replace(known, error)
        except (OSError, *UNREADABLE) as another:
            raise BufferError_(f"buffer {self.path} cannot be replaced: {another}") from another

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is open."""
        try:
            return self._disk.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def put_back(self, known: State) -> State:
        """Write the file anew after somebody removed it from its path.

        Raises:
            BufferError_: It cannot be written; the removed one stays in use.
        """
        assert self.connection is not None
        old, rows = self.connection, statements.intact_rows(self.connection)
        try:
            make_private(self.path.parent)
            self._rebuilder.rebuild(known, rows=rows, old=old, release=self.close)
            state = self._open()
        except (OSError, *UNREADABLE) as error:
            raise BufferError_(f"buffer {self.path} cannot be put back: {error}") from error
        _log.warning(
            "buffer %s was removed while it was in use and is written anew, nothing in it is "
            "lost; find out what deletes files there",
            self.path,
            extra={"action": "buffer_put_back"},
        )
        return state

    def save(self, state: State, unsaved: Unsaved, kept: Mapping[str, bytes]) -> None:
        """Write all that is not on disk yet, all or nothing; ``unsaved`` is left as it is.

        Args:
            state: What is held, then.
            unsaved: What is to be written.
            kept: All accounts, then.

        Raises:
            UNREADABLE: Nothing was written.
        """
        connection = self.connection
        assert connection is not None
        # Never used twice, so that what a failed transaction left in the log stays behind.
        state.generation += 1
        record = state.encode()
        with transaction(connection):
            statements.delete_entries(connection, unsaved.gone)
            statements.insert_entries(connection, unsaved.rows.values())
            statements.store_beside(connection, unsaved)
            self._trim_stories(connection, len(unsaved.stories))
            statements.store_state(connection, record)
        self._mirror(write_mirror(record, state.generation, kept))

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether the file may grow by so much, and by what the pages waste, at its cap."""
        connection = self.connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        return bool((self._max_pages - pages + free) * _PAGE_BYTES > 2 * size_bytes + 65_536)

    def close(self) -> None:
        """Close the files. Idempotent."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(*UNREADABLE):  # a damaged file
                connection.close()
        fd, self._mirror_fd = self._mirror_fd, _CLOSED
        if fd != _CLOSED:
            self._disk.close(fd)

    def leave_to_parent(self) -> None:
        """Give up the files, in a forked child, without closing the parent's connection."""
        _inherited.append(self.connection)
        self.connection = None
        self.close()

    def _trim_stories(self, connection: sqlite3.Connection, added: int) -> None:
        self._untrimmed += added
        if self._untrimmed > TRIM_EVERY:
            stories.trim(connection, stories.STORIES_KEPT)
            self._untrimmed = 0

    def _replace(self, known: State | None, error: Exception) -> State:
        self._rebuilder.rebuild(known, release=self.close)
        self.rebuilt += 1
        _log.error(
            "buffer %s could not be used (%s) and was written anew with all that is intact, "
            "the rest is counted; the old file is %s: check the disk, then delete it",
            self.path,
            reason_of(error),
            aside_of(self.path).name,
            extra={"action": "buffer_rebuilt"},
        )
        return self._open()

    def _open(self) -> State:
        self.close()
        mirror = self._open_mirror()
        try:
            state = self._look(mirror)
            connection = open_database(self.path, disk=self._disk, connect=self._connect)
        except UNREADABLE as error:
            raise BufferCorrupt(str(self.path), str(error)) from error
        connection.execute(f"PRAGMA max_page_count={self._max_pages}")
        self._inode = self._disk.stat(self.path).st_ino
        self.connection = connection
        return state

    def _look(self, mirror: Mirror | None) -> State:
        """Return the state of a file, verified, before anything can be written to it.

        SQLite throws away a log that it cannot use as soon as it may write.

        Raises:
            BufferCorrupt: It is not what it says it is.
            BufferError_: It cannot be opened.
            UNREADABLE: Something cannot be read.
        """
        if not make_file(self.path, disk=self._disk):
            if mirror is not None or self._has_log():
                raise BufferCorrupt(str(self.path), "it is empty or missing")
            return State.begin()
        with contextlib.closing(read_only(self.path, self._connect)) as connection:
            check_schema(connection, self.path)
            return _verified(connection, mirror, self.path)

    def _has_log(self) -> bool:
        """Whether there is a log, which SQLite would throw away without its database."""
        try:
            status = self._disk.lstat(log_of(self.path))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size > 0

    def _open_mirror(self) -> Mirror | None:
        """Open the copy of state and accounts, and return what it says."""
        path = mirror_of(self.path)
        try:
            self._mirror_fd = open_own(path, os.O_RDWR | os.O_CREAT, disk=self._disk)
            return read_mirror(self._disk.read_at(self._mirror_fd, MIRROR_BYTES, 0))
        except OSError:
            # A link or a directory in its place, or no room: the database has the state, too.
            return None

    def _mirror(self, record: bytes) -> None:
        if self._mirror_fd != _CLOSED:
            with contextlib.suppress(OSError):
                self._disk.write_at(self._mirror_fd, record, 0)


def _verified(connection: sqlite3.Connection, mirror: Mirror | None, path: Path) -> State:
    """Return the state in a database, if entries and accounts are what it says.

    Raises:
        BufferCorrupt: They are not, or the other copy of the state is newer.
        UNREADABLE: Something cannot be read.
    """
    mirrored = None if mirror is None else mirror.state
    state = statements.read_state(connection)
    if state is None:
        if mirrored is not None or statements.has_entries(connection):
            raise BufferCorrupt(str(path), "no state")
        return State.begin()  # its maker died before it stored anything
    if mirrored is not None and mirrored.generation > state.generation:
        raise BufferCorrupt(str(path), "the newest changes are missing")
    found = State()
    for row in statements.all_rows(connection):
        if row is None or row.sequence <= found.last_sequence:
            raise BufferCorrupt(str(path), "an entry is damaged")
        found.add(row.sequence, statements.KINDS[row.kind], len(row.body))
    if found.totals != state.totals:
        raise BufferCorrupt(str(path), "entries are missing")
    # An older copy was not written any more: its process died right behind the commit.
    is_same = mirror is not None and mirror.state.generation == state.generation
    if is_same and mirror and mirror.accounts not in (None, accounts.read_all(connection)):
        raise BufferCorrupt(str(path), "an account is damaged")
    state.runs = found.runs
    return state
