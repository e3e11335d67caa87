"""What a drill breaks: the brain, the way there, the processes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

from z4j_otel.cli.drill.scene import Scene
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.proxy import FaultyProxy

__all__ = ["FAULTS", "Fault", "Ring"]


@dataclass(frozen=True, slots=True)
class Ring:
    """What a fault can lay its hands on."""

    scene: Scene
    proxy: FaultyProxy
    random: random.Random
    faults: tuple[Fault, ...]
    """What may go wrong."""

    @property
    def brain(self) -> DevBrain:
        """The embedded brain itself."""
        return self.scene.brain.inner


_Act = Callable[[Ring], object]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    weight: int
    """How often it comes, against the others."""
    begin: _Act
    heal: _Act | None = None
    """Ends it; None for what is over at once."""
    lasts_s: tuple[float, float] = (0.5, 6.0)

    @property
    def is_of_child(self) -> bool:
        """Whether a pool child is what it breaks."""
        return self.begin in {_kill_child, _kill_any_child}

    @property
    def ends_worker(self) -> bool:
        """Whether the worker is gone until it is healed."""
        return self.heal is _restart_worker


def _heal_proxy(ring: Ring) -> None:
    ring.proxy.heal()
    # What was swallowed or stalled is gone for good: a real network would time out.
    ring.proxy.reset()


def _restart_worker(ring: Ring) -> None:
    if not ring.scene.stage.has_worker:
        ring.scene.start_worker()


def _kill_child(ring: Ring) -> None:
    runs = ring.scene.notes.runs()
    victims = [last[-1].pid for last in runs.values() if not last[-1].is_over]
    if victims:
        ring.scene.kill_child(ring.random.choice(victims), ring.random.choice(_DEADLY))


def _kill_any_child(ring: Ring) -> None:
    children = ring.scene.children()
    if children:
        ring.scene.kill_child(ring.random.choice(children), signal.SIGKILL)


def _restart_brain(ring: Ring) -> None:
    ring.scene.start_brain()


def _refuse(ring: Ring) -> None:
    ring.proxy.refuse()
    ring.proxy.reset()


def _cut(ring: Ring, *, up: int | None = None, down: int | None = None) -> None:
    ring.proxy.cut_after(up=up, down=down)
    ring.proxy.reset()


_DEADLY = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)
_CODES = (1001, 1011, 1012, 4408)

FAULTS = (
    Fault("connections are reset", 6, lambda ring: ring.proxy.reset()),
    Fault("connections are refused", 4, _refuse, _heal_proxy),
    Fault("the peer vanishes", 3, lambda ring: ring.proxy.vanish(), _heal_proxy),
    Fault("nobody reads", 3, lambda ring: ring.proxy.stall(), _heal_proxy),
    Fault("connections break after some bytes up", 4,
          lambda ring: _cut(ring, up=ring.random.randrange(20_000)), _heal_proxy),
    Fault("connections break after some bytes down", 4,
          lambda ring: _cut(ring, down=ring.random.randrange(4_000)), _heal_proxy),
    Fault("acks are dropped", 4, lambda ring: ring.brain.faults.drop_acks(3)),
    Fault("batches are lost", 4, lambda ring: ring.brain.faults.lose_batches(3)),
    Fault("acks are repeated", 3, lambda ring: ring.brain.faults.repeat_acks(3)),
    Fault("acks are reordered", 3, lambda ring: ring.brain.faults.reorder_acks(2)),
    Fault("acks for unknown ids", 3, lambda ring: ring.brain.faults.ack_unknown_ids(3)),
    Fault("acks come late", 3, lambda ring: ring.brain.faults.delay_acks(1.5),
          lambda ring: ring.brain.faults.delay_acks(0)),
    Fault("one ack a second", 3, lambda ring: ring.brain.faults.limit_acks(1),
          lambda ring: ring.brain.faults.limit_acks(None)),
    Fault("the brain closes at a batch", 4,
          lambda ring: ring.brain.faults.close_at_batch(ring.random.choice(_CODES))),
    Fault("the brain's signatures are wrong", 1,
          lambda ring: ring.brain.faults.corrupt_signatures(1)),
    Fault("the brain is away", 3, lambda ring: ring.scene.stop_brain(), _restart_brain),
    Fault("a child dies in its task", 6, _kill_child),
    Fault("a child dies", 2, _kill_any_child),
    Fault("the worker is stopped warmly", 2,
          lambda ring: ring.scene.stop_worker(signal.SIGTERM), _restart_worker),
    Fault("the worker is stopped coldly", 2,
          lambda ring: ring.scene.stop_worker(signal.SIGQUIT), _restart_worker),
    Fault("the worker's main process is killed", 2,
          lambda ring: ring.scene.kill_worker(whole_group=False), _restart_worker),
    Fault("all its processes are killed", 2,
          lambda ring: ring.scene.kill_worker(whole_group=True), _restart_worker),
)  # fmt: skip
