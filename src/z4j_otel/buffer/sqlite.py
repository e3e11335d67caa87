"""The buffer in an SQLite database."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SqliteBuffer"]


class SqliteBuffer:
    """Implements :class:`z4j_otel.buffer.base.EventBuffer` (being filled in)."""

    def __init__(
        self, path: Path, *, max_events: int = 100_000, max_bytes: int = 256 * 1024 * 1024
    ) -> None:
        raise NotImplementedError
