"""Bytes of a segment: framing a record, and finding records in what may be damaged.

The theory of operation is in :mod:`z4j_otel.journal`. No files here.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

__all__ = [
    "ACTIVE_NAME",
    "DRAINED_PREFIX",
    "HEADER_BYTES",
    "LOSSES",
    "MAX_FRAMED_BYTES",
    "MAX_RECORD_BYTES",
    "NOBODY",
    "OPEN_MARK",
    "RECORD",
    "SEALED_MARK",
    "Heard",
    "Scan",
    "WriterId",
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
# Magic, length, kind, pid, boot, sequence; then the checks of these and of the payload.
_NAME = struct.Struct("<2sIBIIQ")
_CHECKS = struct.Struct("<II")
_HEADER = struct.Struct("<2sIBIIQII")
HEADER_BYTES = _HEADER.size
RECORD = 0
"""Kind of a record whose payload is the caller's."""
LOSSES = 1
"""Kind of a record that tells what its writer has dropped so far."""
MAX_RECORD_BYTES = 1024 * 1024
"""Largest payload of a record."""
MAX_FRAMED_BYTES = HEADER_BYTES + MAX_RECORD_BYTES

ACTIVE_NAME = "active.log"
_SUFFIX = ".log"
_SEALED = "sealed-"
DRAINED_PREFIX = "drained-"

_BAD = -1
_INCOMPLETE = 0


class WriterId(NamedTuple):
    """One life of one writer; two are never alike."""

    pid: int
    """Its process, for people to read."""
    boot: int
    """A random number of 32 bits, drawn anew in every process."""

    def __str__(self) -> str:
        return f"{self.pid}-{self.boot:08x}"


NOBODY = WriterId(0, 0)
"""Writes records that belong to no account."""


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


def frame(
    payload: bytes, writer: WriterId = NOBODY, sequence: int = 0, kind: int = RECORD
) -> bytes:
    """Return the record for a payload of at most ``MAX_RECORD_BYTES``."""
    pid, boot = writer
    name = _NAME.pack(_MAGIC, len(payload), kind, pid, boot, sequence)
    return name + _CHECKS.pack(crc32(name), crc32(payload)) + payload


@dataclass(slots=True)
class Heard:
    """What a stretch says about one writer."""

    records: int = 0
    """Whole records of it, not counting those that tell losses."""
    highest: int = 0
    """The highest number that it has used, as far as the stretch shows."""
    lost: dict[str, int] = field(default_factory=dict)
    """What it has dropped since it began, by reason; empty when the stretch does not say."""

    def add(self, other: Heard) -> None:
        """Add what a later stretch says."""
        self.records += other.records
        self.highest = max(self.highest, other.highest)
        self.take_losses(other.lost)

    def take_losses(self, told: dict[str, int]) -> None:
        """Keep the highest count for each reason: counts only grow."""
        for reason, count in told.items():
            self.lost[reason] = max(count, self.lost.get(reason, 0))


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
    unnamed_damage: int = 0
    """Damaged places that could hold a whole record and do not tell whose."""
    heard: dict[WriterId, Heard] = field(default_factory=dict)
    """What was learnt about each writer but ``NOBODY``."""

    def add(self, other: Scan) -> None:
        """Add what was found in the next stretch."""
        self.records += other.records
        self.consumed += other.consumed
        self.payload_bytes += other.payload_bytes
        self.corrupt_records += other.corrupt_records
        self.corrupt_bytes += other.corrupt_bytes
        self.is_torn = other.is_torn
        self.unnamed_damage += other.unnamed_damage
        for writer, heard in other.heard.items():
            self.of(writer).add(heard)

    def of(self, writer: WriterId) -> Heard:
        """Return what is known of a writer, to be changed."""
        known = self.heard.get(writer)
        if known is None:
            known = self.heard[writer] = Heard()
        return known


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
    while True:
        position = _take_sound(found, data, position, max_records, max_bytes)
        if position >= end or len(found.records) >= max_records or found.payload_bytes >= max_bytes:
            break
        size, header = _look(data, position)
        if size > 0 and header is not None:
            _take(found, header, data[position + HEADER_BYTES : position + size])
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
        _name_damage(found, data, position, after)
        position = after
    found.consumed = position
    return found


def _take_sound(found: Scan, data: bytes, position: int, max_records: int, max_bytes: int) -> int:
    """Take the records that follow one another from a position; return where that ends.

    There may be the end, a limit, damage, or a record of another kind. Nearly everything in a
    journal is read here, at a third of the price of :func:`_look` and :func:`_take`.
    """
    records, heard, taken_bytes = found.records, found.heard, found.payload_bytes
    last = len(data) - HEADER_BYTES
    while position <= last and len(records) < max_records and taken_bytes < max_bytes:
        magic, length, kind, pid, boot, sequence, name_check, check = _HEADER.unpack_from(
            data, position
        )
        start = position + HEADER_BYTES
        if (
            magic != _MAGIC
            or kind != RECORD
            or length > MAX_RECORD_BYTES
            or crc32(data[position : position + _NAME.size]) != name_check
        ):
            break
        payload = data[start : start + length]
        if len(payload) != length or crc32(payload) != check:
            break
        records.append(payload)
        taken_bytes += length
        position = start + length
        # Equal to the name it is stored under, and cheaper to make.
        one = heard.get((pid, boot))  # type: ignore[call-overload]
        if one is None:
            if (pid, boot) == NOBODY:
                continue
            one = found.of(WriterId(pid, boot))
        one.records += 1
        one.highest = max(one.highest, sequence)
    found.payload_bytes = taken_bytes
    return position


class _Header(NamedTuple):
    kind: int
    writer: WriterId
    sequence: int


def _look(data: bytes, position: int) -> tuple[int, _Header | None]:
    """Return the size of the whole, valid record at a position, else _BAD or _INCOMPLETE.

    With it comes the header, if that alone is whole and valid.
    """
    rest = len(data) - position
    if rest < HEADER_BYTES:
        may_begin = _MAGIC.startswith(data[position : position + 2])
        return _INCOMPLETE if may_begin else _BAD, None
    magic, length, kind, pid, boot, sequence, name_check, check = _HEADER.unpack_from(
        data, position
    )
    if magic != _MAGIC or length > MAX_RECORD_BYTES:
        return _BAD, None
    if crc32(data[position : position + _NAME.size]) != name_check:
        return _BAD, None
    header = _Header(kind, WriterId(pid, boot), sequence)
    size = HEADER_BYTES + length
    if rest < size:
        return _INCOMPLETE, header
    start = position + HEADER_BYTES
    is_whole = crc32(data[start : position + size]) == check
    return size if is_whole else _BAD, header


def _take(found: Scan, header: _Header, payload: bytes) -> None:
    """Note a whole record."""
    if header.kind == RECORD:
        found.records.append(payload)
        found.payload_bytes += len(payload)
    if header.writer != NOBODY:
        heard = found.of(header.writer)
        heard.highest = max(heard.highest, header.sequence)
        if header.kind == RECORD:
            heard.records += 1
        elif header.kind == LOSSES:
            heard.take_losses(_read_losses(payload))


def _read_losses(payload: bytes) -> dict[str, int]:
    """Return the counts in a record of losses; a text that is none has none."""
    try:
        return {str(reason): int(count) for reason, count in json.loads(payload).items()}
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        return {}


def _after_damage(data: bytes, position: int, *, may_grow: bool) -> int:
    """Return where to go on after the damage at a position; the position itself: wait.

    The next whole record wins. Without one, the first place that further bytes could
    complete; that includes the position itself.
    """
    candidate = data.find(OPEN_MARK, position + 1)
    first_incomplete = position if _look(data, position)[0] == _INCOMPLETE else -1
    while candidate >= 0:
        size, _ = _look(data, candidate)
        if size > 0:
            return candidate
        if size == _INCOMPLETE and first_incomplete < 0:
            first_incomplete = candidate
        candidate = data.find(OPEN_MARK, candidate + 1)
    if may_grow and first_incomplete >= 0:
        return first_incomplete
    return len(data)


def _name_damage(found: Scan, data: bytes, position: int, after: int) -> None:
    """Find out whose records were damaged: a header may be whole where its payload is not.

    The number of such a record was used. If it is written again, whole, as after a disk
    that was full, nothing is missing; if not, the gap in the numbers shows it.
    """
    is_named = False
    candidate = data.find(_MAGIC, position, after)
    while candidate >= 0:
        _, header = _look(data, candidate)
        if header is not None and header.writer != NOBODY:
            is_named = True
            heard = found.of(header.writer)
            heard.highest = max(heard.highest, header.sequence)
        candidate = data.find(_MAGIC, candidate + 1, after)
    if not is_named and after - position >= HEADER_BYTES:
        found.unnamed_damage += 1
