"""Stories that need a worker of their own: other settings, or ten thousand tasks."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from z4j_otel.cli.demo.brains import BrainView, EmbeddedBrain
from z4j_otel.cli.demo.stage import WORKER_NAME, StageError
from z4j_otel.cli.workload.checks import differences
from z4j_otel.cli.workload.scenarios import RETURNS, Scenario

from .brokers import redis
from .stage import TruthStage

__all__ = ["ALONE", "Story", "Told", "big_chord", "seen_twice"]

_START_S = 40.0
_RETURNS = {"task.sent": 1, "task.received": 1, "task.started": 1, "task.succeeded": 1}
_CHORD = """
import json, sys
from celery import chord
from truth.app import app
add, total = app.tasks["shop.add"], app.tasks["shop.total"]
result = chord([add.s(n, 0) for n in range(int(sys.argv[1]))])(total.s())
json.dump([result.id, [member.id for member in result.parent.results]], sys.stdout)
"""
_TWICE = """
import sys
from truth.app import app
print(app.tasks["shop.seen_twice"].delay(sys.argv[1], float(sys.argv[2])).id)
"""
_SEEN_TWICE = Scenario(
    "seen_twice", "is delivered again while it runs (visibility timeout)", lambda _a, _f: None,
    "received started received started succeeded succeeded", "success", "shop.seen_twice",
    row={"args": ..., "result": "first run"}, data={"received": {"redelivered": True}},
)  # fmt: skip
_SEEN_ONCE = Scenario(
    "deduplicated", "is delivered again, and its success is known (deduplicate)",
    lambda _a, _f: None, "received started received succeeded", "success", "shop.seen_twice",
    row={"args": ..., "result": "first run"}, data={"received": {"redelivered": True}},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a story."""

    expected: str
    got: str
    problems: tuple[str, ...] = ()
    """The first few, in words."""
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether the brain shows the truth."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Story:
    """A story with a worker of its own, on Redis."""

    name: str
    tell: Callable[[EmbeddedBrain, Path], Told]
    is_long: bool = False


def seen_twice(brain: BrainView, folder: Path, *, is_deduplicated: bool = False) -> Told:
    """Let a task run for longer than the broker waits for its ack.

    Both runs are attempts, and both are told from start to end. Where Celery deduplicates,
    and the first run has ended well, the second one never starts.

    Args:
        brain: The brain, running.
        folder: An empty folder for the worker's files.
        is_deduplicated: Whether the only child is busy, and Celery drops what it knows.
    """
    scenario = _SEEN_ONCE if is_deduplicated else _SEEN_TWICE
    transport = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    conf: dict[str, object] = {
        "broker_transport_options": {"visibility_timeout": 2, **transport},
        "worker_deduplicate_successful_tasks": is_deduplicated,
    }
    children = "1" if is_deduplicated else "2"
    problems: list[str] = []
    with _stage(brain, folder, children, conf) as stage:
        mark = str(folder / "seen")
        # Delivered again after two seconds; before two more, the only child must be free.
        seconds = "3.5" if is_deduplicated else "5"
        task_id = stage.run("-c", _TWICE, mark, seconds).strip()

        def look() -> bool:
            row, events = brain.task(task_id), brain.events(task_id)
            ordered = brain.is_ordered
            found = differences(scenario, row, events, worker=WORKER_NAME, is_ordered=ordered)
            problems[:] = found
            return not found

        _wait(stage, look, 30)
    look()
    events = [str(each["kind"]).partition(".")[2] for each in brain.events(task_id)]
    return Told(scenario.events, " ".join(each for each in events if each != "sent"), (*problems,))


def big_chord(
    brain: EmbeddedBrain, folder: Path, *, members: int = 10_000, run_s: float = 1800.0
) -> Told:
    """Collect the results of many tasks; each is told exactly once.

    Args:
        brain: The brain, running.
        folder: An empty folder for the worker's files.
        members: How many.
        run_s: Longest wait, seconds.
    """
    with _stage(brain, folder, "2", {}) as stage:
        began = time.monotonic()
        body, ids = json.loads(stage.run("-c", _CHORD, str(members)))
        _wait(stage, lambda: (brain.task(body) or {}).get("state") == "success", run_s)
        seconds = time.monotonic() - began
        stage.stop()
    told: dict[str, Counter[str]] = {}
    for event in brain._thread.brain.events():
        told.setdefault(event.task_id, Counter())[event.kind] += 1
    problems = []
    for task_id in (body, *ids):
        kinds, row = told.get(task_id, Counter()), brain.task(task_id)
        if kinds != _RETURNS or row is None or row["state"] != "success":
            problems.append(f"{task_id}: {dict(kinds)}, {row and row['state']}")
    text = f"{members + 1 - len(problems)} of {members + 1} told once"
    return Told(f"sent {RETURNS}, {members + 1} times", text, (*problems[:5],), seconds)


@contextlib.contextmanager
def _stage(
    brain: BrainView, folder: Path, children: str, conf: Mapping[str, object]
) -> Iterator[TruthStage]:
    """Yield a worker on a Redis database of its own, ready."""
    with redis() as url:
        stage = TruthStage(
            folder,
            brain.environment(),
            broker=url,
            worker_options=("--pool=prefork", f"--concurrency={children}"),
            variables={"TRUTH_CONF": json.dumps(conf), "Z4J_OTEL_DEMO_RESULTS": url},
        )
        with stage:
            _wait(stage, stage.is_ready, _START_S)
            yield stage


def _wait(stage: TruthStage, condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for a condition; who comes too late is judged by what the brain shows."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        stage.is_ready()  # raises when the worker has ended
        time.sleep(0.2)


def told(story: Story, brain: EmbeddedBrain, folder: Path) -> Told:
    """Tell a story; a worker that did not do its part is a problem of it."""
    try:
        return story.tell(brain, folder)
    except StageError as error:
        return Told("", "", (str(error),))


ALONE: tuple[Story, ...] = (
    Story("delivered again while it runs", seen_twice),
    Story(
        "delivered again after its success",
        lambda brain, folder: seen_twice(brain, folder, is_deduplicated=True),
    ),
    Story(
        "chord with 1 000 members",
        lambda brain, folder: big_chord(brain, folder, members=1000, run_s=120),
    ),
    Story("chord with 10 000 members", big_chord, is_long=True),
)
"""In the order of the table."""
