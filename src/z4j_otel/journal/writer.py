"""The writing end of the journal."""

from __future__ import annotations

from pathlib import Path

__all__ = ["JournalWriter"]


class JournalWriter:
    """Appends records (being filled in).

    Rotation is the reader's, so ``segment_bytes`` is an argument of the reader only.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        raise NotImplementedError

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Write one record; never raises."""
        raise NotImplementedError

    def flush(self) -> bool:
        """Write what waits in memory; True when nothing waits any more."""
        raise NotImplementedError

    @property
    def dropped(self) -> dict[str, int]:
        """Records lost in this process, by reason."""
        raise NotImplementedError

    def close(self) -> None:
        """Flush and close."""
        raise NotImplementedError
