"""``make chaos``: the drill on Redis with the workload's application, seed by seed."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from z4j_otel.cli.drill.report import show

from ..truth.brokers import redis  # noqa: TID252 -- the brokers of `make truth`
from .run import run

KEPT = Path(__file__).with_name("failing_seeds.txt")


def main() -> int:
    """Play the seeds; return 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each seed plays")
    parser.add_argument("--seeds", type=int, nargs="+", help="which; one by the clock by default")
    parser.add_argument("--one-worker", action="store_true", help="let its main process live")
    parser.add_argument("--json", action="store_true", help="print one JSON object a seed")
    options = parser.parse_args()
    console = Console(stderr=options.json)
    outcomes = []
    for seed in options.seeds or [int(time.time())]:
        console.print(f"seed {seed}, {options.minutes:g} min")
        folder = Path(tempfile.mkdtemp(prefix="z4j-chaos-"))
        with redis() as broker:
            outcome = run(
                seed,
                options.minutes * 60,
                folder,
                broker,
                console.print,
                has_one_worker=options.one_worker,
            )
        outcomes.append(outcome)
        show(console, outcome)
        if options.json:
            print(json.dumps(outcome.plain()))  # noqa: T201 -- what --json is for
        if outcome.is_good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"logs and Redis' own record are kept in {folder}", soft_wrap=True)
            with KEPT.open("a", encoding="utf-8") as kept:
                kept.write(f"{seed} {options.minutes:g}\n")
            console.print(f"[red]kept[/] in {KEPT.name}: make chaos SEEDS={seed}")
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
