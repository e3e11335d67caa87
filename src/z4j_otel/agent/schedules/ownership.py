"""Which of several processes mirrors the schedules: the one that holds a lock.

All processes of a deployment see the same schedules, and the brain takes them from one
session. So the agents of a machine agree among themselves: one holds an exclusive ``flock``
on a file in their home directory for as long as it is connected, the others look every few
seconds whether it is free. A process that dies lets go of it, whatever it dies of. The file
is empty and stays. Agents of other machines do not know of the lock: there the brain decides.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from z4j_otel.disk import open_own
from z4j_otel.forks import call_in_child

__all__ = ["MirrorSeat", "seat_path", "told_path"]

_TAKEN = {errno.EWOULDBLOCK, errno.EACCES}
_CLOSED = -1


def seat_path(home: Path, deployment: str, schedulers: Iterable[str]) -> Path:
    """Return the lock file of some schedulers of a deployment.

    Args:
        home: The agents' directory.
        deployment: As in ``AgentConfig.deployment``; its first part is that of the project,
            which all agents share whose schedules are in one stream.
        schedulers: Their names.
    """
    shared = "\n".join([deployment.partition(".")[0], *sorted(schedulers)])
    return home / f"schedules-{hashlib.sha256(shared.encode()).hexdigest()[:16]}.seat"


def told_path(seat: Path | None) -> Path | None:
    """Return where the holder of a lock writes down what it tells the brain."""
    return None if seat is None else seat.with_suffix(".told")


class MirrorSeat:
    """The lock, as one process sees it.

    Args:
        path: Of :func:`seat_path`; None where no other process can have the schedules.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = _CLOSED
        self._is_held = path is None
        # A child would keep the lock of its dead parent.
        call_in_child(self.leave)

    @property
    def is_held(self) -> bool:
        """Whether it is ours."""
        return self._is_held

    def take(self) -> bool:
        """Take the lock if it is free; tell whether it is ours.

        Where there are no locks, everybody has it, and the brain decides.
        """
        if self._is_held or self._path is None:
            return True
        try:
            if self._fd == _CLOSED:
                self._fd = open_own(self._path, os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._is_held = error.errno not in _TAKEN
            return self._is_held
        self._is_held = True
        return True

    def leave(self) -> None:
        """Let go of it. Idempotent."""
        if self._path is not None:
            self._is_held = False
        if self._fd != _CLOSED:
            fd, self._fd = self._fd, _CLOSED
            with contextlib.suppress(OSError):
                os.close(fd)
