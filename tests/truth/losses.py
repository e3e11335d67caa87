"""What is lost where Celery loses spans: children that are replaced, workers that stop."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from z4j_otel.cli.demo.brains import BrainView
from z4j_otel.cli.demo.stage import Stage, StageError

__all__ = ["ENDINGS", "Ending", "Loss", "measure"]

TASKS = 200
_START_S = 40.0
_RUN_S = 60.0
_ENDS = frozenset({"task.succeeded", "task.failed", "task.revoked", "task.retried"})
_PUBLISH = """
import json, sys
from z4j_otel.cli.workload.app import app
add = app.tasks["shop.add"]
json.dump([add.delay(n, 1).id for n in range(int(sys.argv[1]))], sys.stdout)
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How the children of a worker end, and then the worker itself."""

    name: str
    options: tuple[str, ...]
    signal_number: int = signal.SIGTERM


ENDINGS = (
    Ending("--max-tasks-per-child=1", ("--concurrency=16", "--max-tasks-per-child=1")),
    Ending("--max-tasks-per-child=10", ("--concurrency=4", "--max-tasks-per-child=10")),
    Ending("warm stop right after the last task", ("--concurrency=2",)),
    Ending("cold stop right after the last task", ("--concurrency=2",), signal.SIGQUIT),
)
"""A child that is replaced first sleeps for a second, hence the concurrency."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What the brain knows of tasks that all ran."""

    tasks: int
    told_once: int
    """Tasks with exactly one start, one end, and a row in its final state."""
    problems: tuple[str, ...]
    """The first few of the others, in words."""

    @property
    def is_none(self) -> bool:
        """Whether everything was told."""
        return self.told_once == self.tasks


def measure(brain: BrainView, folder: Path, ending: Ending, *, tasks: int = TASKS) -> Loss:
    """Run tasks in a real worker, stop it right after the last one, and count.

    Args:
        brain: The brain, running.
        folder: An empty folder for the worker's files.
        ending: How the worker's children end.
        tasks: How many.

    Raises:
        StageError: The worker did not run them all.
    """
    options = ("--pool=prefork", *ending.options)
    with Stage(folder, brain.environment(), worker_options=options) as stage:
        _wait(stage.is_ready, stage, _START_S, "the worker does not start")
        ids = json.loads(stage.run("-c", _PUBLISH, str(tasks)))
        _wait(lambda: _ran(stage) >= tasks, stage, _RUN_S, "the worker did not run all tasks")
        stage.stop(ending.signal_number)
    problems = [problem for task_id in ids if (problem := _problem(brain, task_id))]
    return Loss(tasks, tasks - len(problems), tuple(problems[:5]))


def _ran(stage: Stage) -> int:
    """Count the tasks that ended, by the worker's own log."""
    return stage.log_path.read_bytes().count(b" succeeded in ")


def _problem(brain: BrainView, task_id: str) -> str | None:
    kinds = Counter(str(event["kind"]) for event in brain.events(task_id))
    ends = sum(kinds[kind] for kind in _ENDS)
    row = brain.task(task_id)
    state = row["state"] if row else "unknown"
    if (kinds["task.started"], ends, state) == (1, 1, "success"):
        return None
    return f"{task_id}: {state}, {dict(kinds)}"


def _wait(condition, stage: Stage, timeout_s: float, otherwise: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise StageError(otherwise, stage.log())
        stage.is_ready()
        time.sleep(0.05)
