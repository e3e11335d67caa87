"""The reading end of the journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["JournalChunk", "JournalReader"]


@dataclass(frozen=True, slots=True)
class JournalChunk:
    """Records in order, and the position after them."""

    records: list[bytes]
    position: str
    corrupt_records: int
    corrupt_bytes: int


class JournalReader:
    """Reads, rotates and removes segments (being filled in)."""

    def __init__(
        self,
        directory: Path,
        position: str | None = None,
        *,
        segment_bytes: int = 4 * 1024 * 1024,
    ) -> None:
        raise NotImplementedError

    def read(self, max_records: int, max_bytes: int) -> JournalChunk:
        """Return the next records."""
        raise NotImplementedError

    def release(self, position: str) -> None:
        """Remove segments wholly before ``position`` that have no writers."""
        raise NotImplementedError

    def retire(self, position: str) -> bool:
        """Seal what is active and release; True when nothing is left and nobody writes."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the files."""
        raise NotImplementedError
