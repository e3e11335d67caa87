"""``make truth``: the truth of Celery, as tables.

Every way a task can end, in every pool, on every broker, against a brain; then stories that
need a worker of their own; then what is lost where processes die. Exit status 0 means that
every row is as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.demo.brains import BrainView, EmbeddedBrain, InstalledBrain
from z4j_otel.cli.demo.stage import StageError

from .alone import ALONE, told
from .brokers import BROKERS, BrokerMissing
from .cells import EVERY, REAL, USUAL, Cell
from .loss_table import show_losses
from .pools import POOLS
from .report import Played, as_json, show_matrix, show_reasons
from .stories import play

_RUN_S = 90.0
_PARTS = ("table", "alone", "losses")


def main() -> int:
    """Print all tables.

    Returns:
        0 when all is as it must be, 1 otherwise.
    """
    options = _options()
    terminal = Console(stderr=options.json)
    console = terminal if terminal.is_terminal else Console(width=170, stderr=options.json)
    report: dict[str, Any] = {"brain": options.brain}
    outcomes: list[bool] = []
    if "table" in options.parts:
        outcomes.append(_show_table(console, options, report))
    if options.brain == "embedded":
        if "alone" in options.parts:
            outcomes.append(_show_alone(console, report, is_full=options.full))
        if "losses" in options.parts:
            outcomes.append(show_losses(console, report.setdefault("losses", [])))
    if options.json:
        json.dump(report, sys.stdout, indent=1)
    return 0 if all(outcomes) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make truth", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every cell there is; an hour")
    parser.add_argument("--json", action="store_true", help="a report on standard output")
    parser.add_argument("--brain", choices=["embedded", "z4j"], default="embedded")
    parser.add_argument("--pool", choices=POOLS, action="append", help="only cells with this pool")
    parser.add_argument("--broker", choices=BROKERS, action="append", help="only with this broker")
    parser.add_argument(
        "--part", dest="parts", choices=_PARTS, action="append", help="only this part"
    )
    options = parser.parse_args()
    options.parts = options.parts or _PARTS
    return options


def _cells(options: argparse.Namespace) -> Sequence[Cell]:
    cells = REAL if options.brain == "z4j" else EVERY if options.full else USUAL
    return [
        cell
        for cell in cells
        if (not options.pool or cell.pool.name in options.pool)
        and (not options.broker or cell.broker.name in options.broker)
    ]


def _show_table(console: Console, options: argparse.Namespace, report: dict[str, Any]) -> bool:
    played: list[Played] = []
    cells = _cells(options)
    for number, cell in enumerate(cells, 1):
        console.print(f"{number} of {len(cells)}: {cell.name} ...", highlight=False)
        played.append(_played(cell, options.brain))
        console.print(f"    {played[-1].summary()}", highlight=False, markup=False)
    shown = [each for each in played if not each.cell.cannot_be]
    console.print()
    show_matrix(console, shown)
    show_reasons(console, shown)
    for each in played:
        if each.cell.cannot_be:
            console.print(f"  -  {each.cell.name}: {each.cell.cannot_be}", highlight=False)
    console.print()
    report["cells"] = [as_json(each) for each in played]
    return all(each.is_right for each in played)


def _played(cell: Cell, brain_name: str) -> Played:
    missing = cell.cannot_be or cell.pool.missing
    if missing:
        return Played(cell, missing=missing)
    brain: BrainView = InstalledBrain() if brain_name == "z4j" else EmbeddedBrain()
    played = Played(cell, reasons=cell.impossible)
    began = time.monotonic()
    try:
        with brain, _folder() as folder, cell.open(folder, brain) as stage:
            played.truth = play(brain, stage, scenarios=cell.scenarios, run_s=_RUN_S)
    except BrokerMissing as error:
        played.missing = str(error)
    except StageError as error:
        played.error = str(error)
    played.seconds = time.monotonic() - began
    return played


def _show_alone(console: Console, report: dict[str, Any], *, is_full: bool) -> bool:
    table = Table(title="with a worker of their own, on Redis", box=None, pad_edge=False)
    table.title_justify = "left"
    for heading in ("story", "expected", "got", "s", ""):
        table.add_column(heading, overflow="fold")
    rows, problems = [], []
    for story in ALONE:
        if story.is_long and not is_full:
            table.add_row(story.name, "not played without --full", "", "", Text("-", "dim"))
            continue
        try:
            with EmbeddedBrain() as brain, _folder() as folder:
                found = told(story, brain, folder)
        except BrokerMissing as error:
            table.add_row(story.name, f"not run: {error}", "", "", Text("-", "dim"))
            continue
        seconds = f"{found.seconds:.1f}" if found.seconds else ""
        table.add_row(story.name, found.expected, found.got, seconds, _mark(found.is_right))
        problems += [f"{story.name}: {problem}" for problem in found.problems]
        rows.append({"story": story.name, "expected": found.expected, "got": found.got})
    report["alone"] = rows
    return _end_of(console, table, problems)


def _end_of(console: Console, table: Table, problems: Sequence[str]) -> bool:
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print()
    return not problems


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="z4j-truth-") as name:
        yield Path(name)


def _mark(is_right: bool) -> Text:
    return Text("ok", "green") if is_right else Text("NO", "bold red")


sys.exit(main())
