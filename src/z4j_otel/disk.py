"""The system calls that journal and buffer make on files: one narrow place for all of them.

Tests put an object with the same members here, to fail any call or to stop before it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

__all__ = ["DISK", "Disk", "is_own_directory", "open_own", "what_is_wrong_with"]

_GUARDS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Disk:
    """The operating system's own calls, as they are."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    read_at = staticmethod(os.pread)
    write = staticmethod(os.write)
    write_at = staticmethod(os.pwrite)
    truncate = staticmethod(os.ftruncate)
    dup2 = staticmethod(os.dup2)
    flock = staticmethod(fcntl.flock)
    fstat = staticmethod(os.fstat)
    stat = staticmethod(os.stat)
    lstat = staticmethod(os.lstat)
    listdir = staticmethod(os.listdir)
    mkdir = staticmethod(os.mkdir)
    rename = staticmethod(os.rename)
    unlink = staticmethod(os.unlink)


DISK = Disk()


def open_own(path: Path, flags: int, *, disk: Disk = DISK) -> int:
    """Open a file of ours; where the flags make it, with mode 0600.

    Nobody can lay a trap under its name: no link is followed, no pipe is waited for, and what
    was opened is looked at afterwards, so that swapping it in between is of no use.

    Args:
        path: The file; its directory is ours.
        flags: Of ``os.open``; never ``O_TRUNC``, which would come before the look.
        disk: The system calls to use.

    Raises:
        OSError: It cannot be opened; ``ELOOP`` for a link, ``EINVAL`` for what is no file,
            ``EMLINK`` for a file with a second name, ``EPERM`` for another user's.
    """
    assert not flags & os.O_TRUNC
    fd = disk.open(path, flags | _GUARDS, 0o600)
    try:
        number, problem = what_is_wrong_with(disk.fstat(fd))
    except BaseException:
        disk.close(fd)
        raise
    if number:
        disk.close(fd)
        raise OSError(number, problem, str(path))
    return fd


def is_own_directory(path: Path, *, disk: Disk = DISK) -> bool:
    """Whether a path is a directory of this user's, and no link to one.

    Raises:
        OSError: There is nothing, or it cannot be looked at.
    """
    status = disk.lstat(path)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def what_is_wrong_with(status: os.stat_result) -> tuple[int, str]:
    """Return why this cannot be a file that we made: an error number and words; 0 if it can."""
    if stat.S_ISLNK(status.st_mode):
        return errno.ELOOP, "a link"
    if not stat.S_ISREG(status.st_mode):
        return errno.EINVAL, "not a file"
    if status.st_uid != os.geteuid():
        return errno.EPERM, "another user's file"
    # 0: it was deleted meanwhile, which is for the caller to notice.
    if status.st_nlink > 1:
        return errno.EMLINK, "a file with a second name"
    return 0, ""
