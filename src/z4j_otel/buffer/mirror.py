"""The copy of a buffer's state and accounts that lies beside the database.

It is written after each commit, in one piece. It shows when SQLite falls back behind a
damaged log, when a file was cut off, and when an account was damaged, which has no checksum
of its own in the database; and it has what is needed to repair them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from z4j_otel.buffer.records import read_length, read_row, write_row
from z4j_otel.buffer.state import State

__all__ = ["MIRROR_BYTES", "Mirror", "read_mirror", "write_mirror"]

MIRROR_BYTES = 1024 * 1024
"""More than a mirror ever has."""
_ACCOUNTS_KIND = 254


class Mirror(NamedTuple):
    """What a mirror says."""

    state: State
    accounts: dict[str, bytes] | None
    """By owner, as they were in the commit of the state; None when they are damaged."""


def write_mirror(record: bytes, generation: int, accounts: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a mirror.

    Args:
        record: The state's, as it is in the database.
        generation: The state's.
        accounts: All accounts by owner.
    """
    return record + write_row(generation, _ACCOUNTS_KIND, 0, msgspec.msgpack.encode(accounts))


def read_mirror(data: bytes) -> Mirror | None:
    """Return what a mirror says; None where its state cannot be read."""
    state = State.read(data)
    if state is None:
        return None
    begin = read_length(data, 0) or 0
    length = read_length(data, begin)
    row = None if length is None else read_row(data[begin : begin + length])
    if row is None or row.kind != _ACCOUNTS_KIND or row.sequence != state.generation:
        return Mirror(state, None)
    try:
        return Mirror(state, msgspec.msgpack.decode(row.body, type=dict[str, bytes]))
    except (ValueError, RecursionError):
        return Mirror(state, None)
