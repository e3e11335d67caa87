"""The agents of this machine as their files show them: alive or dead, well or not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from z4j_otel.agent.status_file import read_status
from z4j_otel.buffer.census import FilesSeen, WaitingSums, find_files, sum_waiting
from z4j_otel.buffer.home import possible_homes
from z4j_otel.clock import parse_iso_ns
from z4j_otel.errors import BufferError_

__all__ = ["AgentSeen", "age_of", "homes_of", "see_agents", "size_of"]

_NS: Final = 1_000_000_000
_SILENT_S: Final = 120.0
_STARTING_S: Final = 30.0
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_TWO: Final = 2
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """One agent, alive or dead."""

    files: FilesSeen
    status: Mapping[str, Any]
    """What it showed last, see ``agent.status``; empty when it showed nothing."""
    waiting: WaitingSums
    problems: tuple[str, ...]
    """Why it is not healthy, each with what to do; none when it is."""

    @property
    def state(self) -> str:
        """One word for where it stands."""
        if not self.files.is_alive:
            return "ended"
        return str(self.status.get("state", "starting"))

    def describe(self, now_ns: int) -> dict[str, Any]:
        """Return it as JSON values."""
        oldest_ns = self.waiting.oldest_ns
        return {
            "name": self.files.name,
            "home": str(self.files.journal_dir.parent),
            "pid": self.files.pid,
            "alive": self.files.is_alive,
            "state": self.state,
            "healthy": not self.problems,
            "problems": list(self.problems),
            "waiting": {
                "entries": self.waiting.entries,
                "bytes": self.waiting.bytes,
                "oldest_age_s": None if oldest_ns is None else max(0, now_ns - oldest_ns) / _NS,
            },
            "journal_bytes": self.files.journal_bytes,
            "status": dict(self.status) or None,
        }


def homes_of(given: Path | None, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the directories to look in: the one given, or those that agents may have chosen."""
    return (given.absolute(),) if given is not None else possible_homes(environ)


def see_agents(homes: Iterable[Path], *, now_ns: int) -> list[AgentSeen]:
    """Return every agent that has files in one of the directories.

    Args:
        homes: From :func:`homes_of`.
        now_ns: Current time, nanoseconds since the Unix epoch.
    """
    found = [files for home in homes for files in find_files(home)]
    return [_see(files, found, now_ns) for files in found]


def age_of(seconds: float) -> str:
    """Write an age for people."""
    if seconds < _TWO * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < _TWO * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _TWO * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


def size_of(count: int) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < _TWO * _KIB:
            return f"{count} {unit}"
        count //= _KIB
    return f"{count} GiB"


def _see(files: FilesSeen, all_files: Sequence[FilesSeen], now_ns: int) -> AgentSeen:
    status = read_status(files.status_path) or {}
    problems = []
    try:
        waiting = _waiting(files, status)
    except BufferError_ as error:
        waiting = WaitingSums()
        problems.append(f"its buffer cannot be read: {error}")
    if files.is_alive:
        problems += _problems_of_living(files, status, now_ns)
    else:
        problems += _problems_of_dead(files, waiting, all_files)
    return AgentSeen(files, status, waiting, tuple(problems))


def _waiting(files: FilesSeen, status: Mapping[str, Any]) -> WaitingSums:
    """Return what waits: as a living agent told it last, or counted now."""
    told = status.get("buffer")
    if files.is_alive and isinstance(told, dict):
        return WaitingSums(told.get("entries", 0), told.get("bytes", 0), told.get("oldest_ns"))
    return sum_waiting(files.buffer_path)


def _problems_of_living(files: FilesSeen, status: Mapping[str, Any], now_ns: int) -> Iterable[str]:
    silent_s = (now_ns - files.last_alive_ns) / _NS
    if silent_s > _SILENT_S:
        yield f"it has given no sign of life for {age_of(silent_s)}: is its process stopped?"
    if status:
        started_s = (now_ns - parse_iso_ns(status.get("started_at", status["written_at"]))) / _NS
        state = status.get("state", "starting")
        if state != "connected" and (status.get("problem") or started_s > _STARTING_S):
            yield status.get("problem") or f"it is {state}, not connected"
        ledger = status.get("ledger") or {}
        if not ledger.get("closes", True):
            count = ledger.get("unaccounted", "some")
            yield f"{count} events are unaccounted for; please report this"


def _problems_of_dead(
    files: FilesSeen, waiting: WaitingSums, all_files: Sequence[FilesSeen]
) -> Iterable[str]:
    left = files.journal_bytes
    if not (waiting.entries or left) or any(_takes_over(each, files) for each in all_files):
        return
    what = f"{waiting.entries} events"
    if left:
        what += f" and {size_of(left)} of journal"
    yield f"it ended and left {what}; start its worker again, or run: z4j-otel buffer drain"


def _takes_over(other: FilesSeen, dead: FilesSeen) -> bool:
    """Whether another agent will deliver a dead one's files by itself."""
    return (
        other.is_alive
        and other.journal_dir.parent == dead.journal_dir.parent
        and not set(other.deployment.split(".")).isdisjoint(dead.deployment.split("."))
    )
