"""The buffer in memory."""

from __future__ import annotations

__all__ = ["MemoryBuffer"]


class MemoryBuffer:
    """Implements :class:`z4j_otel.buffer.base.EventBuffer` (being filled in)."""

    def __init__(self, *, max_events: int = 100_000, max_bytes: int = 256 * 1024 * 1024) -> None:
        raise NotImplementedError
