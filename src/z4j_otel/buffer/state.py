"""What a buffer knows of itself besides its entries: written with every change, one record.

It says exactly which entries are held. Whatever happens to the file, what was held is held
against what is found, and the difference is the loss.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from z4j_otel.buffer.accounts import Passed
from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.buffer.eviction import Totals
from z4j_otel.buffer.leases import runs
from z4j_otel.buffer.records import STATE_KIND, Row, read_length, read_row, write_row

__all__ = ["Runs", "State"]

_MOST_RUNS = 64
_SEPARATOR = "."


class Runs:
    """A set of rising numbers as unbroken runs."""

    def __init__(self, known: list[tuple[int, int]] | None = None) -> None:
        self._firsts = [first for first, _ in known or ()]
        self._lasts = [last for _, last in known or ()]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._firsts, number) - 1
        return index >= 0 and number <= self._lasts[index]

    def append(self, number: int) -> None:
        """Add a number above all others."""
        if self._lasts and self._lasts[-1] == number - 1:
            self._lasts[-1] = number
        else:
            self._firsts.append(number)
            self._lasts.append(number)

    def extend(self, first: int, last: int) -> None:
        """Add every number from ``first`` to ``last``; they are above all others."""
        self.append(first)
        self._lasts[-1] = last

    def remove(self, first: int, last: int) -> None:
        """Take out every number from ``first`` to ``last`` that is there."""
        begin = bisect_right(self._lasts, first - 1)
        end = bisect_right(self._firsts, last)
        if begin >= end:
            return
        kept = []
        if self._firsts[begin] < first:
            kept.append((self._firsts[begin], first - 1))
        if self._lasts[end - 1] > last:
            kept.append((last + 1, self._lasts[end - 1]))
        self._firsts[begin:end] = [run[0] for run in kept]
        self._lasts[begin:end] = [run[1] for run in kept]

    def outline(self) -> list[tuple[int, int]]:
        """Return at most 64 runs: where there are more, with the smallest gaps filled in."""
        outline = list(self)
        while len(outline) > _MOST_RUNS:
            gaps = [after[0] - before[1] for before, after in pairwise(outline)]
            at = gaps.index(min(gaps))
            outline[at : at + 2] = [(outline[at][0], outline[at + 1][1])]
        return outline


class _Stored(msgspec.Struct, array_like=True):
    """The form on disk; members are only ever added at the end."""

    last_sequence: int
    held: list[int]
    """Entries by the number of their kind."""
    held_bytes: int
    runs: list[tuple[int, int]]
    positions: dict[str, str]
    dropped: dict[str, int]
    passed: Passed = Passed()


class State:
    """What is held, where the journals were read to, and what was lost."""

    def __init__(self) -> None:
        self.generation = 0
        """Rises with every change on disk."""
        self.last_sequence = 0
        """The highest that was ever given out; none is used twice."""
        self.totals = Totals()
        self.runs = Runs()
        """Sequences of the entries held."""
        self.positions: dict[str, str] = {}
        self.dropped: dict[tuple[EntryKind, DropReason], int] = {}
        self.passed = Passed()

    def add(self, sequence: int, kind: EntryKind, size_bytes: int) -> None:
        """Count an entry in."""
        self.last_sequence = sequence
        self.totals.add(kind, 1, size_bytes)
        self.runs.append(sequence)

    def add_all(self, rows: Sequence[Row]) -> None:
        """Count entries in whose sequences follow one another."""
        if rows:
            for kind in EntryKind:
                sizes = [len(row.body) for row in rows if row.kind == kind]
                self.totals.add(kind, len(sizes), sum(sizes))
            self.last_sequence = rows[-1].sequence
            self.runs.extend(rows[0].sequence, rows[-1].sequence)

    def remove(self, sequences: Iterable[int]) -> None:
        """Note that entries are held no more; the caller sees to the totals."""
        for first, last in runs(sequences):
            self.runs.remove(first, last)

    def count_dropped(self, kind: EntryKind, reason: DropReason, count: int) -> None:
        """Add to a counter of losses."""
        if count:
            self.dropped[kind, reason] = self.dropped.get((kind, reason), 0) + count

    def store_positions(self, positions: Mapping[str, str]) -> None:
        """Replace positions; an empty text forgets the name."""
        for journal, position in positions.items():
            if position:
                self.positions[journal] = position
            else:
                self.positions.pop(journal, None)

    def encode(self) -> bytes:
        """Return the record of this state."""
        stored = _Stored(
            self.last_sequence,
            [self.totals.entries[kind] for kind in EntryKind],
            self.totals.bytes,
            self.runs.outline(),
            self.positions,
            {
                f"{int(kind)}{_SEPARATOR}{reason.value}": count
                for (kind, reason), count in self.dropped.items()
            },
            self.passed,
        )
        return write_row(self.generation, STATE_KIND, 0, msgspec.msgpack.encode(stored))

    def copy(self) -> State:
        """Return an independent copy."""
        copied = State()
        copied.generation, copied.last_sequence = self.generation, self.last_sequence
        copied.totals, copied.runs = self.totals.copy(), Runs(list(self.runs))
        copied.positions, copied.dropped = dict(self.positions), dict(self.dropped)
        copied.passed = self.passed
        return copied

    @classmethod
    def begin(cls) -> State:
        """Return the state of a new database."""
        state = cls()
        state.passed = Passed.begin()
        return state

    @classmethod
    def read(cls, data: bytes) -> State | None:
        """Return the state whose record some bytes begin with; None for other bytes."""
        length = read_length(data, 0)
        return None if length is None else cls.decode(read_row(data[:length]))

    @classmethod
    def decode(cls, row: Row | None) -> State | None:
        """Return the state in a record; None for other records."""
        if row is None or row.kind != STATE_KIND:
            return None
        try:
            stored = msgspec.msgpack.decode(row.body, type=_Stored)
        except (ValueError, RecursionError):
            return None
        state = cls()
        state.generation = row.sequence
        state.last_sequence = stored.last_sequence
        for kind, entries in zip(EntryKind, stored.held, strict=False):
            state.totals.entries[kind] = entries
        state.totals.bytes = stored.held_bytes
        state.runs = Runs(stored.runs)
        state.positions = stored.positions
        state.passed = stored.passed.widened()
        for name, count in stored.dropped.items():
            kind_number, _, reason = name.partition(_SEPARATOR)
            try:
                state.count_dropped(EntryKind(int(kind_number)), DropReason(reason), count)
            except ValueError:
                continue  # a reason of another version
        return state
