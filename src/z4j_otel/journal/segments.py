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

from z4j_otel.disk import DISK, Disk, open_own
from z4j_otel.journal.format import (
    ACTIVE_NAME,
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

__all__ = ["Segment", "identity_of", "is_segment", "unread_bytes"]

_WINDOW_BYTES = 256 * 1024


def identity_of(status: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from every other that exists at the same time."""
    return status.st_dev, status.st_ino


def unread_bytes(directory: Path, disk: Disk = DISK) -> int:
    """Return the size of all segments that count against the cap; 0 without a directory."""
    total = 0
    try:
        for name in disk.listdir(directory):
            if is_segment(name) and not name.startswith(DRAINED_PREFIX):
                total += disk.lstat(directory / name).st_size
    except FileNotFoundError:  # a segment was renamed or removed meanwhile: look again soon
        return total
    return total


def is_segment(name: str) -> bool:
    """Whether a file of this name belongs to a journal."""
    return name == ACTIVE_NAME or segment_number(name) is not None


class Segment:
    """An open segment and how far it has been read. Used by one thread."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        """Open a segment for reading.

        Raises:
            OSError: It cannot be opened, or is no file of ours.
        """
        self.path = path
        self._disk = disk
        self.number = segment_number(path.name)
        """Its number when sealed, or None for the active segment."""
        self.fd = open_own(path, os.O_RDWR, disk=disk)
        self.inode = disk.fstat(self.fd).st_ino
        self.offset = 0
        """Bytes read so far."""
        self.is_torn = False
        """Whether it ended, when last read, in a record that may be in the making."""

    @property
    def size(self) -> int:
        """Present size in bytes."""
        return self._disk.fstat(self.fd).st_size

    def size_now(self) -> int:
        """Return the present size, and go back to it if the file was cut off behind us."""
        size = self.size
        self.offset = min(self.offset, size)
        return size

    @property
    def is_sealed(self) -> bool:
        """Whether the first byte sends writers away."""
        return self._disk.read_at(self.fd, 1, 0) == SEALED_MARK

    @property
    def key(self) -> str:
        """Its name in a position."""
        return "active" if self.number is None else str(self.number)

    def checksum(self) -> int:
        """Return a checksum of the first header, which tells it from a recycled inode."""
        return zlib.crc32(self._disk.read_at(self.fd, HEADER_BYTES, 0)[1:])

    def checksum_before(self, offset: int) -> int:
        """Return a checksum of the last bytes before an offset, the segment's mark left out."""
        begin = max(1, offset - HEADER_BYTES)
        return zlib.crc32(self._disk.read_at(self.fd, max(0, offset - begin), begin))

    def is_at_path(self) -> bool:
        """Whether its path still leads to it."""
        try:
            return identity_of(self._disk.stat(self.path)) == identity_of(self._disk.fstat(self.fd))
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
        data = self._disk.read_at(self.fd, min(window, limit - self.offset), self.offset)
        at_end = self.offset + len(data) >= limit
        if self.offset == 0:
            # Sealed, or damaged: the record that begins here is whole all the same.
            data = OPEN_MARK + data[1:]
        return scan(
            data, max_records=max_records, max_bytes=max_bytes, at_end=at_end, is_final=is_final
        )

    def _scan_torn(self, found: Scan, limit: int, max_records: int, max_bytes: int) -> Scan:
        """Decide about an incomplete end: without writers it stays as it is."""
        with self.exclusive() as is_alone:
            if not is_alone or self.size > limit:
                return found
            # An incomplete record, too, may be as long as any.
            return self._scan(limit, MAX_FRAMED_BYTES, max_records, max_bytes, is_final=True)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Keep writers from opening it for a moment; yields False when there are some."""
        try:
            self._disk.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._disk.flock(self.fd, fcntl.LOCK_UN)

    def seal(self, number: int) -> None:
        """Send writers away, then rename. Repeating it after a failure is harmless."""
        self._disk.write_at(self.fd, SEALED_MARK, 0)
        target = self.path.with_name(sealed_name(number))
        self._disk.rename(self.path, target)
        self.path, self.number = target, number

    def remove(self) -> bool:
        """Delete it when it is read to its end and nobody writes; else mark it drained.

        Returns:
            Whether it is gone; then the descriptor is closed.
        """
        with self.exclusive() as is_alone:
            is_consumed = self.offset >= self.size
            if is_alone and is_consumed:
                with suppress(FileNotFoundError):
                    self._disk.unlink(self.path)
        if is_alone and is_consumed:
            self.close()
            return True
        if is_consumed and self.number is not None:
            target = self.path.with_name(drained_name(self.number))
            with suppress(FileNotFoundError):  # see lose_path
                self._disk.rename(self.path, target)
            self.path = target
        return False

    def lose_path(self, number: int) -> None:
        """Note that the path no longer leads here, and that it counts as sealed."""
        self.path, self.number = self.path.with_name(sealed_name(number)), number

    def close(self) -> None:
        """Close the descriptor."""
        self._disk.close(self.fd)
