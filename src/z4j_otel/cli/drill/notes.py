"""What really happened, by the tasks' own notes, compared with what a brain was told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ENDS", "OUT_OF_ORDER", "Notes", "Run", "begun_again", "problems_of"]

ENDS = frozenset({"task.succeeded", "task.failed", "task.revoked", "task.retried"})
OUT_OF_ORDER = "starts and ends out of order"
_FINAL = frozenset({"success", "failure", "revoked"})


@dataclass(slots=True)
class Run:
    """One run of a task, as it noted it itself."""

    pid: int
    began_ns: int
    has_returned: bool = False
    has_raised: bool = False

    def __str__(self) -> str:
        end = "returned" if self.has_returned else "raised" if self.has_raised else "no end"
        return f"{end} in process {self.pid}"

    @property
    def is_over(self) -> bool:
        """Whether it returned, raised, or died with its process."""
        return self.has_returned or self.has_raised or not _is_alive(self.pid)


@dataclass(slots=True)
class Notes:
    """The file of all notes, read anew on each call."""

    path: Path

    def is_ready(self, pid: int) -> bool:
        """Whether the worker with this main process has said that it takes tasks."""
        return f"ready worker {pid} " in self._text()

    def runs(self) -> Mapping[str, Sequence[Run]]:
        """Return the runs of each task that began, in order."""
        found: dict[str, list[Run]] = {}
        for line in self._text().splitlines():
            phase, task_id, pid, at_ns = line.split()
            if phase == "ready":
                continue
            if phase == "begin":
                found.setdefault(task_id, []).append(Run(int(pid), int(at_ns)))
                continue
            run = next(run for run in reversed(found[task_id]) if run.pid == int(pid))
            run.has_returned |= phase == "end"
            run.has_raised |= phase == "raise"
        return found

    def _text(self) -> str:
        return self.path.read_text("utf-8") if self.path.exists() else ""


def problems_of(
    runs: Sequence[Run],
    events: Sequence[Mapping[str, Any]],
    state: str | None,
    causes: Collection[str],
) -> Iterator[str]:
    """Say what is wrong with a task's story.

    A run that noted its begin had been told as started before; so every begin needs a start,
    and every start exactly one end. A start without a note is a run that was killed before
    its first line. A run that noted its end may have been killed before it was told. A run
    that the pool itself began again (:func:`begun_again`) is the same attempt to Celery. An
    end for a lost process that neither noted a begin of this task nor was told to have started
    it is that of a child which died between taking the message and its first line.

    Args:
        runs: What the task noted.
        events: What the brain was told, in order.
        state: The state of the brain's row; None without one.
        causes: Why its runs may have failed.
    """
    begun = {run.pid for run in runs} | {
        event["data"].get("pid") for event in events if event["kind"] == "task.started"
    }
    events = [event for event in events if not _is_of_unbegun(event, begun)]
    kinds = Counter(str(event["kind"]) for event in events)
    starts, ends = kinds["task.started"], sum(kinds[kind] for kind in ENDS)
    returned = sum(run.has_returned for run in runs)
    if starts + begun_again(runs, starts) < len(runs):
        yield f"{len(runs)} runs, {starts} told"
    if ends != starts and not (starts == 0 and ends == kinds["task.revoked"] == 1):
        yield f"{starts} starts, {ends} ends"
    if not _are_in_order([str(event["kind"]) for event in events]):
        yield OUT_OF_ORDER
    if kinds["task.succeeded"] > returned:
        yield f"{returned} runs returned, {kinds['task.succeeded']} succeeded"
    if not causes and kinds["task.succeeded"] < returned:
        yield f"{returned} runs returned, only {kinds['task.succeeded']} succeeded"
    for event in events:
        cause = event["data"].get("cause")
        if event["kind"] == "task.failed" and cause not in causes:
            yield f"failed: {cause}, {event['data'].get('exception')}"
    if state not in _FINAL:
        yield f"state {state}"


def _is_of_unbegun(event: Mapping[str, Any], begun: Collection[object]) -> bool:
    """Whether an end is that of a process that was lost before it began the task."""
    pid = event["data"].get("pid")
    is_lost = event["kind"] == "task.retried" and event["data"].get("cause") == "worker_lost"
    return is_lost and bool(pid) and pid not in begun


def begun_again(runs: Sequence[Run], starts: int) -> int:
    """Count the runs that died so early that their pool took them for not begun.

    Celery hands such a message to another child and tells nobody.
    """
    died = sum(not (run.has_returned or run.has_raised) for run in runs[:-1])
    return min(died, max(0, len(runs) - starts))


def _are_in_order(kinds: Sequence[str]) -> bool:
    """Whether no end comes before its start, and no start before its message.

    Runs may overlap where a broker hands out a message again that it holds for lost.
    """
    received = running = 0
    for kind in kinds:
        received += kind == "task.received"
        running += (kind == "task.started") - (kind in ENDS)
        if running > received or (running < 0 and kind != "task.revoked"):
            return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except (ProcessLookupError, FileNotFoundError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
