"""A process's view of the disk, in which any system call can fail or be its last.

A *process* is a :class:`FaultyDisk`. When it dies, every further call of it raises
:class:`Crash`, its descriptors are closed, and SQLite's files are put back to what they were
at that moment: closing a connection properly would tidy up. A commit can be cut off after
any number of bytes of its log.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from z4j_otel.disk import DISK, Disk

WRITING = ("INSERT", "REPLACE", "DELETE", "CREATE", "COMMIT", "UPDATE")
CALLS = [name for name in vars(Disk) if not name.startswith("_")]
_CREATING = os.O_CREAT


class Crash(BaseException):
    """The process is killed here."""


class FaultyDisk:
    """The system calls of one process."""

    def __init__(self) -> None:
        self.calls = 0
        """System calls and statements so far."""
        self.is_dead = False
        self.room_bytes: int | None = None
        """How much fits on the disk; None when there is room."""
        self.is_read_only = False
        self._fuse: int | None = None
        self._is_behind = False
        self._share = 0.0
        self._error: int | None = None
        self._fds: set[int] = set()
        self._connections: list[tuple[str, FaultyConnection]] = []
        self._torn_log: tuple[Path, bytes] | None = None
        for name in CALLS:
            setattr(self, name, self._wrapped(name, getattr(DISK, name)))

    def arm(self, fuse: int, *, is_behind: bool, share: float, error: int | None) -> None:
        """Let a call fail, or be the last.

        Args:
            fuse: Which of the next calls, from 1.
            is_behind: Whether a last call still takes effect.
            share: How much of a write takes effect when it is the last, or fails.
            error: What it fails with; None kills.
        """
        self._fuse, self._is_behind, self._share, self._error = fuse, is_behind, share, error

    def disarm(self) -> None:
        """Forget about the fuse."""
        self._fuse = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let a test look without being counted."""
        fuse, self._fuse = self._fuse, None
        try:
            yield
        finally:
            self._fuse = fuse

    def connect(self, database: Any, **more: Any) -> sqlite3.Connection:
        """Open a database whose statements are calls, too."""
        is_last = self._count("connect", None)
        connection = sqlite3.connect(database, factory=FaultyConnection, **more)
        connection.disk = self
        if not more.get("uri"):
            self._connections.append((os.fspath(database), connection))
        if is_last:
            self.is_dead = True
            raise Crash
        return connection

    def die(self) -> None:
        """Leave the disk as a killed process does."""
        self.is_dead = True
        kept: dict[Path, bytes | None] = {}
        for path, connection in self._connections:
            if connection.is_open:
                for suffix in ("", "-wal"):
                    kept.setdefault(Path(path + suffix), _bytes_of(Path(path + suffix)))
        if self._torn_log is not None:
            path, data = self._torn_log
            kept[path] = data
        for _, connection in self._connections:
            sqlite3.Connection.close(connection)
        for path, data in kept.items():
            _put_back(path, data)
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            partly = None
            if name in ("write", "write_at"):
                fd, data, *rest = args
                partly = lambda share: call(fd, data[: int(len(data) * share)], *rest)  # noqa: E731
            is_last = self._count(name, partly)
            try:
                result = self._within_room(name, call, args, more)
                self._track(name, args, result)
            finally:
                if is_last:  # also where the call fails by itself
                    self.is_dead = True
                    raise Crash
            return result

        return wrapped

    def _count(self, name: str, partly: Callable[[float], Any] | None) -> bool:
        """Count a call; True when it takes effect and is the last."""
        if self.is_dead:
            raise Crash
        self.calls += 1
        if self._fuse is None:
            return False
        self._fuse -= 1
        if self._fuse > 0:
            return False
        self._fuse = None
        if self._error is not None:
            if partly is not None:
                partly(self._share)
            raise OSError(self._error, os.strerror(self._error))
        if self._is_behind:
            return True
        if partly is not None:
            partly(self._share)
        self.is_dead = True
        raise Crash

    def _within_room(
        self, name: str, call: Callable[..., Any], args: tuple[Any, ...], more: dict[str, Any]
    ) -> Any:
        is_change = name in ("write", "write_at", "mkdir", "rename", "link", "unlink", "truncate")
        is_change |= name == "open" and bool(args[1] & _CREATING) and not os.path.lexists(args[0])
        if self.is_read_only and is_change:
            raise OSError(errno.EROFS, "read-only file system")
        if self.room_bytes is None or not is_change or name in ("rename", "unlink", "truncate"):
            return call(*args, **more)
        if name != "write":
            if name == "write_at" or not self.room_bytes:
                raise OSError(errno.ENOSPC, "no space left on device")
            return call(*args, **more)
        fd, data = args
        fits = data[: self.room_bytes]
        if data and not fits:
            raise OSError(errno.ENOSPC, "no space left on device")
        self.room_bytes -= len(fits)
        return call(fd, fits)

    def _track(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        if name == "open":
            self._fds.add(result)
        elif name == "close":
            self._fds.discard(args[0])

    # What connections ask.

    def before_statement(self, sql: str) -> bool:
        """Count a statement; True when it takes effect and is the last."""
        if self.is_read_only and sql.startswith(WRITING):
            raise sqlite3.OperationalError("attempt to write a readonly database")
        if self.room_bytes is not None and sql.startswith(WRITING):
            raise sqlite3.OperationalError("database or disk is full")
        try:
            return self._count(sql, None)
        except OSError as error:
            text = "database or disk is full" if error.errno == errno.ENOSPC else "disk I/O error"
            raise sqlite3.OperationalError(text) from error

    def tear(self, connection: FaultyConnection, commit: Callable[[], object]) -> None:
        """Commit, and be killed when only a part of the log has been written."""
        path = Path(next(path for path, each in self._connections if each is connection) + "-wal")
        before = _bytes_of(path) or b""
        commit()
        after = _bytes_of(path) or b""
        first = 0
        while before[first : first + 1] == after[first : first + 1] != b"":
            first += 1
        cut = first + int((len(after) - first) * self._share)
        self._torn_log = path, after[:cut] + before[cut:]
        self.is_dead = True
        raise Crash


class FaultyConnection(sqlite3.Connection):
    """A connection whose statements are calls of its process."""

    disk: FaultyDisk
    is_open = True

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Execute, or not."""
        is_last = self.disk.before_statement(sql)
        if is_last and sql == "COMMIT" and self.disk._share < 1:
            self.disk.tear(self, lambda: sqlite3.Connection.execute(self, sql))
        cursor = super().execute(sql, *args)
        if is_last:
            self.disk.is_dead = True
            raise Crash
        return cursor

    def executemany(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """Execute, or not."""
        is_last = self.disk.before_statement(sql)
        cursor = super().executemany(sql, *args)
        if is_last:
            self.disk.is_dead = True
            raise Crash
        return cursor

    def close(self) -> None:
        """Close, unless the process is dead: then it is left to :meth:`FaultyDisk.die`."""
        if not self.disk.is_dead:
            self.is_open = False
            super().close()


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _put_back(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
        return
    # In place: another file's name would be another file.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.ftruncate(fd, 0)
    os.write(fd, data)
    os.close(fd)
