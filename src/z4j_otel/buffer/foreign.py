"""What somebody else put in the place of our files: never followed, never deleted, told once.

The home directory is private, so a link, a file or another user's directory under one of our
names is a mistake or a trap. Names that are not ours yet are passed over; where the name is
ours already, the thing is moved aside.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["is_no_directory_of_ours", "put_aside", "remove_journal", "tell_of_links"]

_log = logging.getLogger(__name__)

_ASIDE = "-foreign"
_SEGMENTS = "*.log"


def is_no_directory_of_ours(path: Path) -> bool:
    """Whether there is something else than a directory of this user's; a link is."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid()


def put_aside(path: Path) -> None:
    """Move away what is in the place of a directory of ours.

    Raises:
        OSError: It cannot be moved.
    """
    aside = _aside_of(path)
    path.rename(aside)
    _log.warning(
        "%s was not made by z4j-otel and is now called %s; look who put it there, then delete it",
        path,
        aside.name,
        extra={"action": "foreign_put_aside"},
    )


def tell_of_links(paths: Iterable[Path]) -> None:
    """Tell of links in the place of our files, for which another name was taken."""
    for path in paths:
        if path.is_symlink():
            _log.warning(
                "%s is a link, which z4j-otel does not follow; it uses another name: look who "
                "put it there, then delete it",
                path,
                extra={"action": "link_passed_over"},
            )


def remove_journal(directory: Path) -> bool:
    """Delete a journal that has no segment any more.

    What somebody else put into it goes aside with it: no writer finds it any more.

    Returns:
        False when there is a segment, or it cannot be deleted; then it is as it was.
    """
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return not _has_segment(directory) and _take_out_of_use(directory)
    return True


def _take_out_of_use(directory: Path) -> bool:
    aside = _aside_of(directory)
    try:
        directory.rename(aside)
        if _has_segment(aside):  # a writer was quicker
            aside.rename(directory)
            return False
    except OSError:
        return False
    return True


def _has_segment(directory: Path) -> bool:
    return next(directory.glob(_SEGMENTS), None) is not None


def _aside_of(path: Path) -> Path:
    return path.with_name(path.name + _ASIDE)
