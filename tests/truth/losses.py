"""What is lost where processes die: 200 tasks, one way to die, an independent count.

Every task notes its begin and its end in a plain file (``loss_app``). Afterwards each
start and each end must have been told exactly once (``drill.notes``).
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.drill.notes import begun_again, problems_of
from z4j_otel.cli.drill.scene import Call

from .loss_scene import LossScene, oom_cgroup

__all__ = ["DEATHS", "Death", "Loss", "measure"]

TASKS = 200
_RUN_S = 180.0
_NAP_S = 0.1
_STILL_S = 2.0
_REDELIVERED_S = 25.0
_LOST = ("worker_lost",)


@dataclass(frozen=True, slots=True)
class Death:
    """One way in which processes end, and what is true of their tasks afterwards."""

    name: str
    options: tuple[str, ...] = ("--concurrency=4",)
    victim: Call | None = None
    """What some tasks are, where tasks die of themselves."""
    every: int = 4
    """One task of so many is a victim."""
    deed: Callable[[LossScene], None] | None = None
    """What is done to the worker while its tasks run."""
    stop: Callable[[LossScene], None] = lambda scene: _stop(scene, signal.SIGTERM)
    """How the worker ends, right after the last task."""
    causes: tuple[str, ...] = ()
    """Why runs fail."""
    says: str = ""
    """What the exception of a lost run says, where the worker saw it die."""
    nap_s: float = 0.0
    """How long the other tasks take."""
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loss:
    """What the brain knows of tasks that all ran."""

    tasks: int
    told_once: int
    """Tasks whose every run has exactly one start and one end, and a row in a final state."""
    problems: tuple[str, ...] = ()
    """The first few of the others, in words."""
    runs: int = 0
    """How often tasks began, by their own notes."""
    ends: Mapping[str, int] = field(default_factory=dict)
    """How runs ended, as told."""
    begun_again: int = 0
    """Runs that died at once and that the pool began again: one attempt to Celery."""
    recovery_s: float | None = None
    """From the start of the next agent until it had delivered what a dead one left."""
    lost_by_broker: int = 0
    """Messages that were gone with the worker that held them, before their tasks began;
    replaced by others."""

    @property
    def is_none(self) -> bool:
        """Whether everything was told."""
        return self.told_once == self.tasks


def measure(
    brain: EmbeddedBrain,
    folder: Path,
    death: Death,
    *,
    tasks: int = TASKS,
    broker: str | None = None,
    acks_late: bool = False,
) -> Loss:
    """Run tasks in a real worker while processes die, and count.

    Args:
        brain: The brain, running.
        folder: An empty folder for the worker's files.
        death: How processes end.
        tasks: How many.
        broker: Broker URL; the embedded filesystem broker when None.
        acks_late: Whether messages are acknowledged after the run, and come back when it dies.

    Raises:
        z4j_otel.cli.demo.stage.StageError: The worker did not run them all.
    """
    with oom_cgroup() as cgroup:
        variables = {"LOSS_CGROUP": cgroup, **death.variables}
        if acks_late:
            variables["LOSS_ACKS_LATE"] = "1"
        scene = LossScene(brain, folder, options=death.options, broker=broker, variables=variables)
        try:
            lost_by_broker = _play(scene, death, tasks, acks_late=acks_late)
        finally:
            scene.kill_orphans()
    return _judge(scene, death, lost_by_broker)


def _play(scene: LossScene, death: Death, tasks: int, *, acks_late: bool) -> int:
    scene.start_worker()
    scene.publish(_calls(death, tasks))
    if death.deed is not None:
        death.deed(scene)
    is_lost = bool({*death.causes} & {*_LOST})

    def is_done() -> bool:
        if not scene.stage.has_worker:
            scene.start_worker()  # as any supervisor does
        return scene.has_run(again_when_lost=acks_late and is_lost)

    lost = _run_out(scene, is_done)
    if not scene.stage.has_worker:
        scene.start_worker()  # the last task took the worker with it
    death.stop(scene)
    return lost


def _calls(death: Death, tasks: int) -> list[Call]:
    calls: list[Call] = []
    for number in range(tasks):
        if death.victim is not None and number % death.every == 0:
            calls.append(death.victim)
        elif death.nap_s:
            calls.append(("z4j.drill.nap", (death.nap_s,)))
        else:
            calls.append(("z4j.drill.quick", ()))
    return calls


def _run_out(scene: LossScene, is_done: Callable[[], bool]) -> int:
    """Wait for the end of all tasks, and replace those that a dead worker took with it.

    The embedded broker hands a message out once, and knows nothing of acknowledgements. On
    others, Celery may have acknowledged a message whose task had not come to its first line.

    Returns:
        How many were replaced.
    """
    patience_s = _STILL_S if scene.broker is None else _REDELIVERED_S
    begun, since, replaced = -1, 0.0, 0

    def look() -> bool:
        nonlocal begun, since, replaced
        if is_done():
            return True
        if scene.workers == 1 or scene.running() or scene.begun() != begun:
            begun, since = scene.begun(), time.monotonic()
        elif time.monotonic() - since > patience_s:
            replaced += _replace(scene)
            since = time.monotonic()
        return False

    scene.wait(look, _RUN_S, "end of all tasks")
    return replaced


def _replace(scene: LossScene) -> int:
    known = scene.notes.runs()
    gone = [each for each in scene.ids if each not in known]
    # What was told as started has to be told as ended, without a note of it, too.
    unnoted = [each for each in gone if scene.starts(each)]
    scene.unnoted += unnoted
    lost = len(gone) - len(unnoted)
    scene.ids = [each for each in scene.ids if each in known]
    scene.publish([("z4j.drill.quick", ())] * lost)
    return lost


def _judge(scene: LossScene, death: Death, lost_by_broker: int) -> Loss:
    runs = scene.notes.runs()
    problems: list[str] = []
    ends: Counter[str] = Counter()
    again, tasks = 0, len(scene.ids) + len(scene.unnoted)
    for task_id in (*scene.ids, *scene.unnoted):
        events = [event for event in scene.brain.events(task_id) if event["kind"] != "task.sent"]
        row = scene.brain.task(task_id)
        state = str(row["state"]) if row else None
        wrong = list(problems_of(runs.get(task_id, ()), events, state, death.causes))
        starts = sum(event["kind"] == "task.started" for event in events)
        again += begun_again(runs.get(task_id, ()), starts)
        for event in events:
            kind, data = str(event["kind"]).partition(".")[2], event["data"]
            if kind not in {"received", "started", "rejected"}:
                ends[f"{kind} {data['cause']}" if "cause" in data else kind] += 1
            if data.get("cause") == "worker_lost" and kind == "failed":
                text = str(data.get("exception"))
                if death.says not in text:
                    wrong.append(f"says {text!r}")
        if wrong:
            kinds = " ".join(str(event["kind"]).partition(".")[2] for event in events)
            problems.append(f"{task_id}: {'; '.join(wrong)} [{kinds}]")
    return Loss(
        tasks,
        tasks - len(problems),
        tuple(problems[:5]),
        sum(map(len, runs.values())),
        dict(sorted(ends.items())),
        again,
        scene.recovery_s,
        lost_by_broker,
    )


def _stop(scene: LossScene, *signals: int) -> None:
    """Send one signal after the other, and wait for the worker to leave."""
    *first, last = signals
    for number in first:
        os.kill(scene.stage.worker_pid, number)
        time.sleep(0.3)
    scene.stage.stop(last)


def _stop_midway(scene: LossScene, *signals: int) -> None:
    """Stop the worker while it works; the next one does the rest."""
    scene.wait(lambda: scene.begun() >= len(scene.ids) // 2, _RUN_S, "half of the tasks")
    _stop(scene, *signals)


def _kill_children(scene: LossScene) -> None:
    """SIGKILL a child that runs a task, every second, until all tasks ran."""
    while scene.begun() < len(scene.ids):
        runs = scene.notes.runs()
        # One that waits for its next task may hold the embedded broker's pool lock.
        victims = [runs[each][-1].pid for each in scene.running()]
        if victims:
            os.kill(scene.random.choice(victims), signal.SIGKILL)
        time.sleep(1)


def _terminate(scene: LossScene) -> None:
    """Revoke every endless task, as soon as it runs."""
    endless = {*scene.ids[::4]}

    def are_gone() -> bool:
        running = [each for each in scene.running() if each in endless]
        if running:
            # Again, if need be: a revocation can pass by a task that is about to start.
            scene.revoke(running)
        return endless <= {*scene.notes.runs()} and not running

    scene.wait(are_gone, _RUN_S, "end of all endless tasks")


def _kill_worker(scene: LossScene, *, whole_group: bool) -> None:
    """SIGKILL at half, and start the next worker."""
    scene.wait(lambda: scene.begun() >= len(scene.ids) // 2, _RUN_S, "half of the tasks")
    scene.stage.kill(whole_group=whole_group)
    before = scene.notes.runs()
    scene.start_worker()
    scene.measure_recovery(before, 20)


def _without_brain(scene: LossScene) -> None:
    """Take the brain away before anything ran."""
    scene.stop_brain()


def _deliver_with_next(scene: LossScene) -> None:
    """Stop the worker without its brain; then a brain, and the next worker."""
    _stop(scene, signal.SIGTERM)
    scene.start_brain()
    scene.start_worker()
    scene.measure_recovery(scene.notes.runs(), 30)
    _stop(scene, signal.SIGTERM)


def _restart_brain(scene: LossScene) -> None:
    """Restart the brain twice while tasks run."""
    for part in (3, 2):
        scene.wait(lambda part=part: scene.begun() >= len(scene.ids) // part, _RUN_S, "tasks")
        scene.stop_brain()
        time.sleep(1)
        scene.start_brain()


def _of(function: Callable[..., None], *args: int, **kwargs: bool) -> Callable[[LossScene], None]:
    return lambda scene: function(scene, *args, **kwargs)


_AGAIN_SOON = {"LOSS_VISIBILITY_S": "6"}
"""Redis hands out again what a dead worker had taken, after this time."""
_NO_RESULTS = {"Z4J_OTEL_DEMO_RESULTS": "disabled://"}
"""Celery forgets an end whose result it cannot store, and SQLite is locked at times."""
_IMPATIENT = {"Z4J_FLUSH_TIMEOUT_SECONDS": "1"}

DEATHS = (
    Death("--max-tasks-per-child=1", ("--concurrency=16", "--max-tasks-per-child=1")),
    Death("--max-tasks-per-child=10", ("--concurrency=4", "--max-tasks-per-child=10")),
    Death(
        "--max-memory-per-child", ("--concurrency=8", "--max-memory-per-child=100000"),
        victim=("loss.grows", ()),
    ),
    Death("warm stop right after the last task"),
    # "Right after" is after the tasks' own last line, and before Celery's.
    Death(
        "cold stop right after the last task", stop=_of(_stop, signal.SIGQUIT), causes=_LOST
    ),
    Death("SIGINT right after the last task", stop=_of(_stop, signal.SIGINT)),
    Death("SIGINT twice", stop=_of(_stop, signal.SIGINT, signal.SIGINT), causes=_LOST),
    Death(
        "SIGTERM while tasks run, next worker", nap_s=_NAP_S,
        deed=_of(_stop_midway, signal.SIGTERM),
    ),
    Death(
        "SIGQUIT while tasks run, next worker", nap_s=_NAP_S, causes=_LOST,
        deed=_of(_stop_midway, signal.SIGQUIT),
    ),
    Death(
        "SIGINT twice while tasks run, next worker", nap_s=_NAP_S, causes=_LOST,
        deed=_of(_stop_midway, signal.SIGINT, signal.SIGINT),
    ),
    Death(
        "SIGKILL of a random child every second", nap_s=0.2, causes=_LOST,
        deed=_kill_children, says="signal 9 (SIGKILL)",
    ),
    Death(
        "SIGSEGV in the task", victim=("z4j.drill.segv", ()), causes=_LOST,
        says="signal 11 (SIGSEGV)",
    ),
    Death("os._exit in the task", victim=("z4j.drill.exits", ()), causes=_LOST, says="exitcode 3"),
    Death(
        "the kernel's OOM killer", victim=("loss.out_of_memory", ()), causes=_LOST,
        says="signal 9 (SIGKILL)",
    ),
    Death(
        "MemoryError under RLIMIT_AS, which ends Celery's worker", nap_s=_NAP_S,
        victim=("loss.memory_error", ()), every=50, causes=("exception", "worker_lost"),
        variables=_AGAIN_SOON,
    ),
    Death(
        "hard time limit", ("--concurrency=16",), victim=("z4j.drill.limited", ()),
        causes=("time_limit",), variables=_NO_RESULTS,
    ),
    # A signal that comes late hits the child's next task.
    Death(
        "terminate", ("--concurrency=10",), victim=("loss.endless", ()), deed=_terminate,
        causes=_LOST, variables=_NO_RESULTS,
    ),
    Death(
        "SIGKILL of the main process, next worker", nap_s=_NAP_S, causes=_LOST,
        deed=_of(_kill_worker, whole_group=False), variables=_AGAIN_SOON,
    ),
    Death(
        "SIGKILL of the process group, next worker", nap_s=_NAP_S, causes=_LOST,
        deed=_of(_kill_worker, whole_group=True), variables=_AGAIN_SOON,
    ),
    Death(
        "brain away all the time, next worker", deed=_without_brain, stop=_deliver_with_next,
        variables=_IMPATIENT,
    ),
    Death("brain restarted twice", nap_s=_NAP_S, deed=_restart_brain),
)  # fmt: skip
"""A child that is replaced first sleeps for a second, hence the concurrency."""
