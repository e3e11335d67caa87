"""Entries on their way from the buffer into a batch, and which of them may go now.

Theory of operation
    A brain keeps what it knows of a task only when its events come in their order
    (PROTOCOL §4.2), and a brain whose database failed for a moment takes no notice of a
    batch and goes on with the next. So two batches that are out at the same time never hold
    events of the same task: the later ones stay here until the ack for the earlier has come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from z4j_otel.buffer.base import Entry, EntryKind

__all__ = ["Gathering", "tasks_of"]

_TASK_KEY: Final = b'"task_id":'


class Gathering:
    """What was leased and not sent, in order."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size_bytes = 0
        """Size of all entries together."""
        self.since_s = 0.0
        """Since when something waits here, on the monotonic clock."""

    def add(self, entries: Sequence[Entry], now_s: float) -> None:
        """Put leased entries behind the others."""
        if entries and not self.entries:
            self.since_s = now_s
        self.entries += entries
        self.size_bytes += sum([len(entry.body) for entry in entries])

    def free(self, out: Collection[frozenset[bytes]]) -> list[Entry]:
        """Return, in order, the entries whose tasks have nothing out.

        Args:
            out: The tasks of each batch that is out.
        """
        if not out:
            return self.entries
        busy: frozenset[bytes] = frozenset().union(*out)
        return [entry for entry in self.entries if _task_of(entry) not in busy]

    def take(self, entries: Sequence[Entry], now_s: float) -> None:
        """Let entries go; the others wait anew."""
        gone = {entry.sequence for entry in entries}
        left = [entry for entry in self.entries if entry.sequence not in gone]
        self.entries, self.size_bytes = [], 0
        self.add(left, now_s)

    def clear(self) -> list[int]:
        """Forget everything and return the sequences."""
        sequences = [entry.sequence for entry in self.entries]
        self.entries, self.size_bytes = [], 0
        return sequences


def tasks_of(entries: Iterable[Entry]) -> frozenset[bytes]:
    """Return what tells the tasks of these entries apart."""
    return frozenset([_task_of(entry) for entry in entries]) - {b""}


def _task_of(entry: Entry) -> bytes:
    """Return what tells an event's task from others; empty when it is of none."""
    if entry.kind is not EntryKind.EVENT:
        return b""
    # Canonical bytes have sorted keys, and this one is the last of an event's own.
    start = entry.body.rfind(_TASK_KEY)
    return entry.body[start:] if start >= 0 else b""
