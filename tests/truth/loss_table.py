"""The loss table: every way to die, on every broker where it can be judged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import StageError

from .brokers import BROKERS, BrokerMissing
from .loss_scene import oom_cgroup
from .losses import DEATHS, TASKS, Death, Loss, measure

__all__ = ["show_losses"]

_AT_ONCE = 2
"""Celery sleeps for seconds when processes end; most of a row is waiting."""
_ON_RABBITMQ = (
    "--max-tasks-per-child=10",
    "cold stop right after the last task",
    "SIGQUIT while tasks run, next worker",
    "SIGKILL of a random child every second",
    "SIGKILL of the main process, next worker",
    "SIGKILL of the process group, next worker",
    "brain restarted twice",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where deaths are measured."""

    broker: str
    acks_late: bool
    deaths: Sequence[Death]

    @property
    def name(self) -> str:
        """The broker, and when messages are acknowledged."""
        return f"{self.broker}, acks_late" if self.acks_late else self.broker


_EMBEDDED = tuple(each for each in DEATHS if each.name != "terminate")
"""There the children share one locked queue, and Celery's pool stands still for ever when one
is terminated at the wrong moment, so that the row never ends on a busy machine."""
PLACES = (
    Place("embedded broker", acks_late=False, deaths=_EMBEDDED),
    Place("Redis", acks_late=False, deaths=DEATHS),
    Place("Redis", acks_late=True, deaths=DEATHS),
    Place("RabbitMQ", False, tuple(each for each in DEATHS if each.name in _ON_RABBITMQ)),
    Place("RabbitMQ", True, tuple(each for each in DEATHS if each.name in _ON_RABBITMQ)),
)


def show_losses(console: Console, rows: list[dict[str, Any]]) -> bool:
    """Measure and print, place by place.

    Args:
        console: Where to.
        rows: Takes one entry per row, plain values.

    Returns:
        Whether every row is as it must be.
    """
    with oom_cgroup() as cgroup:
        if not cgroup:
            console.print("no memory cgroup can be made here: SIGKILL stands for the OOM killer")
    outcomes = [_show_place(console, place, rows) for place in PLACES]
    return all(outcomes)


def _show_place(console: Console, place: Place, rows: list[dict[str, Any]]) -> bool:
    title = f"{TASKS} tasks, each told with exactly one start and one end; {place.name}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("what dies", "told", "runs", "ends", "next agent", ""):
        table.add_column(heading, overflow="fold")
    is_right = True
    try:
        for death, loss in _measured(console, place):
            _add(table, death, loss)
            is_right &= loss.is_none
            row = {"place": place.name, "death": death.name, "tasks": loss.tasks}
            rows.append({**row, "told_once": loss.told_once, "ends": dict(loss.ends)})
    except BrokerMissing as error:
        console.print(f"{place.name}: not run, {error}\n", style="yellow")
        return True
    console.print(table, "\n")
    return is_right


def _measured(console: Console, place: Place) -> Iterator[tuple[Death, Loss]]:
    with BROKERS[place.broker].open() as broker, ThreadPoolExecutor(_AT_ONCE) as pool:

        def run(death: Death) -> Loss:
            loss = _measure(place, death, broker)
            text = f"{place.name}, {death.name}: {loss.told_once} of {loss.tasks}"
            console.print(text, style="dim", markup=False, highlight=False)
            for problem in loss.problems:
                console.print(problem, style="red", markup=False)
            return loss

        yield from zip(place.deaths, pool.map(run, place.deaths), strict=True)


def _measure(place: Place, death: Death, broker: str | None) -> Loss:
    with EmbeddedBrain() as brain, tempfile.TemporaryDirectory(prefix="z4j-truth-") as folder:
        try:
            return measure(brain, Path(folder), death, broker=broker, acks_late=place.acks_late)
        except StageError as error:
            return Loss(1, 0, (str(error),))


def _add(table: Table, death: Death, loss: Loss) -> None:
    ends = ", ".join(f"{count} {end}" for end, count in loss.ends.items())
    notes = [
        f"{loss.begun_again} begun again by the pool" if loss.begun_again else "",
        f"{loss.lost_by_broker} gone before they began, replaced" if loss.lost_by_broker else "",
    ]
    recovery = "" if loss.recovery_s is None else f"told all after {loss.recovery_s:.1f} s"
    table.add_row(
        death.name,
        f"{loss.told_once} of {loss.tasks}",
        str(loss.runs),
        "; ".join(filter(None, [ends, *notes])),
        recovery,
        Text("ok", "green") if loss.is_none else Text("NO", "bold red"),
    )
