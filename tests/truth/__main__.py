"""``make truth``: the truth of Celery on prefork, as tables.

Every way a task can end, on every broker that is here, against the embedded brain; then
what is lost where children are replaced and workers stop. Exit status 0 means that every
row is as it must be.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage, StageError

from .brokers import BROKERS, BrokerMissing
from .losses import ENDINGS, Loss, measure
from .stories import IMPOSSIBLE, Truth, play, possible_on


def main() -> int:
    """Print all tables.

    Returns:
        0 when all is as it must be, 1 otherwise.
    """
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=150)
    outcomes = [_show_truth(console, name) for name in BROKERS]
    outcomes.append(_show_losses(console))
    return 0 if all(outcomes) else 1


def _show_truth(console: Console, name: str) -> bool:
    try:
        with BROKERS[name]() as broker, EmbeddedBrain() as brain, _folder() as folder:
            stage = Stage(folder, brain.environment(), broker=broker)
            truth = play(brain, stage, scenarios=possible_on(name))
    except BrokerMissing as error:
        console.print(f"truth of Celery on prefork, {name}: not run, {error}\n", style="yellow")
        return True
    except StageError as error:
        console.print(f"truth of Celery on prefork, {name}: {error}\n", style="red", markup=False)
        return False
    console.print(_truth_table(name, truth))
    for line in truth.lines:
        for problem in line.problems:
            console.print(f"{line.scenario.name}: {problem}", style="red", markup=False)
    ends = (truth.retry_status, truth.retry_state, truth.cancel_status, truth.exit_status)
    is_right = ends == ("completed", "failure", "completed", 0)
    text = "retry {} (new run: {}), cancel {}, exit status {}".format(*ends)
    console.print(_mark(is_right), text, "\n")
    return is_right and all(line.is_right for line in truth.lines)


def _truth_table(name: str, truth: Truth) -> Table:
    title = f"truth of Celery on prefork, {name}, embedded brain"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for heading in ("scenario", "expected events", "got", "row state", ""):
        table.add_column(heading, overflow="fold")
    for line in truth.lines:
        got = "the same" if line.story == line.scenario.events else line.story
        state = str(line.row["state"]) if line.row else "no row"
        scenario = line.scenario
        table.add_row(scenario.name, scenario.events, got, state, _mark(line.is_right))
    for scenario_name, reason in IMPOSSIBLE.get(name, {}).items():
        table.add_row(scenario_name, reason, "", "", Text("-"))
    return table


def _show_losses(console: Console) -> bool:
    table = Table(title="told with exactly one start and one end", box=None, pad_edge=False)
    table.title_justify = "left"
    for heading in ("200 short tasks, worker with", "told", ""):
        table.add_column(heading)
    problems: list[str] = []
    for ending in ENDINGS:
        with EmbeddedBrain() as brain, _folder() as folder:
            try:
                loss = measure(brain, folder, ending)
            except StageError as error:
                loss = Loss(1, 0, (str(error),))
        table.add_row(ending.name, f"{loss.told_once} of {loss.tasks}", _mark(loss.is_none))
        problems += loss.problems
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    return not problems


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="z4j-truth-") as name:
        yield Path(name)


def _mark(is_right: bool) -> Text:
    return Text("ok", "green") if is_right else Text("NO", "bold red")


sys.exit(main())
