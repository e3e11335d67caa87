"""Finding records in the bytes of a damaged database, whatever its pages say.

Theory of operation
    A record is found by its magic bytes and proved by its checksum, so it does not matter
    whether trees, page headers or the log around it are intact. What must be known is how
    SQLite lays out a long row (its file format, section 1.6): the cell keeps the first bytes
    and the number of a page with the next 4092, and so on. The table's columns are ordered
    so that the lengths follow from the record's own: nothing but the record has bytes of
    its own in the row.

    A record may be found several times, in the file, in its log, and in space that is free
    again. Sequences are never used twice, so all copies are equal; and free space still
    holds what was acked long ago, so the caller has to know what should be there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from z4j_otel.buffer.mirror import MIRROR_BYTES, Mirror, read_mirror
from z4j_otel.buffer.records import MAGIC, STATE_KIND, Row, read_length, read_row
from z4j_otel.buffer.state import State

__all__ = ["PAGE_BYTES", "Carver"]

PAGE_BYTES = 4096
_USABLE_BYTES = PAGE_BYTES
_MOST_LOCAL = _USABLE_BYTES - 35
_LEAST_LOCAL = (_USABLE_BYTES - 12) * 32 // 255 - 23
_CHAINED_BYTES = _USABLE_BYTES - 4
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
_MOST_RECORD_BYTES = 64 * 1024 * 1024
_VARINT_BITS = 7
_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""Errors of opening what is missing, a link, or a pipe or socket: nothing of ours is in it."""


class _Image(NamedTuple):
    """Where the bytes of a page lie."""

    fd: int
    offset: int


class _Piece(NamedTuple):
    fd: int
    offset: int
    length: int


@dataclass(slots=True)
class Carver:
    """What is to be found in a database, its log, and the copy of its state.

    Holds the files open; a file that is missing or a link counts as empty.
    """

    state: State | None = None
    """The newest state found."""
    mirror: Mirror | None = None
    """The copy of the state, and of the accounts."""
    rows: dict[int, tuple[int, list[_Piece]]] = field(default_factory=dict)
    """Kind and place of every entry found, by sequence."""
    _fds: list[int] = field(default_factory=list)
    _pages: dict[int, list[_Image]] = field(default_factory=dict)

    def carve(self, database: Path, log: Path, mirror: Path) -> None:
        """Look everywhere; what cannot be read is not found.

        May be called for several databases that hold entries of the same buffer.

        Raises:
            OSError: A file is there and must not be opened, or not now: who took it for empty
                would lose what is in it.
        """
        self._pages.clear()
        images: list[tuple[int, _Image]] = []
        for path, pages_of in ((database, _pages_of_database), (log, _pages_of_log)):
            fd = self._open(path)
            if fd is not None:
                images += pages_of(fd)
        for number, image in images:
            self._pages.setdefault(number, []).append(image)
        for _, image in images:
            self._carve_page(image)
        fd = self._open(mirror)
        if fd is not None:
            found = read_mirror(_read(fd, 0, MIRROR_BYTES))
            if found is not None:
                self._take_state(found.state)
                self.mirror = found

    def read(self, sequence: int) -> Row | None:
        """Return an entry that was found; None if it cannot be read any more."""
        _, pieces = self.rows[sequence]
        return read_row(b"".join([_read(*piece) for piece in pieces]))

    def close(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.pop())

    def _open(self, path: Path) -> int | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                raise
            return None
        self._fds.append(fd)
        return fd

    def _carve_page(self, image: _Image) -> None:
        page = _read(image.fd, image.offset, PAGE_BYTES)
        at = page.find(MAGIC)
        while at >= 0:
            self._carve_record(page, at, image)
            at = page.find(MAGIC, at + 1)

    def _carve_record(self, page: bytes, at: int, image: _Image) -> None:
        length = read_length(page, at)
        if length is None or length > _MOST_RECORD_BYTES:
            return
        local = _local_bytes(length)
        pieces = [_Piece(image.fd, image.offset + at, local)]
        if local == length:
            row = read_row(page[at : at + local])
        elif at + local + 4 <= len(page):
            first = int.from_bytes(page[at + local : at + local + 4], "big")
            row = self._follow(pieces, first, length - local)
        else:
            return
        if row is None:
            return
        if row.kind == STATE_KIND:
            self._take_state(State.decode(row))
        else:
            self.rows.setdefault(row.sequence, (row.kind, pieces))

    def _follow(self, pieces: list[_Piece], number: int, missing: int) -> Row | None:
        """Add the pieces on chained pages; of several images of a page the newest counts."""
        for newest in (-1, 0):
            chain = list(self._chain(number, missing, newest))
            row = read_row(b"".join([_read(*piece) for piece in (*pieces, *chain)]))
            if row is not None:
                pieces += chain
                return row
        return None

    def _chain(self, number: int, missing: int, which: int) -> Iterator[_Piece]:
        while missing > 0 and number in self._pages:
            image = self._pages[number][which]
            yield _Piece(image.fd, image.offset + 4, min(missing, _CHAINED_BYTES))
            missing -= _CHAINED_BYTES
            number = int.from_bytes(_read(image.fd, image.offset, 4), "big")

    def _take_state(self, state: State | None) -> None:
        # Of two copies the later one counts: the mirror, which has the accounts, comes last.
        if state is not None and (self.state is None or state.generation >= self.state.generation):
            self.state = state


def _pages_of_database(fd: int) -> Iterator[tuple[int, _Image]]:
    for number in range(-(-_size(fd) // PAGE_BYTES)):
        yield number + 1, _Image(fd, number * PAGE_BYTES)


def _pages_of_log(fd: int) -> Iterator[tuple[int, _Image]]:
    frame_bytes = _FRAME_HEADER_BYTES + PAGE_BYTES
    for offset in range(_LOG_HEADER_BYTES, _size(fd), frame_bytes):
        number = int.from_bytes(_read(fd, offset, 4), "big")
        yield number, _Image(fd, offset + _FRAME_HEADER_BYTES)


def _local_bytes(record_bytes: int) -> int:
    """Return how much of a record stands in the cell itself."""
    header = 3 + _varint_bytes(2 * record_bytes + 12)
    payload = header + record_bytes
    if payload <= _MOST_LOCAL:
        return record_bytes
    local = _LEAST_LOCAL + (payload - _LEAST_LOCAL) % _CHAINED_BYTES
    return (local if local <= _MOST_LOCAL else _LEAST_LOCAL) - header


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // _VARINT_BITS))


def _size(fd: int) -> int:
    try:
        return os.fstat(fd).st_size
    except OSError:
        return 0


def _read(fd: int, offset: int, length: int) -> bytes:
    """Return bytes as far as the medium gives them: what it refuses is damage."""
    try:
        return os.pread(fd, length, offset)
    except OSError:
        return b""
