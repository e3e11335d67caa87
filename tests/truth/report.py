"""The truth as it is printed: one table for all cells, and as JSON."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.demo.tour import Line

from .cells import WARM_STOP, Cell
from .scenarios import ALL
from .stories import Truth

__all__ = ["Played", "as_json", "show_matrix", "show_reasons"]

_ENDS = ("completed", "failure", "completed", 0)
_NOT_CANCELLED = ("completed", "failure", "not sent", 0)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class Played:
    """One cell, and what was seen in it."""

    cell: Cell
    truth: Truth | None = None
    missing: str = ""
    """Why it was not played: what is not installed or does not run here."""
    error: str = ""
    """Why it came to no end."""
    seconds: float = 0.0
    reasons: dict[str, str] = field(default_factory=dict)
    """The scenarios that cannot happen here, each with the reason."""

    @property
    def is_right(self) -> bool:
        """Whether all is as it must be."""
        return not self.problems()

    def problems(self) -> list[str]:
        """Return what is not as it must be, in words."""
        if self.error:
            return [self.error]
        if self.truth is None:
            return []
        found = [
            f"{line.scenario.name}: {problem}"
            for line in self.truth.lines
            for problem in line.problems
        ]
        ends = self.ends()
        wanted = [_ENDS if "cancelled" not in self.reasons else _NOT_CANCELLED]
        if WARM_STOP in self.reasons:
            wanted.append((*wanted[0][:3], -signal.SIGKILL))
        if ends not in wanted:
            found.append("retry {} (new run: {}), cancel {}, exit status {}".format(*ends))
        return found

    def ends(self) -> tuple[str, str, str, int | None]:
        """Return how the operator's commands and the worker ended."""
        assert self.truth is not None
        truth = self.truth
        return truth.retry_status, truth.retry_state, truth.cancel_status, truth.exit_status

    def summary(self) -> str:
        """Return the outcome in a line."""
        if self.missing:
            return f"not run: {self.missing}"
        if self.truth is None:
            return self.error.partition("\n")[0]
        right = sum(line.is_right for line in self.truth.lines)
        return (
            f"{right} of {len(self.truth.lines)} right, {len(self.reasons)} cannot be,"
            f" {self.seconds:.0f} s"
        )

    def line(self, name: str) -> Line | None:
        """Return the line of a scenario, or None where it was not played."""
        lines = self.truth.lines if self.truth is not None else ()
        return next((line for line in lines if line.scenario.name == name), None)


def show_matrix(console: Console, cells: Sequence[Played]) -> None:
    """Print what is expected of each scenario, and what each cell has of it."""
    for number, played in enumerate(cells):
        console.print(f"  {_letter(number)}  {played.cell.name}: {played.summary()}")
    table = Table(box=None, pad_edge=False, title="the truth of every task")
    table.title_justify = "left"
    table.add_column("scenario", no_wrap=True)
    table.add_column("expected events", overflow="fold")
    table.add_column("state")
    for number in range(len(cells)):
        table.add_column(_letter(number), justify="center")
    for scenario in ALL:
        marks = [_mark(played, scenario.name) for played in cells]
        expected = scenario.events or "none"
        table.add_row(scenario.name, expected, scenario.state or "no row", *marks)
    console.print(table)
    for number, played in enumerate(cells):
        for problem in played.problems():
            text = f"{_letter(number)}  got: {problem}"
            console.print(text, style="red", markup=False, highlight=False)


def show_reasons(console: Console, cells: Sequence[Played]) -> None:
    """Print why some scenarios cannot happen in some cells."""
    found: dict[str, set[str]] = {}
    for number, played in enumerate(cells):
        for name, reason in played.reasons.items():
            found.setdefault(f"{name}: {reason}", set()).add(_letter(number))
    for text, letters in sorted(found.items()):
        console.print(f"  -  {text} ({', '.join(sorted(letters))})", highlight=False)


def as_json(played: Played) -> dict[str, Any]:
    """Return a cell as JSON values."""
    lines = played.truth.lines if played.truth is not None else ()
    return {
        "pool": played.cell.pool.name,
        "broker": played.cell.broker.name,
        "results": played.cell.results.name,
        "is_right": played.is_right,
        "missing": played.missing or None,
        "error": played.error or None,
        "seconds": round(played.seconds, 1),
        "cannot_be": played.reasons,
        "scenarios": [
            {
                "name": line.scenario.name,
                "expected": line.scenario.events,
                "got": line.story,
                "state": line.row["state"] if line.row else None,
                "problems": line.problems,
            }
            for line in lines
        ],
    }


def _letter(number: int) -> str:
    rounds, rest = divmod(number, len(_LETTERS))
    return _LETTERS[rest] + (str(rounds) if rounds else "")


def _mark(played: Played, name: str) -> Text:
    if name in played.reasons:
        return Text("-", "dim")
    line = played.line(name)
    if line is None:
        return Text("" if played.missing else "?", "yellow")
    return Text("ok", "green") if line.is_right else Text("NO", "bold red")
