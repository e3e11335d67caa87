"""One row's bytes: everything that must be known of an entry, with a checksum over all of it.

A row is found and proved by its own bytes, without the pages of the database around it;
:mod:`z4j_otel.buffer.carving` depends on that. No files here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

__all__ = [
    "MAGIC",
    "OVERHEAD_BYTES",
    "STATE_KIND",
    "Row",
    "created_ns_of",
    "read_length",
    "read_row",
    "write_row",
]

MAGIC = b"\xf5\x5b"
"""First bytes of a record. Bodies are UTF-8, where F5 cannot occur."""
_CHECK = struct.Struct("<2sI")
_FACTS = struct.Struct("<IQBq")
_ALL = struct.Struct("<2sIIQBq")
_LENGTH = struct.Struct("<I")
_LENGTH_AT = _CHECK.size
_BODY_AT = _CHECK.size + _FACTS.size
OVERHEAD_BYTES = _BODY_AT
"""What a record has beyond its body."""
STATE_KIND = 255
"""The record is no entry but the buffer's state; its sequence is the state's generation."""


class Row(NamedTuple):
    """What a record holds."""

    sequence: int
    kind: int
    created_ns: int
    body: bytes


def write_row(sequence: int, kind: int, created_ns: int, body: bytes) -> bytes:
    """Return the record of a row."""
    rest = _FACTS.pack(len(body), sequence, kind, created_ns) + body
    return _CHECK.pack(MAGIC, crc32(rest)) + rest


def read_row(record: bytes) -> Row | None:
    """Return what a record holds, or None when a single bit of it is wrong."""
    if len(record) < _BODY_AT:
        return None
    magic, checksum, length, sequence, kind, created_ns = _ALL.unpack_from(record)
    if magic != MAGIC or length != len(record) - _BODY_AT:
        return None
    # A copy of a row of usual size is cheaper than a view of it.
    if crc32(record[_LENGTH_AT:]) != checksum:
        return None
    return Row(sequence, kind, created_ns, record[_BODY_AT:])


def read_length(data: bytes, position: int) -> int | None:
    """Return the length that a record at a position claims to have, or None without a header."""
    if position + _BODY_AT > len(data):
        return None
    (length,) = _LENGTH.unpack_from(data, position + _LENGTH_AT)
    return int(length) + OVERHEAD_BYTES


def created_ns_of(header: bytes) -> int:
    """Return the time in the first ``OVERHEAD_BYTES`` of a record; nothing is checked."""
    return int(_FACTS.unpack_from(header, _LENGTH_AT)[3])
