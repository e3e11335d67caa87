"""How much memory and disk an agent has taken at most."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from z4j_otel.buffer.base import BufferStats

__all__ = ["Peaks"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    except OSError:  # not on Linux
        return 0


@dataclass
class Peaks:
    """The largest values that were ever seen."""

    rss_at_first_bytes: int = field(default_factory=_resident_bytes)
    """Of this process, before anything was captured."""
    rss_bytes: int = 0
    journal_bytes: int = 0
    """Of all segments that nobody has read to their end."""
    database_bytes: int = 0
    log_bytes: int = 0
    """SQLite's own log."""
    beside_bytes: int = 0
    """Everything else: the log's index, the copy of the state."""
    disk_bytes: int = 0
    """All of it together, at one moment."""
    entries: int = 0
    body_bytes: int = 0

    def look(self, directory: Path, journal_bytes: int, stats: BufferStats) -> None:
        """Take note of this moment."""
        sizes = {
            path.name: path.stat().st_size for path in directory.glob("b.sqlite*") if path.is_file()
        }
        log = sizes.pop("b.sqlite-wal", 0)
        database = sizes.pop("b.sqlite", 0)
        beside = sum(sizes.values())
        self._keep("rss_bytes", _resident_bytes())
        self._keep("journal_bytes", journal_bytes)
        self._keep("database_bytes", database)
        self._keep("log_bytes", log)
        self._keep("beside_bytes", beside)
        self._keep("disk_bytes", journal_bytes + database + log + beside)
        self._keep("entries", stats.entries)
        self._keep("body_bytes", stats.bytes)

    def _keep(self, name: str, value: int) -> None:
        setattr(self, name, max(getattr(self, name), value))
