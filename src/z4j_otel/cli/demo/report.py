"""What the demo shows: a live table, and a summary at the end."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.demo.tour import Line, Tour

__all__ = ["summary", "table"]

_STATES = {
    "success": "green",
    "failure": "red",
    "revoked": "yellow",
    "retry": "magenta",
    "started": "cyan",
    "received": "blue",
}


def table(lines: Sequence[Line]) -> Table:
    """Return what the brain shows of every task, and whether that is the truth."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("")
    shown.add_column("task")
    shown.add_column("a task that …", overflow="fold")
    shown.add_column("state")
    shown.add_column("what the brain was told", overflow="fold")
    for line in lines:
        state = str(line.row["state"]) if line.row else "-"
        mark = Text("ok", "green") if line.is_right else Text("..", "dim")
        shown.add_row(
            mark,
            line.scenario.task,
            line.scenario.story,
            Text(state, _STATES.get(state, "dim")),
            Text(line.story, "dim"),
        )
    return shown


def summary(tour: Tour, facts: Sequence[tuple[str, str, bool]], seconds: float) -> RenderableType:
    """Return the outcome in a few lines.

    Args:
        tour: The tour, over.
        facts: What was counted and measured: name, value, whether it is as it should be.
        seconds: How long the demo took.
    """
    right = sum(line.is_right for line in tour.lines)
    grid = Table.grid(padding=(0, 2))
    rows = [
        (
            "true stories",
            f"{right} of {len(tour.lines)} tasks are shown as they were",
            right == len(tour.lines),
        ),
        (
            "retry from the brain",
            f"{tour.retry.status}; the new run ended in {tour.retry.state!r}, as it must",
            tour.retry.is_right,
        ),
        *facts,
        ("time", f"{seconds:.0f} s", True),
    ]
    for name, value, is_right in rows:
        grid.add_row(Text("ok", "green") if is_right else Text("NO", "bold red"), name, value)
    problems = [
        Text(f"{line.scenario.name}: {problem}", "red")
        for line in tour.lines
        for problem in line.problems
    ]
    is_right = all(row[2] for row in rows)
    title = "everything as it should be" if is_right else "something is not as it should be"
    return Panel(Group(grid, *problems), title=title, border_style="green" if is_right else "red")


def live_console() -> Console:
    """Return the console of the demo: wide enough for the table where output is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=132)
