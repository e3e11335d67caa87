"""What the buffer knows and the disk does not yet: memory only.

Every change is noted here first and forgotten when it is on disk. While the disk takes
nothing, this is where the buffer lives on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from z4j_otel.buffer.base import EntryKind, KnownCommand
from z4j_otel.buffer.eviction import Totals
from z4j_otel.buffer.records import Row

__all__ = ["MOST_BYTES", "MOST_ENTRIES", "Unsaved"]

MOST_ENTRIES = 10_000
"""Entries that may be in memory only, beyond one append."""
MOST_BYTES = 32 * 1024 * 1024
"""Bytes of bodies that may be in memory only, beyond one append."""


@dataclass(slots=True)
class Unsaved:
    """Changes since the last transaction."""

    rows: dict[int, Row] = field(default_factory=dict)
    """Entries to be inserted, by sequence, in order."""
    row_bytes: int = 0
    gone: set[int] = field(default_factory=set)
    """Entries on disk that are held no more."""
    forgets_stories: bool = False
    """Whether all stories on disk are to be deleted first."""
    stories: dict[str, bytes] = field(default_factory=dict)
    accounts: dict[str, bytes] = field(default_factory=dict)
    """Empty bytes delete one."""
    commands: dict[str, KnownCommand] = field(default_factory=dict)

    def add_all(self, rows: Iterable[Row]) -> None:
        """Note entries to be inserted."""
        for row in rows:
            self.rows[row.sequence] = row
            self.row_bytes += len(row.body)

    def take_out(self, sequences: Iterable[int]) -> tuple[set[int], Totals]:
        """Forget entries that were to be inserted: which of these they were, and their sizes."""
        taken: set[int] = set()
        found = Totals()
        if self.rows:
            for sequence in sequences:
                row = self.rows.pop(sequence, None)
                if row is not None:
                    taken.add(sequence)
                    found.add(EntryKind(row.kind), 1, len(row.body))
            self.row_bytes -= found.bytes
        return taken, found

    @property
    def is_empty(self) -> bool:
        """Whether everything but counts and positions is on disk."""
        return not (self.rows or self.gone or self.stories or self.accounts or self.commands)

    @property
    def is_at_limit(self) -> bool:
        """Whether no more may wait for the disk."""
        return len(self.rows) > MOST_ENTRIES or self.row_bytes > MOST_BYTES

    def clear(self) -> None:
        """Note that everything is on disk."""
        self.rows.clear()
        self.row_bytes = 0
        self.gone.clear()
        self.forgets_stories = False
        self.stories.clear()
        self.accounts.clear()
        self.commands.clear()
