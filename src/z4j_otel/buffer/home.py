"""Where the agent's files may lie: the home directory, its stand-in, and their bounds."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from z4j_otel.errors import ConfigError

__all__ = ["clamp_buffer_path", "possible_homes", "replace_home", "resolve_home"]

_log = logging.getLogger(__name__)

# What resolve_home chose in this process for a home that cannot be used: the same answer,
# and no second warning, for whoever asks again.
_stand_ins: dict[Path, Path] = {}


def resolve_home(environ: Mapping[str, str]) -> Path:
    """Return the directory for the agent's files, made with mode 0700 if it is missing.

    It is ``Z4J_HOME``, else ``~/.z4j``. When that cannot be written, or everybody may write
    there, ``$TMPDIR/z4j-{uid}`` stands in, with one warning per process; and when that name
    is a link, somebody else's or open to others, a new directory beside it.

    Args:
        environ: The environment to read ``Z4J_HOME``, ``HOME`` and ``TMPDIR`` from.

    Raises:
        OSError: Not even a temporary directory can be made.
    """
    home = _wanted_home(environ)
    if home in _stand_ins:
        return _stand_ins[home]
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = _problem_with(home)
    except OSError as error:
        problem = error.strerror or "cannot be made"
    if problem is None:
        return home
    return replace_home(home, problem, environ)


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
    stand_in = _stand_ins[home] = _make_stand_in(_temporary_root(environ))
    _log.warning(
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


def clamp_buffer_path(path: Path, environ: Mapping[str, str]) -> Path:
    """Return an explicit buffer path, resolved, if it lies where buffers may lie.

    Args:
        path: As given by the user; a relative one counts from the home directory.
        environ: The environment to read ``Z4J_HOME``, ``HOME`` and ``TMPDIR`` from.

    Raises:
        ConfigError: It is neither below the home directory nor below the temporary root,
            links and ``..`` followed.
    """
    home = _wanted_home(environ).resolve()
    resolved = (home / path.expanduser()).resolve()
    roots = (home, _temporary_root(environ).resolve())
    if any(root in resolved.parents for root in roots):
        return resolved
    raise ConfigError(
        "buffer_path",
        "argument or environment Z4J_BUFFER_PATH",
        "expected a file below the z4j home directory or the temporary directory",
    )


def _wanted_home(environ: Mapping[str, str]) -> Path:
    explicit = environ.get("Z4J_HOME")
    if explicit:
        return Path(explicit).expanduser().absolute()
    return Path(environ.get("HOME") or os.path.expanduser("~")).absolute() / ".z4j"  # noqa: PTH111 -- Path.home() raises where no home is known


def _temporary_root(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("TMPDIR") or tempfile.gettempdir())


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
    directory = _stand_in(root)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        if is_private and status.st_uid == os.geteuid():
            return directory
    except FileExistsError:  # a file, or a link to nowhere
        pass
    return Path(tempfile.mkdtemp(prefix=f"{directory.name}-", dir=root))
