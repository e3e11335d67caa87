"""``make fuzz``: hostile bytes at every boundary, for as long as you like."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .fuzzing import FAILURES, Figures, Play
from .targets import TARGETS

_WIDTH = 130


def main() -> int:
    """Play targets in turn; return 1 when a fault was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="decides every change")
    parser.add_argument("--keep", action="store_true", help="add inputs to tests/fuzz/corpus")
    parser.add_argument("--replay", type=Path, help="play one stored input again")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, markup=False)
    if options.replay:
        target = TARGETS[options.replay.resolve().parent.name]
        return _verdict(console, Play(target, 0).give(options.replay.read_bytes()).faults)
    names = options.target or list(TARGETS)
    console.print(f"seed {options.seed}, {len(names)} targets, {options.minutes:g} minutes")
    seconds = options.minutes * 60 / len(names)
    played = {}
    for name in names:
        played[name] = Play(TARGETS[name], options.seed, keep=options.keep).run(seconds)
        for fault in played[name].faults:
            console.print(f"{name}: {fault}", style="red")
    console.print(_table(played))
    return _verdict(console, [fault for one in played.values() for fault in one.faults])


def _table(played: dict[str, Figures]) -> Table:
    table = Table("target")
    for column in ("seconds", "inputs", "known", "lines", "slowest ms", "growth KiB", "faults"):
        table.add_column(column, justify="right")
    for name, found in played.items():
        table.add_row(
            *(name, f"{found.seconds:.0f}", str(found.inputs), str(found.known)),
            *(str(found.lines), f"{found.slowest_s * 1000:.0f}"),
            *(f"{found.growth_bytes / 1024:.0f}", str(len(found.faults))),
        )
    table.add_section()
    sums = list(played.values())
    table.add_row(
        *("all", f"{sum(x.seconds for x in sums):.0f}", str(sum(x.inputs for x in sums)), "", ""),
        *("", "", str(sum(len(x.faults) for x in sums))),
    )
    return table


def _verdict(console: Console, faults: list[str]) -> int:
    most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if faults:
        for fault in faults:
            console.print(fault, style="red")
        console.print(f"NOT ok: {len(faults)} faults, inputs in {FAILURES}", style="red")
        return 1
    console.print(f"ok: no crash, no hang, no leak; at most {most_mib:.0f} MiB resident")
    return 0


if __name__ == "__main__":
    sys.exit(main())
