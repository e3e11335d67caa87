"""The bounded memory that holds records while the disk does not take them."""

from __future__ import annotations

from collections import deque

__all__ = ["Ring"]


class Ring:
    """A queue of framed records; the oldest leave when it is full."""

    def __init__(self, *, max_records: int = 1000, max_bytes: int = 2 * 1024 * 1024) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._records: deque[bytes] = deque()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def push(self, record: bytes) -> int:
        """Add a record and return how many records had to leave for it, itself included."""
        self._records.append(record)
        self._held_bytes += len(record)
        left = 0
        while len(self._records) > self._max_records or self._held_bytes > self._max_bytes:
            self.pop()
            left += 1
        return left

    def oldest(self) -> bytes:
        """Return the oldest record and keep it."""
        return self._records[0]

    def pop(self) -> None:
        """Forget the oldest record."""
        self._held_bytes -= len(self._records.popleft())
