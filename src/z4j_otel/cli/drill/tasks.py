"""The tasks of a drill: they note when they really begin and end, and some die in between.

The notes are one ``write(2)`` each to a file opened with ``O_APPEND``, so that they survive
whatever happens to the process, and know nothing of z4j. A worker of any application takes
these tasks in by ``--include``; it then also notes when it is ready, and keeps to itself:
it shares no worker events, remote control, state file or delivery times with its siblings.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

from celery import shared_task, signals

__all__ = ["is_first_run", "note"]

_NOTES: Final = os.environ.get("Z4J_OTEL_DRILL_NOTES", "drill-notes")
_ALONE: Final = os.environ.get("Z4J_OTEL_DRILL_ALONE", "")
"""Options of the broker's transport as JSON, where the application is a user's."""
_HARD_LIMIT_S: Final = 1
# Nothing of a drill stays behind in a user's result backend.
_OPTIONS: Final[dict[str, Any]] = (
    {"bind": True, "ignore_result": True, "store_errors_even_if_ignored": False}
    if _ALONE
    else {"bind": True}
)


def note(phase: str, task: Any) -> None:
    """Append a line that survives the process.

    Args:
        phase: ``begin``, ``end`` or ``raise``.
        task: The task that runs.
    """
    _write(f"{phase} {task.request.id}")


def is_first_run(task: Any) -> bool:
    """Whether a task that has noted its begin has done so once."""
    notes = Path(_NOTES).read_text("utf-8")
    return notes.count(f"begin {task.request.id} ") == 1


def _write(what: str) -> None:
    line = f"{what} {os.getpid()} {time.time_ns()}\n"
    fd = os.open(_NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@signals.worker_init.connect
def _keep_to_itself(sender: Any = None, **_kwargs: Any) -> None:
    """Give the worker no part in what the application's other workers share."""
    if not _ALONE:
        return
    sender.task_events, sender.statedb = False, None
    conf = sender.app.conf
    conf.worker_enable_remote_control = False
    conf.broker_transport_options = {**conf.broker_transport_options, **json.loads(_ALONE)}


@signals.worker_ready.connect
def _worker_is_ready(**_kwargs: Any) -> None:
    """Say so where the drill sees it: an application may log as it likes."""
    _write("ready worker")


@shared_task(name="z4j.drill.quick", **_OPTIONS)
def quick(self: Any) -> int:
    """Return at once."""
    note("begin", self)
    note("end", self)
    return 1


@shared_task(name="z4j.drill.nap", **_OPTIONS)
def nap(self: Any, seconds: float) -> int:
    """Work for a while."""
    note("begin", self)
    time.sleep(seconds)
    note("end", self)
    return 1


@shared_task(name="z4j.drill.segv", **_OPTIONS)
def segv(self: Any) -> int:
    """Read where nothing is, in the first run."""
    note("begin", self)
    if is_first_run(self):
        ctypes.string_at(0)
    note("end", self)
    return 1


@shared_task(name="z4j.drill.exits", **_OPTIONS)
def exits(self: Any) -> int:
    """Leave the process without a word, in the first run."""
    note("begin", self)
    if is_first_run(self):
        os._exit(3)
    note("end", self)
    return 1


@shared_task(name="z4j.drill.limited", time_limit=_HARD_LIMIT_S, **_OPTIONS)
def limited(self: Any) -> None:
    """Run into the hard time limit, and do not die of the SIGTERM that comes before SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("begin", self)
    time.sleep(60)
