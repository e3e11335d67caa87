"""Where the agent's files may lie: the home directory, its stand-in, and their bounds.

Nothing is made, read or deleted outside these two. Both may lie where others can write, as a
temporary directory does. So a directory is used when it belongs to this user or to the
system, who may do everything anyway, and so does every link and directory on the way to it;
one that we make is looked at after it is made.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "clamp_buffer_path",
    "make_private",
    "possible_homes",
    "replace_home",
    "resolve_home",
    "with_home",
]

_log = logging.getLogger(__name__)

# What resolve_home chose in this process for a home that cannot be used: the same answer,
# and no second warning, for whoever asks again.
_stand_ins: dict[Path, Path] = {}


def with_home(environ: Mapping[str, str], home: Path | None) -> Mapping[str, str]:
    """Return an environment in which a home that was configured is the variable's value."""
    return {**environ, "Z4J_HOME": str(home)} if home else environ


def resolve_home(environ: Mapping[str, str]) -> Path:
    """Return the directory for the agent's files, made with mode 0700 if it is missing.

    It is ``Z4J_HOME``, else ``~/.z4j``. When that cannot be written, everybody may write
    there, or it or what leads to it belongs to another user, ``$TMPDIR/z4j-{uid}`` stands in,
    with one warning per process; and when that name is a link, somebody else's or open to
    others, a new directory beside it.

    Args:
        environ: The environment to read ``Z4J_HOME``, ``HOME`` and ``TMPDIR`` from.

    Raises:
        OSError: Not even a temporary directory can be made.
    """
    home = _wanted_home(environ)
    if home in _stand_ins:
        return _stand_ins[home]
    try:
        make_private(home)
    except OSError as error:
        return replace_home(home, error.strerror or "cannot be made", environ)
    return home


def replace_home(home: Path, problem: str, environ: Mapping[str, str]) -> Path:
    """Return what stands in for a home that turned out not to take our files, with one warning.

    From now on :func:`resolve_home` answers the same in this process.

    Args:
        home: From :func:`resolve_home`.
        problem: What is wrong with it, in a few words.
        environ: The environment to read ``TMPDIR`` from.

    Raises:
        OSError: Not even a temporary directory can be made.
    """
    is_news = not _stand_ins
    stand_in = _stand_ins[home] = _make_stand_in(_temporary_root(environ))
    _log.log(
        # One warning per process, whatever else is found wrong later.
        logging.WARNING if is_news else logging.DEBUG,
        "home directory %s cannot be used (%s); using %s. Correct it, or set Z4J_HOME to a "
        "directory that only this user may write, and start the process again",
        home,
        problem,
        stand_in,
        extra={"action": "home_replaced"},
    )
    return stand_in


def possible_homes(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the directories that agents of this user and environment may have chosen.

    Nothing is made; the second stands in for the first where that cannot be used, and
    either may be missing.

    Args:
        environ: The environment to read ``Z4J_HOME``, ``HOME`` and ``TMPDIR`` from.
    """
    return (_wanted_home(environ), _stand_in(_temporary_root(environ)))


def clamp_buffer_path(path: Path, environ: Mapping[str, str]) -> Path | None:
    """Return an explicit buffer path, links and ``..`` followed; None when it lies outside.

    Inside is what is below the home directory or below its stand-in.

    Args:
        path: As given by the user; a relative one counts from the home directory.
        environ: The environment to read ``Z4J_HOME``, ``HOME`` and ``TMPDIR`` from.
    """
    home = _wanted_home(environ)
    # The stand-in's own name is not followed: somebody else may have made it a link.
    roots = (_resolved(home), _stand_in(_resolved(_temporary_root(environ))))
    found = _resolved(home / path)
    return found if any(root in found.parents for root in roots) else None


def make_private(directory: Path) -> None:
    """Make a directory, mode 0700, where it is missing, and see that it is safe to use.

    What is missing above it is made in the same way.

    Raises:
        OSError: It cannot be made, or another user could get at what is in it.
    """
    missing = []
    for each in (directory, *directory.parents):
        if os.path.lexists(each):
            break
        missing.append(each)
    if problem := _stranger_on_the_way(missing[-1].parent if missing else directory):
        raise PermissionError(errno.EPERM, problem, str(directory))
    for each in reversed(missing):
        # Another process of ours may be as far; what else could be there is seen below.
        each.mkdir(mode=0o700, exist_ok=True)
    if problem := _stranger_on_the_way(directory) or _problem_with(directory):
        raise PermissionError(errno.EPERM, problem, str(directory))


def _wanted_home(environ: Mapping[str, str]) -> Path:
    explicit = environ.get("Z4J_HOME")
    if explicit:
        return Path(explicit).expanduser().absolute()
    return Path(environ.get("HOME") or os.path.expanduser("~")).absolute() / ".z4j"  # noqa: PTH111 -- Path.home() raises where no home is known


def _temporary_root(environ: Mapping[str, str]) -> Path:
    if given := environ.get("TMPDIR"):
        return Path(given).absolute()
    import tempfile  # noqa: PLC0415 -- costs as much as all of config, and is rarely needed

    return Path(tempfile.gettempdir())


def _resolved(path: Path) -> Path:
    """Follow links and ``..``; where links go in circles, as far as they lead."""
    return Path(os.path.realpath(path))


def _stranger_on_the_way(path: Path) -> str | None:
    """Return what another user has a hand in on the way to a directory, or None.

    Whoever owns a link or a directory can have the rest of the path lead elsewhere.
    """
    # In a user namespace the system's own user may be any number.
    trusted = {os.geteuid(), 0, Path("/").stat().st_uid}
    for way in (path, _resolved(path)):
        for each in (way, *way.parents):
            if each.lstat().st_uid not in trusted:
                return f"{each} belongs to another user"
    return None


def _problem_with(home: Path) -> str | None:
    """Return why a directory cannot hold the files, or None."""
    mode = home.stat().st_mode
    if not stat.S_ISDIR(mode):
        return "not a directory"
    if mode & stat.S_IWOTH:
        return "writable by everybody"
    # A group may write, as on volumes that orchestrators mount; our files are 0600.
    if not os.access(home, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return "not writable"
    return None


def _stand_in(root: Path) -> Path:
    return root / f"z4j-{os.geteuid()}"


def _make_stand_in(root: Path) -> Path:
    import tempfile  # noqa: PLC0415 -- see _temporary_root

    directory = _stand_in(root)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        if _is_private(directory):
            return directory
    except FileExistsError:  # a file, or a link to nowhere
        pass
    return Path(tempfile.mkdtemp(prefix=f"{directory.name}-", dir=root))


def _is_private(directory: Path) -> bool:
    status = directory.lstat()
    is_closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
    return is_closed and status.st_uid == os.geteuid()
