"""One owner's stream: what the brain was told of it, and what it has to be told next."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from z4j_otel.buffer.base import BufferStats, EntryKind
from z4j_otel.wire.schedules import Authority, build_projection, digest, split_rows

__all__ = ["Stream", "StreamStore", "differences", "opening_rows"]


class StreamStore(Protocol):
    """What is needed of the buffer."""

    def append(
        self,
        entries: Sequence[tuple[EntryKind, bytes]],
        *,
        now_ns: int,
        positions: Mapping[str, str] | None = None,
    ) -> bool:
        """Store entries and positions, all or nothing."""
        ...

    def positions(self) -> dict[str, str]:
        """Return all positions by name."""
        ...

    def stats(self) -> BufferStats:
        """Return what is held."""
        ...


@dataclass(slots=True)
class Stream:
    """One owner's stream: an open epoch, or none."""

    turn: threading.RLock = field(default_factory=threading.RLock)
    offered: str = ""
    """The epoch that this connection was given; empty for none."""
    authority: Authority | None = None
    sequence: int = 0
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the brain has been told, by key."""
    version: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the brain may have, by key; never less than it has."""


def differences(
    stream: Stream,
    authority: Authority,
    found: Mapping[str, dict[str, Any]],
    *,
    max_bytes: int,
) -> list[dict[str, Any]]:
    """Return the projections that lead from what was told to what was found.

    Args:
        stream: What was told.
        authority: Of its epoch.
        found: What there is, by key.
        max_bytes: About how large the rows of one projection may be.
    """
    told = stream.rows
    gone = [key for key in told if key not in found]
    new = [row for key, row in found.items() if key not in told]
    changed = [
        row
        for key, row in found.items()
        if key in told and row != told[key] and digest(row) != digest(told[key])
    ]
    bodies: list[dict[str, Any]] = []
    sequence = stream.sequence
    if gone:
        sequence += 1
        bodies.append(build_projection(authority, sequence, "deleted", deleted=gone))
    for kind, rows in (("updated", changed), ("created", new)):
        for part in split_rows(rows, max_bytes):
            sequence += 1
            bodies.append(build_projection(authority, sequence, kind, rows=part))
    return bodies


def opening_rows(
    known: Mapping[str, dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what opens an epoch: nothing of it is gone, and no name changes its owner.

    The brain inserts before it updates, and refuses a second row of one name. What is
    missing here follows as a difference.

    Args:
        known: What the brain may have, by key.
        rows: What there is.
    """
    found = {row["source_key"]: row for row in rows}
    taken = {row["name"] for row in known.values()}
    kept = [
        found[key] if key in found and found[key]["name"] == row["name"] else row
        for key, row in known.items()
    ]
    return [
        *kept,
        *(row for key, row in found.items() if key not in known and row["name"] not in taken),
    ]
