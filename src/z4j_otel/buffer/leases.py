"""Which entries are out, until when, and where to look for the next: memory only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Leases", "runs"]

_NS = 1_000_000_000


class Leases:
    """Sequences on lease. What is above :attr:`cursor` is visible."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._next_expiry_ns: int | None = None
        self.cursor = 0
        """Highest sequence that need not be looked at for a lease."""

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._held

    def take(self, sequences: Iterable[int], *, now_ns: int, hold_s: float) -> None:
        """Note sequences as held until ``hold_s`` from now."""
        expiry_ns = now_ns + int(hold_s * _NS)
        self._held.update(dict.fromkeys(sequences, expiry_ns))
        if self._next_expiry_ns is None or expiry_ns < self._next_expiry_ns:
            self._next_expiry_ns = expiry_ns

    def give_back(self, sequences: Iterable[int]) -> None:
        """Make held sequences visible again; others are ignored."""
        for sequence in sequences:
            if self._held.pop(sequence, None) is not None and sequence <= self.cursor:
                self.cursor = sequence - 1

    def forget(self, sequences: Iterable[int]) -> None:
        """Note that entries no longer exist."""
        for sequence in sequences:
            self._held.pop(sequence, None)

    def expire(self, now_ns: int) -> None:
        """Give back what was held too long."""
        if self._next_expiry_ns is None or now_ns < self._next_expiry_ns:
            return
        self.give_back([held for held, expiry_ns in self._held.items() if expiry_ns <= now_ns])
        self._next_expiry_ns = min(self._held.values(), default=None)


def runs(sequences: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each unbroken run in a set of sequences, in order."""
    first = last = None
    rising = sorted(set(sequences))
    if rising and rising[-1] - rising[0] == len(rising) - 1:
        # As a batch nearly always is; this is asked of each entry three times.
        yield rising[0], rising[-1]
        return
    for sequence in rising:
        if first is None or last is None:
            first = sequence
        elif sequence != last + 1:
            yield first, last
            first = sequence
        last = sequence
    if first is not None and last is not None:
        yield first, last
