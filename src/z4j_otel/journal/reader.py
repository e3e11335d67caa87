"""The reading end of the journal: reads, rotates, and removes what is done with.

The theory of operation is in :mod:`z4j_otel.journal`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from z4j_otel.disk import DISK, Disk, is_own_directory
from z4j_otel.forks import call_in_child
from z4j_otel.journal.format import ACTIVE_NAME, Heard, Scan, WriterId, segment_number
from z4j_otel.journal.segments import Segment, is_segment

__all__ = ["JournalChunk", "JournalReader"]

_log = logging.getLogger(__name__)

_ACTIVE = "active"
_ASIDE = "foreign-active"
_FOREIGN = frozenset(
    {errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.EACCES, errno.EPERM, errno.EMLINK, errno.ENXIO}
)
"""Errors of opening what somebody else put there; it will not get better."""


@dataclass(frozen=True, slots=True)
class JournalChunk:
    """Records in order, and the position after them."""

    records: list[bytes]
    """Payloads, exactly as appended."""
    position: str
    """To be stored together with what becomes of the records."""
    corrupt_records: int
    """Damaged places skipped in this chunk; each held at least one record."""
    corrupt_bytes: int
    """Bytes skipped in this chunk."""
    unnamed_damage: int = 0
    """Of the damaged places, those that could hold a whole record and do not tell whose."""
    heard: dict[WriterId, Heard] = field(default_factory=dict)
    """What the chunk says about each writer: its numbers, and what it dropped."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read and nothing skipped."""
        return not (self.records or self.corrupt_records or self.heard)


class _Place(NamedTuple):
    inode: int
    checksum: int
    offset: int
    checksum_before: int = -1
    """Of the bytes before the offset; positions of earlier versions have none."""

    def is_in(self, segment: Segment) -> bool:
        """Whether it means this segment, though one of its two marks may be damaged."""
        return self.inode == segment.inode and (
            self.checksum == segment.checksum()
            or self.checksum_before == segment.checksum_before(self.offset)
        )


class JournalReader:
    """Reads one journal. Only one may exist per directory; used by one thread.

    Delivery is at least once: what was read after the stored position is read again.
    """

    def __init__(
        self,
        directory: Path,
        position: str | None = None,
        *,
        segment_bytes: int = 4 * 1024 * 1024,
        disk: Disk = DISK,
    ) -> None:
        """Remember where to read; no file is touched yet.

        Args:
            directory: The journal; it may not exist yet.
            position: As stored by the caller, or None to read everything. A text that
                cannot be understood reads everything, too.
            segment_bytes: Size from which the active segment is sealed.
            disk: The system calls to use.
        """
        self._disk = disk
        self._unusable: set[str] = set()
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._places = _decode(position)
        self._numbers_used = max([0, *(int(key) for key in self._places if key != _ACTIVE)])
        self._segments: list[Segment] = []
        call_in_child(self.close)

    def read(self, max_records: int, max_bytes: int) -> JournalChunk:
        """Return the next records, without waiting for any.

        Args:
            max_records: Most records to return, at least 1.
            max_bytes: Payload bytes after which to stop; the last record may pass it.

        Raises:
            OSError: The directory or a segment cannot be read; nothing is skipped.
        """
        self._discover()
        self._rotate()
        # Sizes from new to old, bytes from old to new: this keeps causal order.
        limits = [segment.size_now() for segment in reversed(self._segments)][::-1]
        offsets = [segment.offset for segment in self._segments]
        total = Scan()
        try:
            for segment, limit in zip(self._segments, limits, strict=True):
                is_at_end = self._read_segment(segment, limit, total, max_records, max_bytes)
                if not is_at_end:
                    break
        except OSError:
            # Nobody gets what was read so far: it is to be read again.
            for segment, offset in zip(self._segments, offsets, strict=True):
                segment.offset = offset
            raise
        return JournalChunk(
            total.records,
            self._position(),
            total.corrupt_records,
            total.corrupt_bytes,
            total.unnamed_damage,
            total.heard,
        )

    def release(self, position: str) -> None:
        """Remove the sealed segments that a durably stored position says are done with.

        Segments with living writers stay, and so does everything else the position does not
        prove to be read.

        Args:
            position: From a chunk of this reader, stored for good.

        Raises:
            OSError: A segment cannot be removed; it will be tried again.
        """
        self._discover()
        stored = _decode(position)
        for segment in list(self._segments):
            if _proves_read(stored.get(segment.key), segment) and segment.remove():
                self._segments.remove(segment)

    def retire(self, position: str) -> bool:
        """Bring a dead agent's journal to its end: release, and seal what is left.

        Call it with the position of an empty chunk, again after the next :meth:`read`, and
        so on until it returns True.

        Returns:
            True when no segment is left, hence no record and no writer.

        Raises:
            OSError: As for :meth:`release`.
        """
        self.release(position)
        active = self._active()
        if active is not None and active.size == 0:
            if active.remove():
                self._segments.remove(active)
        elif active is not None and (active.is_torn or active.offset >= active.size):
            # A record that was cut off is written again, whole, to the next segment.
            self._seal(active)
        return not self._segments

    def close(self) -> None:
        """Close the files. Idempotent; a later read starts at the position given at first."""
        while self._segments:
            self._segments.pop().close()

    def _active(self) -> Segment | None:
        last = self._segments[-1] if self._segments else None
        return last if last is not None and last.number is None else None

    def _discover(self) -> None:
        """Open the segments that are new since the last look."""
        active = self._active()
        if active is not None and not active.is_at_path():
            # Somebody else removed it. Its writers will notice; until then it is read on,
            # as a sealed segment that lacks only its name.
            self._numbers_used += 1
            active.lose_path(self._numbers_used)
        known = {segment.key for segment in self._segments}
        for name in self._names():
            number = segment_number(name)
            self._numbers_used = max(self._numbers_used, number or 0)
            if (_ACTIVE if number is None else str(number)) not in known:
                segment = self._open(name)
                if segment is not None:
                    self._resume(segment)
                    self._segments.append(segment)
        self._segments.sort(key=lambda segment: (segment.number is None, segment.number))

    def _names(self) -> list[str]:
        try:
            if not is_own_directory(self._directory, disk=self._disk):
                return []  # what a link leads to is not ours to read, or to delete
            return [name for name in self._disk.listdir(self._directory) if is_segment(name)]
        except FileNotFoundError:
            return []

    def _open(self, name: str) -> Segment | None:
        """Open a segment; None when it is gone, or is nothing that we wrote."""
        try:
            return Segment(self._directory / name, self._disk)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _FOREIGN:
                raise
        if name not in self._unusable:
            self._unusable.add(name)
            _log.warning(
                "%s in journal %s is left alone: it is no file that z4j-otel can have written; "
                "look who put it there, then delete it",
                name,
                self._directory,
                extra={"action": "journal_segment_foreign"},
            )
        if name == ACTIVE_NAME:
            # In the place where records belong: writers wait for it to be free.
            with contextlib.suppress(OSError):
                self._disk.rename(self._directory / name, self._directory / _ASIDE)
        return None

    def _resume(self, segment: Segment) -> None:
        """Go to the stored place, if it is certain that it means this segment."""
        place = self._places.get(segment.key)
        if place is None and segment.number is not None:
            place = self._places.get(_ACTIVE)  # sealed after the position was stored
        if place is not None and place.is_in(segment):
            # Cut off below that place: what is left was read, what comes is appended.
            segment.offset = min(place.offset, segment.size)

    def _rotate(self) -> None:
        active = self._active()
        if active is not None and (active.size > self._segment_bytes or active.is_sealed):
            try:
                self._seal(active)
            except OSError as error:
                # Reading matters more; the next read tries again.
                _log.debug(
                    "journal segment cannot be sealed: %s",
                    error,
                    extra={"action": "journal_rotation_failed"},
                )

    def _seal(self, active: Segment) -> None:
        self._numbers_used += 1
        active.seal(self._numbers_used)

    def _read_segment(
        self, segment: Segment, limit: int, total: Scan, max_records: int, max_bytes: int
    ) -> bool:
        """Add a segment's next records to ``total``; True when they are all in."""
        while segment.offset < limit:
            if len(total.records) >= max_records or total.payload_bytes >= max_bytes:
                return False
            found = segment.read(
                limit,
                max_records=max_records - len(total.records),
                max_bytes=max_bytes - total.payload_bytes,
            )
            total.add(found)
            if not found.consumed:
                # An append in the making has no followers yet: newer segments may be read.
                return True
        return True

    def _position(self) -> str:
        places = {
            segment.key: (
                segment.inode,
                segment.checksum(),
                segment.offset,
                segment.checksum_before(segment.offset),
            )
            for segment in self._segments
            if segment.offset
        }
        return json.dumps(places, separators=(",", ":"))


def _proves_read(place: _Place | None, segment: Segment) -> bool:
    """Whether a stored place shows a sealed segment, named by its number, as wholly read."""
    if segment.number is None:
        return False
    if place is None:
        return segment.size == 0
    return place.inode == segment.inode and place.offset >= segment.size


def _decode(position: str | None) -> dict[str, _Place]:
    if not position:
        return {}
    try:
        places = {key: _Place(*map(int, place)) for key, place in json.loads(position).items()}
        if all(key == _ACTIVE or key.isdecimal() for key in places):
            return places
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        pass
    _log.warning(
        "journal position cannot be understood; reading from the start",
        extra={"action": "journal_position_ignored"},
    )
    return {}
