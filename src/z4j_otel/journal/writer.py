"""The writing end of the journal: appends and nothing else.

The theory of operation is in :mod:`z4j_otel.journal`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

from z4j_otel.forks import call_in_child
from z4j_otel.journal.format import ACTIVE_NAME, MAX_FRAMED_BYTES, SEALED_MARK, frame
from z4j_otel.journal.ring import Ring
from z4j_otel.journal.segments import identity_of, unread_bytes

__all__ = ["FULL", "TOO_LARGE", "UNWRITABLE", "JournalWriter"]

FULL = "journal_full"
"""Dropped: the directory is at its cap and the ring was full."""
UNWRITABLE = "journal_unwritable"
"""Dropped: the file could not be written and the ring was full."""
TOO_LARGE = "too_large"
"""Dropped: the record is larger than ``MAX_RECORD_BYTES``."""

_CHECK_APPENDS = 256
_CHECK_NS = 1_000_000_000
_OPEN_ATTEMPTS = 3
_FLUSH_RECORDS = 32
_OPEN_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_CLOSED = -1


class JournalWriter:
    """Appends records to a journal from one process.

    Any number of writers in any number of processes may share a directory. Several threads
    may share one writer, except for :meth:`close`. Nothing is opened before the first
    append. A writer inherited by a forked child starts afresh there.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        """Remember where to write.

        Args:
            directory: The journal; made, mode 0700, at the first append if it is missing.
            max_bytes: Cap on the unread segments together; checked every 256 appends or
                once a second, so it may be passed by what is written in between.
        """
        self._directory = directory
        self._path = directory / ACTIVE_NAME
        self._max_bytes = max_bytes
        self._has_directory = False
        self._start_anew()
        call_in_child(self._begin_as_child)

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Write one record with one ``write(2)``; never raises and never waits.

        Args:
            record: At most 1 MiB.
            now_ns: Current time, nanoseconds since the Unix epoch; decides only how often
                to look at the directory.

        Returns:
            True when the record, and all before it, are in the file. False when it waits in
            memory for a later append, or was dropped: see :attr:`dropped`.
        """
        framed = frame(record)
        self._appends_left -= 1
        try:
            if (
                self._appends_left > 0
                and 0 <= now_ns - self._checked_ns < _CHECK_NS
                and self._pid == os.getpid()
                and os.pread(self._fd, 1, 0) != SEALED_MARK
                and len(framed) <= MAX_FRAMED_BYTES
                and os.write(self._fd, framed) == len(framed)
            ):
                return True
        except OSError as error:
            _pass_on_foreign(error)
        return self._append_slowly(framed, now_ns)

    def flush(self) -> bool:
        """Write what waits in memory; True when nothing waits any more."""
        if self._pid != os.getpid():
            return True
        with self._lock:
            return not len(self._ring) or self._write_ring(self._checked_ns, len(self._ring))

    @property
    def dropped(self) -> dict[str, int]:
        """Records lost by this writer in this process, by reason; a copy."""
        return dict(self._dropped)

    def close(self) -> None:
        """Flush and close; a later append opens again. No thread may be appending."""
        self.flush()
        with self._lock:
            self._close_descriptor()

    def _begin_as_child(self) -> None:
        """Close the parent's descriptor and forget its counters and waiting records."""
        self._close_descriptor()
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.RLock()  # re-entrant: a signal's handler may append, too
        self._ring = Ring()
        self._dropped: dict[str, int] = {}
        self._pid = os.getpid()
        self._fd = _CLOSED
        self._identity = (0, 0)
        self._is_full = False
        self._appends_left = 0
        self._checked_ns = 0

    def _append_slowly(self, framed: bytes, now_ns: int) -> bool:
        if self._pid != os.getpid():
            self._begin_as_child()
        with self._lock:
            if len(framed) > MAX_FRAMED_BYTES:
                self._count_dropped(TOO_LARGE, 1)
                return False
            left = self._ring.push(framed)
            is_written = self._write_ring(now_ns, _FLUSH_RECORDS)
            self._count_dropped(FULL if self._is_full else UNWRITABLE, left)
            return is_written

    def _write_ring(self, now_ns: int, limit: int) -> bool:
        """Write up to ``limit`` waiting records; True when none is left."""
        try:
            self._check(now_ns)
            while len(self._ring) and limit > 0 and not self._is_full:
                waiting = self._ring.oldest()
                if os.write(self._fd, waiting) != len(waiting):
                    break
                self._ring.pop()
                limit -= 1
        except OSError as error:
            _pass_on_foreign(error)
        if len(self._ring):
            # Nothing may overtake what waits: the next append comes here, too.
            self._appends_left = 0
            return False
        return True

    def _check(self, now_ns: int) -> None:
        """Make sure that the descriptor leads to the active segment, and know the cap."""
        if self._appends_left <= 0 or not 0 <= now_ns - self._checked_ns < _CHECK_NS:
            self._appends_left = _CHECK_APPENDS
            self._checked_ns = now_ns
            self._is_full = unread_bytes(self._directory) >= self._max_bytes
        try:
            behind_path = identity_of(self._path.stat())
        except FileNotFoundError:
            behind_path = None
        if not self._has_own_descriptor():
            self._fd = _CLOSED
        if self._fd == _CLOSED or behind_path != self._identity:
            self._open()

    def _open(self) -> None:
        if not self._has_directory:
            # Only once: whoever removes the directory later has retired this journal.
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._has_directory = True
        for _ in range(_OPEN_ATTEMPTS):
            fd = os.open(self._path, _OPEN_FLAGS, 0o600)
            try:
                is_ours = self._lock_segment(fd)
                if is_ours:
                    self._put_in_place(fd)
            finally:
                if fd != self._fd:
                    os.close(fd)
            if is_ours:
                return
        raise BlockingIOError(errno.EAGAIN, "the reader is removing the segment")

    def _lock_segment(self, fd: int) -> bool:
        """Leave the sign of life; False when the reader was quicker and removes the file."""
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return identity_of(self._path.stat()) == identity_of(os.fstat(fd))
        except (BlockingIOError, FileNotFoundError):
            return False

    def _put_in_place(self, fd: int) -> None:
        self._identity = identity_of(os.fstat(fd))
        if self._fd == _CLOSED:
            self._fd = fd
        else:
            os.dup2(fd, self._fd, inheritable=False)

    def _has_own_descriptor(self) -> bool:
        """Whether our number still means our file: a daemon may have closed everything."""
        if self._fd == _CLOSED:
            return False
        try:
            return identity_of(os.fstat(self._fd)) == self._identity
        except OSError:
            return False

    def _close_descriptor(self) -> None:
        if self._has_own_descriptor():
            os.close(self._fd)
        self._fd = _CLOSED

    def _count_dropped(self, reason: str, count: int) -> None:
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + count


def _pass_on_foreign(error: OSError) -> None:
    """Raise again what no system call raised: the application's signal handler did."""
    if error.errno is None:
        raise error
