"""Measures every budget and prints what was promised beside what was reached.

``make bench``, or ``python tests/bench [--json] [--only WORD]``. Each source runs in a fresh
interpreter, one after the other. The exit status says nothing about the budgets: figures
depend on the machine, which is why each stands beside another figure of the same run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import task_syscalls
from budgets import BUDGETS, Figures, Verdict, judge
from rich.console import Console
from rich.table import Table

_HERE = Path(__file__).parent
_DEADLINE_S = 180
_PROGRAM = """
import json, sys
sys.path.insert(0, {here!r})
import {source}
try:
    print(json.dumps({source}.run()))
except Exception as error:
    if type(error).__name__ != 'NoRedis':
        raise
    print(json.dumps(f'not measured: {{error}}'))
"""


def measure(source: str) -> Figures | str:
    """Run one source and return its figures, or why there are none."""
    program = _PROGRAM.format(here=str(_HERE), source=source)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=False, timeout=_DEADLINE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not measured: {source} took more than {_DEADLINE_S} s"
    if done.returncode:
        return f"not measured: {source} failed: {done.stderr.strip().splitlines()[-1]}"
    figures: Figures | str = json.loads(done.stdout.splitlines()[-1])
    return figures


def table_of(verdicts: list[Verdict]) -> Table:
    """Return the verdicts as a table."""
    table = Table("what", box=None, title="Budgets", title_justify="left")
    for name in ("budget", "reached"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("beside it, in the same run", "met", "note"):
        table.add_column(name)
    for verdict in verdicts:
        budget = verdict.budget
        sign = "≥" if budget.is_floor else "≤"
        reached = "-" if verdict.reached is None else f"{_short(verdict.reached)} {budget.unit}"
        table.add_row(
            budget.what,
            f"{sign} {_short(budget.limit)} {budget.unit}",
            reached,
            verdict.beside,
            {True: "[green]yes[/]", False: "[red]NO[/]", None: "[yellow]?[/]"}[verdict.is_met],
            verdict.note,
        )
    return table


def _short(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def main() -> int:
    """Measure, print, and return 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="tests/bench", description="Measure the budgets.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default="", help="only sources whose name holds this word")
    options = parser.parse_args()
    chosen = [budget for budget in BUDGETS if options.only in budget.source]
    figures: dict[str, Figures | str] = {}
    with Console(stderr=True).status("") as status:
        for source in dict.fromkeys(budget.source for budget in chosen):
            status.update(f"measuring: {source.removeprefix('bench_')}")
            figures[source] = measure(source)
    verdicts = [judge(budget, figures[budget.source]) for budget in chosen]
    if options.json:
        print(json.dumps([verdict.as_json() for verdict in verdicts], indent=2))  # noqa: T201 -- this is what it is for
    else:
        Console().print(table_of(verdicts))
        if options.only in "task_syscalls":
            task_syscalls.main()
    return int(any(verdict.reached is None for verdict in verdicts))


if __name__ == "__main__":
    raise SystemExit(main())
