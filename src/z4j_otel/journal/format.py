"""Bytes of a segment: framing a record, and finding records in what may be damaged.

The theory of operation is in :mod:`z4j_otel.journal`. No files here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

__all__ = [
    "ACTIVE_NAME",
    "DRAINED_PREFIX",
    "HEADER_BYTES",
    "MAX_FRAMED_BYTES",
    "MAX_RECORD_BYTES",
    "OPEN_MARK",
    "SEALED_MARK",
    "Scan",
    "drained_name",
    "frame",
    "scan",
    "sealed_name",
    "segment_number",
]

OPEN_MARK = b"\xf5"
"""First byte of a segment that is written, and of every later record."""
SEALED_MARK = b"\xf6"
"""First byte of a sealed segment."""
_MAGIC = OPEN_MARK + b"\x5a"
_HEADER = struct.Struct("<2sII")
HEADER_BYTES = _HEADER.size
MAX_RECORD_BYTES = 1024 * 1024
"""Largest payload of a record."""
MAX_FRAMED_BYTES = HEADER_BYTES + MAX_RECORD_BYTES

ACTIVE_NAME = "active.log"
_SUFFIX = ".log"
_SEALED = "sealed-"
DRAINED_PREFIX = "drained-"

_BAD = -1
_INCOMPLETE = 0


def sealed_name(number: int) -> str:
    """Return the file name of a sealed segment."""
    return f"{_SEALED}{number}{_SUFFIX}"


def drained_name(number: int) -> str:
    """Return the file name of a sealed segment that is consumed but has silent writers."""
    return f"{DRAINED_PREFIX}{number}{_SUFFIX}"


def segment_number(name: str) -> int | None:
    """Return the number in a sealed or drained segment's name, or None for other names."""
    for prefix in (_SEALED, DRAINED_PREFIX):
        digits = name[len(prefix) : -len(_SUFFIX)]
        if name.startswith(prefix) and name.endswith(_SUFFIX) and digits.isdecimal():
            return int(digits)
    return None


def frame(payload: bytes) -> bytes:
    """Return the record for a payload of at most ``MAX_RECORD_BYTES``."""
    return _HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True)
class Scan:
    """What was found in a stretch of a segment."""

    records: list[bytes] = field(default_factory=list)
    consumed: int = 0
    """Bytes dealt with, from the start of the stretch."""
    payload_bytes: int = 0
    """Sum of the sizes of ``records``."""
    corrupt_records: int = 0
    """Damaged places skipped; each held at least one record."""
    corrupt_bytes: int = 0
    is_torn: bool = False
    """Whether the stretch ends with a record that may still be in the making."""

    def add(self, other: Scan) -> None:
        """Add what was found in the next stretch."""
        self.records += other.records
        self.consumed += other.consumed
        self.payload_bytes += other.payload_bytes
        self.corrupt_records += other.corrupt_records
        self.corrupt_bytes += other.corrupt_bytes
        self.is_torn = other.is_torn


def scan(data: bytes, *, max_records: int, max_bytes: int, at_end: bool, is_final: bool) -> Scan:
    """Read records from a stretch that starts at a record or at damage.

    Args:
        data: The stretch; a segment's first byte must have been set to ``OPEN_MARK``.
        max_records: Most records to return.
        max_bytes: Payload bytes after which to stop; the last record may pass it.
        at_end: Whether the stretch reaches the segment's present end. Otherwise an
            incomplete record is left alone: it goes on beyond the stretch.
        is_final: Whether nothing more will be written: an incomplete record is torn.
    """
    found = Scan()
    position = 0
    end = len(data)
    while position < end and len(found.records) < max_records and found.payload_bytes < max_bytes:
        size = _record_size(data, position)
        if size > 0:
            payload = data[position + HEADER_BYTES : position + size]
            found.records.append(payload)
            found.payload_bytes += len(payload)
            position += size
            continue
        if size == _INCOMPLETE and not at_end:
            break
        after = _after_damage(data, position, may_grow=not is_final)
        if after == position:
            found.is_torn = True
            break
        found.corrupt_records += 1
        found.corrupt_bytes += after - position
        position = after
    found.consumed = position
    return found


def _record_size(data: bytes, position: int) -> int:
    """Return the size of the whole, valid record at a position, else _BAD or _INCOMPLETE."""
    rest = len(data) - position
    if rest < HEADER_BYTES:
        return _INCOMPLETE if _MAGIC.startswith(data[position : position + 2]) else _BAD
    magic, length, checksum = _HEADER.unpack_from(data, position)
    if magic != _MAGIC or length > MAX_RECORD_BYTES:
        return _BAD
    size = HEADER_BYTES + int(length)
    if rest < size:
        return _INCOMPLETE
    start = position + HEADER_BYTES
    return size if zlib.crc32(data[start : position + size]) == checksum else _BAD


def _after_damage(data: bytes, position: int, *, may_grow: bool) -> int:
    """Return where to go on after the damage at a position; the position itself: wait.

    The next whole record wins. Without one, the first place that further bytes could
    complete; that includes the position itself.
    """
    candidate = data.find(OPEN_MARK, position + 1)
    first_incomplete = position if _record_size(data, position) == _INCOMPLETE else -1
    while candidate >= 0:
        size = _record_size(data, candidate)
        if size > 0:
            return candidate
        if size == _INCOMPLETE and first_incomplete < 0:
            first_incomplete = candidate
        candidate = data.find(OPEN_MARK, candidate + 1)
    if may_grow and first_incomplete >= 0:
        return first_incomplete
    return len(data)
