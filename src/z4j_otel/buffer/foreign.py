"""What somebody else put in the place of our files: never followed, never deleted, told once.

The home directory is private, so a link, a file or another user's directory under one of our
names is a mistake or a trap. Names that are not ours yet are passed over; where the name is
ours already, the thing is moved aside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from z4j_otel.disk import is_own_directory, what_is_wrong_with

__all__ = ["is_no_directory_of_ours", "put_aside", "remove_journal", "tell_of_strangers"]

_log = logging.getLogger(__name__)

_ASIDE = "-foreign"
_SEGMENTS = "*.log"


def is_no_directory_of_ours(path: Path) -> bool:
    """Whether there is something else than a directory of this user's; a link is."""
    try:
        return not is_own_directory(path)
    except FileNotFoundError:
        return False


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


def tell_of_strangers(paths: Iterable[Path]) -> bool:
    """Tell of what lies in the place of our files, for which another name was taken.

    Returns:
        Whether there was any such thing: one line is enough.
    """
    for path in paths:
        try:
            status = path.lstat()
        except OSError:
            continue
        problem = what_is_wrong_with(status)[1]
        if problem and not is_own_directory(path):
            _log.warning(
                "%s is %s and z4j-otel leaves it alone; it uses another name: look who put it "
                "there, then delete it",
                path,
                problem,
                extra={"action": "stranger_passed_over"},
            )
            return True
    return False


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
