"""``make damage``: every byte of an agent's files inverted once, every length cut off."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from functools import partial

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from .cases import Figures, scenes
from .slices import SLICE, Row, cases_of, play_slice

_WIDTH = 130


def main() -> int:
    """Play all damage; return 1 when a start made something else of it than it should."""
    parser = argparse.ArgumentParser(prog="make damage", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="of the database, every N-th byte")
    parser.add_argument("--jobs", type=int, default=2, help="processes to use")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    with scenes() as (_, made):
        total = sum(1 for one in made.values() for _ in cases_of(one.files, every=options.every))
    console.print(f"{total} cases in {options.jobs} processes")
    figures: dict[Row, Figures] = {}
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with (
        multiprocessing.get_context("spawn").Pool(options.jobs) as pool,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        bar = progress.add_task("damage", total=total)
        work = partial(play_slice, every=options.every)
        for done, found in enumerate(pool.imap(work, range(0, total, SLICE)), start=1):
            for row, one in found.items():
                figures.setdefault(row, Figures()).add(one)
                progress.advance(bar, one.cases)
                for problem in one.problems[:3]:
                    console.print(" ".join((*row, problem)), style="red", markup=False)
            if not console.is_terminal and done % 25 == 0:
                console.print(f"{done * SLICE} of {total}")
    _show(console, figures)
    return 1 if any(found.problems for found in figures.values()) else 0


def _show(console: Console, figures: dict[Row, Figures]) -> None:
    names = ("cases", "started", "waiting", "delivered", "lost", "counted", "untold", "mismatches")
    table = Table("agent", "file", "damage")
    for name in names:
        table.add_column(name, justify="right")
    sums = Figures()
    for row, found in figures.items():
        table.add_row(*row, *_cells(found))
        sums.add(found)
    table.add_section()
    table.add_row("all", "", "", *_cells(sums))
    console.print(table)
    console.print(
        "waiting = delivered + lost; lost = counted + untold. Untold is what was cut off behind\n"
        "the last word of processes that say nothing more: nothing on the disk tells of it."
    )
    verdict = "[red]NOT as it should be[/]" if sums.problems else "[green]ok[/]"
    console.print(verdict)


def _cells(found: Figures) -> list[str]:
    numbers = (
        *(found.cases, found.started, found.entries, found.delivered),
        *(found.lost, found.counted, found.untold, len(found.problems)),
    )
    return [str(number) for number in numbers]


if __name__ == "__main__":
    sys.exit(main())
