"""What the brain may still show of our schedules, remembered beyond the agent's life.

A new epoch begins with the whole inventory, and the brain (seen in z4j 1.13) cannot take one
that lacks a schedule it has: it drops it, and the stream stays closed for good. So whoever
opens an epoch has to name, once more, what has gone since the last one, and delete it
afterwards. This file says what that is. It lies beside the lock of who mirrors the schedules
and only its holder reads and writes it. Everything in it has been redacted.

It may name too much, never too little: a schedule is written down before it is published,
and taken out when the brain has acknowledged its deletion.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from z4j_otel.disk import open_own
from z4j_otel.errors import FrameMalformed
from z4j_otel.schedules import LIVE_MEMBERS
from z4j_otel.wire import canonical
from z4j_otel.wire.schedules import ROW_MEMBERS

__all__ = ["ToldMemory"]

_logger = logging.getLogger(__name__)

_MAX_BYTES: Final = 64 * 1024 * 1024

Rows = dict[str, dict[str, Any]]


class ToldMemory:
    """Rows by key, for each owner.

    Args:
        path: The file; None to remember for the life of this object only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._owners: dict[str, Rows] = {}

    def recall(self, owner: str) -> Rows:
        """Return what was told of an owner's schedules, by this process or an earlier one."""
        if self._path is not None:
            self._owners = _read(self._path)
        return dict(self._owners.get(owner, {}))

    def keep(self, owner: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember exactly these rows; what changes by itself is of no interest.

        A file that cannot be written costs nothing but itself.
        """
        kept = {key: {**row, **_NOT_LIVE} for key, row in rows.items()}
        if kept == self._owners.get(owner):
            return
        self._owners[owner] = kept
        if self._path is not None:
            _write(self._path, canonical.encode(self._owners))


_NOT_LIVE: Final = {name: 0 if name == "total_runs" else None for name in LIVE_MEMBERS}


def _read(path: Path) -> dict[str, Rows]:
    """Return what a file says; nothing where it says nothing that can be used."""
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), "rb") as stream:
            value = canonical.decode(stream.read(_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, FrameMalformed) as error:
        _logger.debug("what the brain was told of schedules is lost: %s", type(error).__name__)
        return {}
    owners = value if isinstance(value, dict) else {}
    return {
        owner: {key: row for key, row in rows.items() if _is_row(row)}
        for owner, rows in owners.items()
        if isinstance(rows, dict)
    }


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and set(row) == ROW_MEMBERS


def _write(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
        new.replace(path)
    except OSError as error:
        _logger.debug("what the brain is told of schedules is not kept: %s", error.strerror)
