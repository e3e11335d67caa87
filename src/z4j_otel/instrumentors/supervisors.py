"""Who would start this process again if it ended: a decision, and the evidence for it.

A worker that exits on command is gone for good where nobody starts it again. So it exits
only where the process itself shows that somebody watches over it: systemd and supervisord
say so in the environment of what they start; a container shows by its marks, and its main
process is the one whose end ends the container. Whether a container is started again is a
matter of its restart policy, which nothing inside can see: Kubernetes restarts by default,
Docker does not. Where the signs mislead, ``Z4J_RESTART_BY_EXIT`` decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["EXIT_STATUS", "ProcessFacts", "Supervisor", "find_supervisor", "read_facts"]

EXIT_STATUS: Final = 75
"""Status of an exit that asks for a new start (EX_TEMPFAIL): not 0, because systemd's
``on-failure``, supervisord's ``unexpected`` and Docker's ``on-failure`` let a 0 rest."""

_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
_INITS: Final = frozenset({"tini", "dumb-init", "docker-init", "catatonit", "podman-init"})
_SHELLS: Final = frozenset({"sh", "dash", "bash", "ash", "busybox"})
_RUNTIMES: Final = ("docker", "libpod", "containerd", "crio", "cri-o")
_VARIABLES: Final = (
    *("INVOCATION_ID", "SYSTEMD_EXEC_PID", "KUBERNETES_SERVICE_HOST"),
    *("SUPERVISOR_ENABLED", "SUPERVISOR_PROCESS_NAME"),
)


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What a process shows of who runs it."""

    pid: int
    parent_pid: int
    parent_command: Sequence[str] = ()
    """The parent's command line; empty where it cannot be read."""
    environ: Mapping[str, str] = field(default_factory=dict)
    cgroup: str = ""
    """The text of ``/proc/self/cgroup``: one line under version 2, many under version 1."""
    marks: frozenset[str] = frozenset()
    """Those of the files with which container engines mark a container that exist."""


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Who starts the process again, if anybody does."""

    name: str | None
    """``systemd``, ``supervisord``, ``kubernetes``, ``container``, or None for nobody."""
    evidence: str
    """By what this was recognised, or why nobody was."""


def find_supervisor(facts: ProcessFacts) -> Supervisor:
    """Decide from a process's facts who would start it again."""
    environ = facts.environ
    if environ.get("SUPERVISOR_ENABLED") and environ.get("SUPERVISOR_PROCESS_NAME"):
        return Supervisor("supervisord", "SUPERVISOR_ENABLED and SUPERVISOR_PROCESS_NAME are set")
    if environ.get("INVOCATION_ID") and _is_unit(facts.cgroup):
        if _is_main_of_systemd(facts):
            return Supervisor("systemd", "it is the main process of a systemd service")
        return Supervisor(None, "it runs inside a systemd service, but is not its main process")
    return _find_container(facts)


def _find_container(facts: ProcessFacts) -> Supervisor:
    is_kubernetes = "KUBERNETES_SERVICE_HOST" in facts.environ or "kubepods" in facts.cgroup
    if not is_kubernetes and not _is_container(facts):
        return Supervisor(None, "no sign of systemd, supervisord, Kubernetes or a container")
    name = "kubernetes" if is_kubernetes else "container"
    if facts.pid == 1:
        return Supervisor(name, "it is process 1 of its container")
    if facts.parent_pid == 1 and _passes_on(facts.parent_command):
        program = _program(facts.parent_command)
        return Supervisor(name, f"it was started by {program}, process 1 of its container")
    return Supervisor(None, "it runs in a container, but is not its main process")


def read_facts() -> ProcessFacts:
    """Return the facts of this process; what cannot be read is left out."""
    parent_pid = os.getppid()
    command = _read(f"/proc/{parent_pid}/cmdline")
    return ProcessFacts(
        pid=os.getpid(),
        parent_pid=parent_pid,
        parent_command=tuple(command.rstrip("\0").split("\0")) if command else (),
        environ={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        cgroup=_read("/proc/self/cgroup"),
        marks=frozenset(mark for mark in _MARKS if Path(mark).exists()),
    )


def _is_unit(cgroup: str) -> bool:
    """Whether the innermost group is a service; a login's is a scope."""
    paths = (line.rpartition(":")[2] for line in cgroup.splitlines())
    return any(path.rstrip("/").endswith(".service") for path in paths)


def _is_main_of_systemd(facts: ProcessFacts) -> bool:
    started = facts.environ.get("SYSTEMD_EXEC_PID")
    # Before version 248 systemd does not say which process it started.
    return started == str(facts.pid) if started else facts.parent_pid == 1


def _is_container(facts: ProcessFacts) -> bool:
    return bool(facts.marks) or any(name in facts.cgroup for name in _RUNTIMES)


def _passes_on(command: Sequence[str]) -> bool:
    """Whether a process 1 ends when its child does: an init, or a shell that runs a script."""
    program = _program(command)
    # A shell without arguments is somebody's terminal.
    return program in _INITS or (program in _SHELLS and len(command) > 1)


def _program(command: Sequence[str]) -> str:
    return command[0].rpartition("/")[2] if command else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
