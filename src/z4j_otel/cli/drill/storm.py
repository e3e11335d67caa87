"""The storm of a drill: tasks and faults by a seed, and the calm after it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage, StageError
from z4j_otel.cli.drill.brokers import BrokerFacts
from z4j_otel.cli.drill.faults import FAULTS, Fault, Ring
from z4j_otel.cli.drill.hand import HandOn, hand_on
from z4j_otel.cli.drill.judge import REPORT, Fate, Outcome, judge, reports_of
from z4j_otel.cli.drill.notes import Notes
from z4j_otel.cli.drill.scene import Call, Scene
from z4j_otel.cli.drill.vitals import Vitals
from z4j_otel.devbrain.proxy import FaultyProxy

__all__ = ["Plan", "play"]

_CALLS: Final[tuple[tuple[int, Call], ...]] = (
    (20, ("z4j.drill.quick", ())),
    (8, ("z4j.drill.nap", (0.1,))),
    (2, ("z4j.drill.nap", (0.6,))),
    (1, ("z4j.drill.exits", ())),
    (1, ("z4j.drill.segv", ())),
    (1, ("z4j.drill.limited", ())),
)
_LAST_S: Final = 180.0
_KNOWN_S: Final = 30.0
_MOST_HEIRS: Final = 5
_MAX_WAITING: Final = 100
"""A busy machine gets no more tasks than it can work off."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a drill plays."""

    app: str
    """The application, as ``celery -A`` takes it, with or without the drill's tasks."""
    queue: str
    """A queue for this drill alone."""
    seed: int
    """Decides tasks, faults and their times."""
    seconds: float
    """How long faults go on."""
    facts: BrokerFacts
    cwd: Path
    """Where worker and client run."""
    options: tuple[str, ...] = ()
    """More for ``celery worker``."""
    concurrency: int = 4
    variables: Mapping[str, str] = field(default_factory=dict)
    """More variables of worker and client."""
    sometimes: Mapping[str, str] = field(default_factory=dict)
    """Still more, for half of all seeds."""
    has_one_worker: bool = False
    """Whether the worker's main process is left alone, so that its memory can be watched."""
    witness: Callable[[Sequence[float]], Mapping[str, Fate]] | None = None
    """Says what the broker was seen to do with each task's message, given when workers were
    gone that were stopped or killed; without it nobody watches."""

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults that may come."""
        return tuple(
            fault
            for fault in FAULTS
            if fault.name not in self.facts.left_out
            and not (self.has_one_worker and fault.ends_worker)
        )


class _ProxiedBrain(EmbeddedBrain):
    """The embedded brain behind a proxy."""

    url = ""

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "Z4J_BRAIN_URL": self.url}


def play(plan: Plan, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Play one seed.

    Args:
        plan: What to play.
        folder: An empty folder; it gets the logs.
        say: Told what happens, a line at a time.

    Raises:
        StageError: The worker did not start, is not seen by the brain, or does not finish.
    """
    outcome = Outcome(plan.seed)
    chance = random.Random(plan.seed)  # noqa: S311 -- a game that can be repeated
    extra = plan.sometimes if chance.random() < 0.5 else {}  # noqa: PLR2004 -- half of them
    brain = _ProxiedBrain()
    with brain, FaultyProxy(brain.port) as proxy:
        brain.url = proxy.url
        scene = _scene(plan, folder, brain, extra)
        ring = Ring(scene, proxy, chance, plan.faults())
        try:
            scene.start_worker()
            scene.wait(brain.workers, _KNOWN_S, "sign of the worker in the drill's brain")
            with _hand(plan, scene, is_seen=True) as hand:
                _storm(ring, plan.seconds, hand, outcome, say)
            _settle(ring, plan.facts.quiet_s, say)
        finally:
            scene.kill_orphans()
        with _hand(plan, scene, is_seen=False) as hand:
            held = hand.held()
        fates = plan.witness(scene.ended_s) if plan.witness is not None else {}
        judge(scene, outcome, held, is_held_known=plan.facts.keeps_taken, fates=fates)
    return outcome


def _scene(plan: Plan, folder: Path, brain: EmbeddedBrain, extra: Mapping[str, str]) -> Scene:
    notes = Notes(folder / "notes")
    stage = Stage(
        folder,
        brain.environment(),
        worker_options=(
            "--pool=prefork", f"--concurrency={plan.concurrency}", "--max-tasks-per-child=50",
            f"--queues={plan.queue}", "--include=z4j_otel.cli.drill.tasks", *plan.options,
        ),
        variables={
            "Z4J_OTEL_REPORT": str(folder / REPORT),
            "Z4J_OTEL_DRILL_NOTES": str(notes.path),
            **plan.variables,
            **extra,
        },
        app=plan.app,
        worker_name=f"{plan.queue}@drill",
        cwd=plan.cwd,
    )  # fmt: skip
    return Scene(brain, stage, notes)


@contextmanager
def _hand(plan: Plan, scene: Scene, *, is_seen: bool) -> Iterator[HandOn]:
    with hand_on(
        plan.app, plan.queue, scene.stage.environment, cwd=plan.cwd,
        log_path=scene.folder / "client.log", is_seen=is_seen,
    ) as hand:  # fmt: skip
        yield hand


def _storm(
    ring: Ring, seconds: float, hand: HandOn, outcome: Outcome, say: Callable[[str], None]
) -> None:
    chance, vitals, scene = ring.random, Vitals(), ring.scene
    begin = time.monotonic()
    healing: list[tuple[float, Fault]] = []
    next_fault_s = 2.0
    weights, calls = zip(*_CALLS, strict=True)
    while (now_s := time.monotonic() - begin) < seconds:
        if len(scene.ids) - len(scene.notes.runs()) < _MAX_WAITING:
            scene.ids += hand.publish(chance.choices(calls, weights, k=chance.randrange(1, 12)))
        for due_s, fault in [each for each in healing if each[0] <= now_s]:
            healing.remove((due_s, fault))
            _heal(ring, fault)
        if now_s >= next_fault_s:
            next_fault_s = now_s + chance.uniform(0.3, 3.0)
            fault = chance.choices(ring.faults, [each.weight for each in ring.faults])[0]
            if _is_possible(ring, fault, {fault.name for _, fault in healing}):
                outcome.faults[fault.name] += 1
                say(f"{now_s:6.1f} s  {fault.name}")
                fault.begin(ring)
                if fault.heal is not None:
                    healing.append((now_s + chance.uniform(*fault.lasts_s), fault))
        if scene.stage.has_worker:
            vitals.sample(scene.stage.worker_pid, now_s)
        elif not any(fault.ends_worker for _, fault in healing):
            scene.start_worker()  # it ended by itself; a supervisor would do the same
        time.sleep(chance.uniform(0.1, 0.5))
    for _, fault in healing:
        _heal(ring, fault)
    ring.proxy.heal()
    ring.brain.faults.clear()
    outcome.vitals = vitals.rows()


def _is_possible(ring: Ring, fault: Fault, active: set[str]) -> bool:
    if fault.name in active:
        return False
    if fault.ends_worker or fault.is_of_child:
        return ring.scene.stage.has_worker
    return "the brain is away" not in active


def _heal(ring: Ring, fault: Fault) -> None:
    assert fault.heal is not None
    fault.heal(ring)


def _settle(ring: Ring, quiet_s: float, say: Callable[[str], None]) -> None:
    """Let everything that was published run, be told, and be delivered."""
    scene = ring.scene
    say("        calm: the rest runs and is delivered")
    deadline = time.monotonic() + _LAST_S
    seen, since = (-1, -1), time.monotonic()
    while time.monotonic() < deadline:
        if not scene.stage.has_worker:
            scene.start_worker()
        now = (scene.begun(), len(ring.brain.events()))
        if now != seen or scene.running():
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > quiet_s:
            break
        time.sleep(0.5)
    else:
        raise StageError("it does not become quiet", scene.stage.log())
    scene.stop_worker()
    # One more agent adopts what processes left that ended on their own. What it has no time
    # to deliver when it is stopped, as on a busy machine, is the next one's.
    for _ in range(_MOST_HEIRS):
        scene.start_worker()
        scene.stop_worker()
        if not reports_of(scene.folder)[-1]["waiting"]:
            break
