"""The scene of the loss table: the workload's worker, and more ways to look at its tasks."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage, StageError
from z4j_otel.cli.drill.notes import ENDS, Notes, Run
from z4j_otel.cli.drill.scene import Call, Scene

__all__ = ["APP", "LossScene", "oom_cgroup", "variables_of"]

APP = "tests.truth.loss_app"
ROOT = Path(__file__).parents[2]
_PUBLISH = """
import json, sys
from tests.truth.loss_app import app
print(json.dumps([app.tasks[name].delay(*args).id for name, args in json.loads(sys.argv[1])]))
"""
_REVOKE = """
import json, sys
from tests.truth.loss_app import app
app.control.revoke(json.loads(sys.argv[1]), terminate=True)
"""


def variables_of(broker: str | None, queue: str) -> dict[str, str]:
    """Return the variables of the application's processes.

    Args:
        broker: Broker URL; the embedded filesystem broker when None.
        queue: The worker's queue.
    """
    results = {"Z4J_OTEL_DEMO_RESULTS": broker} if (broker or "").startswith("redis") else {}
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "Z4J_OTEL_DEMO_QUEUE": queue,
        **results,
    }


class LossScene(Scene):
    """One row of the loss table while it is measured."""

    def __init__(
        self,
        brain: EmbeddedBrain,
        folder: Path,
        *,
        options: Sequence[str],
        broker: str | None,
        variables: Mapping[str, str],
    ) -> None:
        """Prepare; nothing runs yet."""
        notes = Notes(folder / "notes")
        self.broker = broker
        self.unnoted: list[str] = []
        """Tasks told as started that died before their first line, and come no more."""
        self.recovery_s: float | None = None
        """From the next agent's start until all was told that the dead one had left."""
        self.random = random.Random(17)
        queue = f"loss-{secrets.token_hex(4)}"
        stage = Stage(
            folder,
            brain.environment(),
            broker=broker,
            worker_options=("--pool=prefork", *options),
            # A broker knows one worker of a name, and rows are measured two at once.
            worker_name=f"{queue}@truth",
            variables={
                **variables_of(broker, queue),
                "Z4J_OTEL_DRILL_NOTES": str(notes.path),
                **variables,
            },
            app=APP,
        )
        super().__init__(brain, stage, notes)

    def publish(self, calls: Sequence[Call]) -> None:
        """Publish tasks in a process of its own."""
        self.ids += json.loads(self.stage.run("-c", _PUBLISH, json.dumps(calls)))

    def revoke(self, ids: Sequence[str]) -> None:
        """Revoke tasks and have the processes that run them terminated."""
        self.stage.run("-c", _REVOKE, json.dumps(ids))

    def has_run(self, *, again_when_lost: bool) -> bool:
        """Whether every task has had its last run.

        Where messages come back, one whose every run was told as retried comes again: it may
        have been killed behind its last note, and before it was acknowledged. What was revoked
        does not.
        """
        runs = self.notes.runs()
        return all(self._is_done(each, runs.get(each, ()), again_when_lost) for each in self.ids)

    def _is_done(self, task_id: str, runs: Sequence[Run], again_when_lost: bool) -> bool:
        if not runs or not runs[-1].is_over:
            return False
        kinds = Counter(str(event["kind"]) for event in self.brain.events(task_id))
        if not again_when_lost or kinds["task.revoked"]:
            return True
        has_ended = runs[-1].has_returned or runs[-1].has_raised
        return has_ended and kinds["task.retried"] < len(runs)

    def is_told(self, runs: Mapping[str, Sequence[Run]]) -> bool:
        """Whether the brain knows a start and an end of each of these runs."""
        for task_id, its_runs in runs.items():
            kinds = [str(event["kind"]) for event in self.brain.events(task_id)]
            ends = sum(kind in ENDS for kind in kinds)
            if kinds.count("task.started") < len(its_runs) or ends < len(its_runs):
                return False
        return True

    def starts(self, task_id: str) -> int:
        """Count the starts that the brain was told of a task."""
        return sum(event["kind"] == "task.started" for event in self.brain.events(task_id))

    def measure_recovery(self, runs: Mapping[str, Sequence[Run]], timeout_s: float) -> None:
        """Wait until the brain knows all these runs, and note how long that took."""
        begin = time.monotonic()
        with contextlib.suppress(StageError):
            self.wait(lambda: self.is_told(runs), timeout_s, "delivery")
        self.recovery_s = time.monotonic() - begin


@contextlib.contextmanager
def oom_cgroup() -> Iterator[str]:
    """Yield a memory cgroup that kills whoever joins it and wants more; empty without one."""
    for base, limit in (("memory", "memory.limit_in_bytes"), ("", "memory.max")):
        path = Path("/sys/fs/cgroup", base, f"z4j-truth-{secrets.token_hex(4)}")
        try:
            path.mkdir()
        except OSError:
            continue
        try:
            (path / limit).write_text(str(64 << 20), "ascii")
        except OSError:
            path.rmdir()
            continue
        try:
            yield str(path)
        finally:
            with contextlib.suppress(OSError):
                path.rmdir()
        return
    yield ""
