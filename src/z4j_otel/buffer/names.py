"""What may lie beside a database, by name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["COMPANIONS", "NEW", "SQLITES", "all_of", "aside_of", "beside", "log_of", "mirror_of"]

SQLITES = ("-wal", "-shm", "-journal")
"""Suffixes of SQLite's own files."""
COMPANIONS = (*SQLITES, "-state")
"""The same, and that of the second copy of the buffer's state."""
NEW = ".new"
"""Suffix of a file that is to take another one's place."""
_ASIDE = ".corrupt-1"


def beside(path: Path, suffix: str) -> Path:
    """Return the path with a suffix added to its name."""
    return path.with_name(path.name + suffix)


def log_of(path: Path) -> Path:
    """Return where SQLite's log of a database lies."""
    return beside(path, "-wal")


def mirror_of(path: Path) -> Path:
    """Return where the second copy of a database's state lies."""
    return beside(path, "-state")


def aside_of(path: Path) -> Path:
    """Return where a database is left that could not be used."""
    return beside(path, _ASIDE)


def all_of(path: Path) -> list[Path]:
    """Return all files that a database may have, itself last."""
    aside = aside_of(path)
    companions = [beside(each, suffix) for each in (aside, path) for suffix in COMPANIONS]
    return [*companions, aside, beside(path, NEW), path]
