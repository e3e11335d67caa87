"""The system calls that journal and buffer make on files: one narrow place for all of them.

Tests put an object with the same members here, to fail any call or to stop before it.
"""

from __future__ import annotations

import fcntl
import os

__all__ = ["DISK", "Disk"]


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
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)


DISK = Disk()
