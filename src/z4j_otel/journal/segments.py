"""One segment file: which it is, its size, its bytes, its seal and its removal.

The theory of operation is in :mod:`z4j_otel.journal`.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from z4j_otel.journal.format import (
    DRAINED_PREFIX,
    HEADER_BYTES,
    MAX_FRAMED_BYTES,
    OPEN_MARK,
    SEALED_MARK,
    Scan,
    drained_name,
    scan,
    sealed_name,
    segment_number,
)

__all__ = ["Segment", "identity_of", "unread_bytes"]

_WINDOW_BYTES = 256 * 1024


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from every other that exists at the same time."""
    return status.st_dev, status.st_ino


def unread_bytes(directory: Path) -> int:
    """Return the size of all segments that count against the cap; 0 without a directory."""
    total = 0
    try:
        for path in directory.iterdir():
            if not path.name.startswith(DRAINED_PREFIX):
                total += path.stat().st_size
    except FileNotFoundError:  # a segment was renamed or removed meanwhile: look again soon
        return total
    return total


class Segment:
    """An open segment and how far it has been read. Used by one thread."""

    def __init__(self, path: Path) -> None:
        """Open a segment for reading; raises ``OSError``."""
        self.path = path
        self.number = segment_number(path.name)
        """Its number when sealed, or None for the active segment."""
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self.inode = os.fstat(self.fd).st_ino
        self.offset = 0
        """Bytes read so far."""
        self.is_torn = False
        """Whether it ended, when last read, in a record that may be in the making."""

    @property
    def size(self) -> int:
        """Present size in bytes."""
        return os.fstat(self.fd).st_size

    @property
    def is_sealed(self) -> bool:
        """Whether the first byte sends writers away."""
        return os.pread(self.fd, 1, 0) == SEALED_MARK

    @property
    def key(self) -> str:
        """Its name in a position."""
        return "active" if self.number is None else str(self.number)

    def checksum(self) -> int:
        """Return a checksum of the first header, which tells it from a recycled inode."""
        return zlib.crc32(os.pread(self.fd, HEADER_BYTES, 0)[1:])

    def is_at_path(self) -> bool:
        """Whether its path still leads to it."""
        try:
            return identity_of(self.path.stat()) == identity_of(os.fstat(self.fd))
        except FileNotFoundError:
            return False

    def read(self, limit: int, *, max_records: int, max_bytes: int) -> Scan:
        """Return the next records up to the offset ``limit`` and move on."""
        found = self._scan(limit, _WINDOW_BYTES, max_records, max_bytes)
        if not found.consumed and self.offset + _WINDOW_BYTES < limit:
            found = self._scan(limit, MAX_FRAMED_BYTES, max_records, max_bytes)
        if found.is_torn:
            found = self._scan_torn(found, limit, max_records, max_bytes)
        self.offset += found.consumed
        self.is_torn = found.is_torn
        return found

    def _scan(
        self, limit: int, window: int, max_records: int, max_bytes: int, *, is_final: bool = False
    ) -> Scan:
        data = os.pread(self.fd, min(window, limit - self.offset), self.offset)
        at_end = self.offset + len(data) >= limit
        if self.offset == 0:
            data = OPEN_MARK + data[1:] if data[:1] == SEALED_MARK else data
        return scan(
            data, max_records=max_records, max_bytes=max_bytes, at_end=at_end, is_final=is_final
        )

    def _scan_torn(self, found: Scan, limit: int, max_records: int, max_bytes: int) -> Scan:
        """Decide about an incomplete end: without writers it stays as it is."""
        with self.exclusive() as is_alone:
            if not is_alone or self.size > limit:
                return found
            return self._scan(limit, _WINDOW_BYTES, max_records, max_bytes, is_final=True)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Keep writers from opening it for a moment; yields False when there are some."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def seal(self, number: int) -> None:
        """Send writers away, then rename. Repeating it after a failure is harmless."""
        os.pwrite(self.fd, SEALED_MARK, 0)
        target = self.path.with_name(sealed_name(number))
        self.path.rename(target)
        self.path, self.number = target, number

    def remove(self) -> bool:
        """Delete it when it is read to its end and nobody writes; else mark it drained.

        Returns:
            Whether it is gone; then the descriptor is closed.
        """
        with self.exclusive() as is_alone:
            is_consumed = self.offset >= self.size
            if is_alone and is_consumed:
                self.path.unlink(missing_ok=True)
        if is_alone and is_consumed:
            self.close()
            return True
        if is_consumed and self.number is not None:
            target = self.path.with_name(drained_name(self.number))
            with suppress(FileNotFoundError):  # see lose_path
                self.path.rename(target)
            self.path = target
        return False

    def lose_path(self, number: int) -> None:
        """Note that the path no longer leads here, and that it counts as sealed."""
        self.path, self.number = self.path.with_name(sealed_name(number)), number

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
