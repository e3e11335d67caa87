"""The writing end of the journal: appends and nothing else.

The theory of operation is in :mod:`z4j_otel.journal`.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from z4j_otel.disk import DISK, Disk, is_own_directory, open_own
from z4j_otel.forks import call_in_child
from z4j_otel.journal.format import (
    ACTIVE_NAME,
    LOSSES,
    MAX_FRAMED_BYTES,
    SEALED_MARK,
    WriterId,
    frame,
)
from z4j_otel.journal.ring import Ring
from z4j_otel.journal.segments import identity_of, unread_bytes

__all__ = ["FULL", "TOO_LARGE", "UNWRITABLE", "JournalWriter"]

FULL = "journal_full"
"""Dropped: the directory is at its cap and the ring was full."""
UNWRITABLE = "journal_unwritable"
"""Dropped: the file could not be written and the ring was full."""
TOO_LARGE = "too_large"
"""Dropped: the record is larger than ``MAX_RECORD_BYTES``."""

_CHECK_BYTES = 256 * 1024
"""How much a writer appends between two looks at the directory."""
_CHECK_NS = 1_000_000_000
_OPEN_ATTEMPTS = 3
_FLUSH_RECORDS = 32
_OPEN_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT
_CLOSED = -1


class JournalWriter:
    """Appends records to a journal from one process.

    Any number of writers in any number of processes may share a directory. Several threads
    may share one writer, except for :meth:`close`. Nothing is opened before the first
    append. A writer inherited by a forked child starts afresh there.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        successor: Callable[[], Path | None] | None = None,
        disk: Disk = DISK,
    ) -> None:
        """Remember where to write.

        Args:
            directory: The journal; made, mode 0700, at the first append if it is missing
                and there is no ``successor``.
            max_bytes: Cap on the unread segments together. One writer never passes it;
                each further one, which may write at the same time, by 256 KiB at most.
            successor: Asked, at most once a second, when the directory is gone: its agent is
                dead and somebody has taken everything over. Returns another directory to
                write to, which exists, or None.
            disk: The system calls to use.
        """
        self._disk = disk
        self._directory = directory
        self._path = directory / ACTIVE_NAME
        self._max_bytes = max_bytes
        self._has_directory = successor is not None
        self._successor = successor
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
        if self._pid != os.getpid():
            self._begin_as_child()
        # Taken without a lock, so that threads may append in another order than that of
        # their numbers; a number that is taken is written or counted as lost.
        sequence = next(self._numbers)
        framed = frame(record, self._writer, sequence)
        self._bytes_left -= len(framed)
        try:
            if (
                self._bytes_left >= 0
                and 0 <= now_ns - self._checked_ns < _CHECK_NS
                and self._disk.read_at(self._fd, 1, 0) != SEALED_MARK
                and self._disk.write(self._fd, framed) == len(framed)
            ):
                return True
        except OSError as error:
            _pass_on_foreign(error)
        return self._append_slowly(framed, sequence, now_ns)

    def count_lost(self, reason: str, count: int = 1) -> None:
        """Count records that never became bytes, as if they had been appended and dropped."""
        if self._pid != os.getpid():
            self._begin_as_child()
        with self._lock:
            for _ in range(count):
                self._highest = next(self._numbers)
            self._count_dropped(reason, count)

    def flush(self) -> bool:
        """Write what waits in memory, losses included; True when nothing waits any more."""
        if self._pid != os.getpid():
            return True
        with self._lock:
            if self._is_writing:
                return False  # whoever was interrupted for this goes on with it
            if not (len(self._ring) or self._arrived or self._has_untold):
                return True
            return self._write_arrived(self._checked_ns, limit=len(self._ring) + len(self._arrived))

    @property
    def writer_id(self) -> WriterId:
        """Who we are in this process."""
        return self._writer

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
        self._is_writing = False
        self._arrived: deque[tuple[bytes, int]] = deque()
        self._ring = Ring()
        self._dropped: dict[str, int] = {}
        self._has_untold = False
        self._pid = os.getpid()
        self._writer = WriterId(self._pid, int.from_bytes(os.urandom(4), "big"))
        self._numbers = itertools.count(1)
        self._highest = 0
        self._fd = _CLOSED
        self._identity = (0, 0)
        self._is_full = False
        self._bytes_left = 0
        self._checked_ns = 0
        self._asked_ns = -_CHECK_NS

    def _append_slowly(self, framed: bytes, sequence: int, now_ns: int) -> bool:
        with self._lock:
            self._arrived.append((framed, sequence))
            if self._is_writing:
                # We are a signal's handler: whom it interrupted, between any two
                # instructions, finds ring and file as they were, and this record behind it.
                return False
            return self._write_arrived(now_ns, limit=_FLUSH_RECORDS)

    def _write_arrived(self, now_ns: int, *, limit: int) -> bool:
        """Take what has arrived, also meanwhile, and write; True when nothing is left."""
        while True:
            self._is_writing = True
            try:
                is_whole = True
                while self._arrived:
                    is_whole = self._take(*self._arrived.popleft()) and is_whole
                is_written = is_whole and self._write_ring(now_ns, limit)
            finally:
                self._is_writing = False
            # What arrives from here on is written by whoever brings it.
            if not self._arrived:
                return is_written

    def _take(self, framed: bytes, sequence: int) -> bool:
        """Put a record behind those that wait; False when it is too large for a journal."""
        self._highest = max(self._highest, sequence)
        if len(framed) > MAX_FRAMED_BYTES:
            self._count_dropped(TOO_LARGE, 1)
            return False
        left = self._ring.push(framed)
        self._count_dropped(FULL if self._is_full else UNWRITABLE, left)
        return True

    def _write_ring(self, now_ns: int, limit: int) -> bool:
        """Write up to ``limit`` waiting records; True when none is left."""
        try:
            self._check(now_ns)
            # Losses come first, so that the reader knows the reason before it sees the gap.
            is_open = not self._has_untold or self._tell_losses()
            while len(self._ring) and limit > 0 and is_open:
                is_open = self._write(self._ring.oldest())
                if is_open:
                    self._ring.pop()
                    limit -= 1
        except OSError as error:
            _pass_on_foreign(error)
        if len(self._ring) or self._has_untold:
            # Nothing may overtake what waits: the next append comes here, too.
            self._bytes_left = 0
            return False
        return True

    def _write(self, framed: bytes) -> bool:
        """Write a record if there is room for it, and all of it could be written."""
        if self._bytes_left < len(framed):
            self._measure(len(framed))
        self._is_full = self._bytes_left < len(framed)
        if self._is_full:
            return False
        self._bytes_left -= len(framed)
        return self._disk.write(self._fd, framed) == len(framed)

    def _tell_losses(self) -> bool:
        """Write what was dropped since this writer began: repeating it counts nothing twice."""
        told = json.dumps(self._dropped, separators=(",", ":")).encode()
        self._has_untold = not self._write(frame(told, self._writer, self._highest, LOSSES))
        return not self._has_untold

    def _measure(self, least_bytes: int = 0) -> None:
        """See how much may be written before the next look, or as much as is needed now."""
        room = self._max_bytes - unread_bytes(self._directory, self._disk)
        self._bytes_left = min(room, max(_CHECK_BYTES, least_bytes))

    def _check(self, now_ns: int) -> None:
        """Make sure that the descriptor leads to the active segment, and know the cap."""
        if self._bytes_left <= 0 or not 0 <= now_ns - self._checked_ns < _CHECK_NS:
            self._checked_ns = now_ns
            self._bytes_left = 0  # measured before the next write
        try:
            behind_path = identity_of(self._disk.stat(self._path))
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
        may_move = not 0 <= self._checked_ns - self._asked_ns < _CHECK_NS
        for _ in range(_OPEN_ATTEMPTS):
            try:
                if not is_own_directory(self._directory, disk=self._disk):
                    raise NotADirectoryError(errno.ENOTDIR, "no directory of ours")
                fd = open_own(self._path, _OPEN_FLAGS, disk=self._disk)
            except FileNotFoundError:
                if not may_move or not self._move():
                    raise
                continue
            try:
                is_ours = self._lock_segment(fd)
                if is_ours:
                    self._put_in_place(fd)
            finally:
                if fd != self._fd:
                    self._disk.close(fd)
            if is_ours:
                return
        raise BlockingIOError(errno.EAGAIN, "the reader is removing the segment")

    def _move(self) -> bool:
        """Go where records are read, now that this directory is gone."""
        self._asked_ns = self._checked_ns
        directory = None if self._successor is None else self._successor()
        if directory is None:
            return False
        self._directory, self._path = directory, directory / ACTIVE_NAME
        return True

    def _lock_segment(self, fd: int) -> bool:
        """Leave the sign of life; False when the reader was quicker and removes the file."""
        try:
            self._disk.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return identity_of(self._disk.stat(self._path)) == identity_of(self._disk.fstat(fd))
        except (BlockingIOError, FileNotFoundError):
            return False

    def _put_in_place(self, fd: int) -> None:
        self._identity = identity_of(self._disk.fstat(fd))
        if self._fd == _CLOSED:
            self._fd = fd
        else:
            self._disk.dup2(fd, self._fd, inheritable=False)

    def _has_own_descriptor(self) -> bool:
        """Whether our number still means our file: a daemon may have closed everything."""
        if self._fd == _CLOSED:
            return False
        try:
            return identity_of(self._disk.fstat(self._fd)) == self._identity
        except OSError as error:
            if error.errno != errno.EBADF:
                raise  # it is ours, and holds our lock: it must not be forgotten
            return False

    def _close_descriptor(self) -> None:
        with suppress(OSError):
            if self._has_own_descriptor():
                self._disk.close(self._fd)
        self._fd = _CLOSED

    def _count_dropped(self, reason: str, count: int) -> None:
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + count
            self._has_untold = True
            self._bytes_left = 0


def _pass_on_foreign(error: OSError) -> None:
    """Raise again what no system call raised: the application's signal handler did."""
    if error.errno is None:
        raise error
