"""Can the agent keep its files where it would? Nothing of a running agent is touched."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from z4j_otel.buffer.home import possible_homes, resolve_home, with_home
from z4j_otel.config import AgentConfig
from z4j_otel.findings import Finding, failed, fine, warned

__all__ = ["buffer_path_of", "examine_storage"]

_NAME: Final = "buffer_path"
_LEAST_BYTES: Final = 16 * 1024**2
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def buffer_path_of(config: AgentConfig, directory: Path | None) -> str:
    """Return the path of an agent's buffer; ``{pid}`` stands for its process."""
    if config.buffer_path is not None:
        return str((directory or Path()) / config.buffer_path.name)
    return str((directory or Path("~/.z4j")) / "buffer-{pid}.sqlite")


def examine_storage(
    config: AgentConfig, environ: Mapping[str, str] = os.environ
) -> tuple[Path | None, Finding]:
    """Choose the directory as the agent does, and write a file there.

    Returns:
        The directory that is really used, None when there is none, and the finding.
    """
    wanted_of = with_home(environ, config.home)
    wanted = possible_homes(wanted_of)[0]
    try:
        home = resolve_home(wanted_of)
        directory = _directory_of(config, home)
        _write_in(directory)
        facts = _facts(directory)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return None, failed(_NAME, f"no directory takes our files ({why})", *_home_cure(wanted))
    if home != wanted:
        me = _user_name(os.geteuid())
        text = f"{wanted} cannot be used by user {me}; {_words(home, facts)} is used"
        return directory, warned(_NAME, text, *_home_cure(wanted), **facts)
    return directory, _judge(config, directory, facts)


def _judge(config: AgentConfig, directory: Path, facts: Mapping[str, Any]) -> Finding:
    text = f"buffer dir {_words(directory, facts)} is writable"
    free, most = facts["free_bytes"], config.buffer_max_bytes
    if free < _LEAST_BYTES:
        full = f"the disk of {directory} is full ({_size(free)} left)"
        return failed(_NAME, full, *_space_cure(directory), **facts)
    if free < most:
        text += f"; {_size(free)} left is less than the buffer may take ({_size(most)})"
        return warned(_NAME, text, *_space_cure(directory), **facts)
    return fine(_NAME, text, **facts)


def _directory_of(config: AgentConfig, home: Path) -> Path:
    directory = home if config.buffer_path is None else (home / config.buffer_path).parent
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _write_in(directory: Path) -> None:
    """Write a file and delete it again.

    Raises:
        OSError: The directory takes none.
    """
    with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
        file.write(b"\0" * 4096)
        file.flush()


def _facts(directory: Path) -> dict[str, Any]:
    status = directory.stat()
    return {
        "directory": str(directory),
        "owner": status.st_uid,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "user": os.geteuid(),
        "free_bytes": shutil.disk_usage(directory).free,
    }


def _words(directory: Path, facts: Mapping[str, Any]) -> str:
    owner, mode, free = facts["owner"], facts["mode"], _size(facts["free_bytes"])
    return f"{directory} (owner {_user_name(owner)}, mode {mode}, {free} free)"


def _user_name(uid: int) -> str:
    try:
        import pwd  # noqa: PLC0415 -- not on every platform

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)


def _home_cure(wanted: Path) -> tuple[str, ...]:
    me = _user_name(os.geteuid())
    cure = f"sudo install -d -m 0700 -o {me} {wanted}"
    return cure, cure, "# or keep all files elsewhere:", "export Z4J_HOME=/var/lib/z4j"


def _space_cure(directory: Path) -> tuple[str, ...]:
    return (
        "free some space, or set Z4J_HOME to another disk, or Z4J_BUFFER_MAX_BYTES to less",
        f"df -h {directory}",
        "export Z4J_HOME=/path/on/another/disk",
    )


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1000:  # noqa: PLR2004 -- kilo
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"
