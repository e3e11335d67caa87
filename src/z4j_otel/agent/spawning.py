"""Starting the agent process: what it gets, and what must not reach it.

It is started with ``posix_spawn``, which runs no fork hooks of this process and starts no
thread, so that gevent, eventlet and the application notice nothing. The new process

* has this process's line on descriptor 0 and the lock of the agent's files on 3;
* is a process group of its own: Ctrl-C in the terminal, and whatever else is sent to the
  group, must not end it before it has delivered;
* gets the interpreter, the paths and the environment of this process, without the
  directories that would instrument or patch it, and without our settings: the secrets come
  over the line.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["LOCK_FD", "can_spawn", "reap", "spawn_agent"]

LOCK_FD: Final = 3
"""Where the agent process finds the lock file's descriptor."""

_REPORT: Final = "Z4J_OTEL_REPORT"
_CUSTOMIZED: Final = ("sitecustomize.py", "usercustomize.py")


def can_spawn() -> bool:
    """Whether an agent process can be started here."""
    return hasattr(os, "posix_spawn") and _interpreter() is not None


def spawn_agent(line: socket.socket, lock_fd: int) -> int:
    """Start an agent process and return its process id.

    Args:
        line: Its end of the line; the caller closes this process's copy.
        lock_fd: The lock of the files it is to own.

    Raises:
        OSError: It cannot be started.
    """
    interpreter = _interpreter()
    if interpreter is None:
        raise FileNotFoundError("no Python interpreter is known")
    # High numbers: one that is to become 0 or 3 must not be overwritten before.
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (line.fileno(), lock_fd)]
    try:
        return os.posix_spawn(
            interpreter,
            [interpreter, "-m", "z4j_otel.agent.process_main"],
            _environment(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, copies[0], 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, copies[1], LOCK_FD),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGCHLD,),
        )
    finally:
        for fd in copies:
            os.close(fd)


def reap(pid: int, *, is_to_wait: bool = False) -> int | None:
    """Collect an agent process that has ended.

    Returns:
        Its exit code, negative for a signal, 0 when somebody else has collected it; None
        while it runs.
    """
    try:
        ended, status = os.waitpid(pid, 0 if is_to_wait else os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if ended else None


def _interpreter() -> str | None:
    """Return the path of this Python; servers that embed it name themselves instead."""
    for path in (sys.executable, str(Path(sys.prefix, "bin", "python"))):
        is_python = Path(path or "").name.startswith(("python", "pypy"))
        if is_python and os.access(path, os.X_OK):
            return path
    return None


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in variables.items()
        if not name.startswith("Z4J_") or name == _REPORT
    }
    # It finds what this process finds; the working directory only if this process does.
    kept["PYTHONPATH"] = os.pathsep.join(_import_paths(variables.get("PYTHONPATH", "")))
    kept["PYTHONSAFEPATH"] = "1"
    return kept


def _import_paths(python_path: str) -> Iterator[str]:
    for path in sys.path:
        # Wrappers such as opentelemetry-instrument run their part from such a directory.
        is_wrapper = path in python_path.split(os.pathsep) and _is_customized(path)
        if path and not is_wrapper:
            yield path


def _is_customized(path: str) -> bool:
    with suppress(OSError):
        return any(Path(path, name).exists() for name in _CUSTOMIZED)
    return False
