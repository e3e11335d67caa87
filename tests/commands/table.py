"""The table of what an operator does: each row played on real workers of each broker."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..truth.brokers import BrokerMissing  # noqa: TID252 -- shared with make truth
from .places import PLACES, scene_on
from .scene import Scene

_LOG_LINES = 60


@dataclass(frozen=True)
class Row:
    """One action of the table."""

    name: str
    play: Callable[[Any], str]
    """Plays it as the given operator, asserts its effect, and returns what was seen."""


def read_options(program: str, about: str | None) -> argparse.Namespace:
    """Read from the command line which rows are asked for, and on which brokers."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--broker", choices=PLACES, action="append", help="only this one")
    parser.add_argument("--row", action="append", help="only rows whose name has this in it")
    return parser.parse_args()


def play_table(
    options: argparse.Namespace,
    title: str,
    rows: Sequence[Row],
    brain: Any,
    operator: Callable[[Scene], Any] = lambda scene: scene,
) -> bool:
    """Print one table for each broker, and tell whether every cell is good.

    Args:
        options: Which rows, on which brokers.
        title: What the rows are.
        rows: All there are.
        brain: The real brain.
        operator: Makes of a scene who plays the rows.
    """
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=150)
    chosen = [row for row in rows if any(part in row.name for part in options.row or [""])]
    is_good = True
    for place in options.broker or PLACES:
        table = Table(title=f"{title} on {place}, at the real brain", title_justify="left")
        for name in ("action", "", "seen on the engine", "s"):
            table.add_column(name)
        try:
            with scene_on(place, brain) as scene:
                passed = _fill(table, chosen, operator(scene))
                if not passed:
                    console.print(Text("\n".join(scene.log().splitlines()[-_LOG_LINES:])))
        except BrokerMissing as error:
            console.print(f"NOT RUN: {place}: {error}")
        else:
            console.print(table)
            is_good &= passed
    return is_good


def _fill(table: Table, rows: Sequence[Row], operator: Any) -> bool:
    is_good = True
    for row in rows:
        began = time.monotonic()
        passed, seen = _play(row, operator)
        took = f"{time.monotonic() - began:.1f}"
        mark = Text("ok", "green") if passed else Text("NOT", "bold red")
        table.add_row(row.name, mark, Text(seen), took)
        is_good &= passed
    return is_good


def _play(row: Row, operator: Any) -> tuple[bool, str]:
    try:
        return True, row.play(operator)
    except Exception as error:  # noqa: BLE001 -- a cell may fail in any way, and the rest goes on
        said = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        return False, f"{type(error).__name__}: {said}"[:300]
