"""``make outage``: a brain that is away for a day, and two million events meanwhile."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .verdict import caps_of, growth_of, problems_of
from .world import Plan, World

_GROWTH_CAP_BYTES = 96 * 1024 * 1024
"""What the agent may need beyond what it had at its start: 50 000 stories, batches, and the
ids of what the brain was told, which this program keeps itself."""


def main() -> int:
    """Play it; return 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(prog="make outage", description=__doc__)
    parser.add_argument("--events", type=int, default=Plan.events, help="captured meanwhile")
    parser.add_argument("--hours", type=float, default=Plan.hours, help="how long it is away")
    parser.add_argument("--max-events", type=int, default=Plan.max_events, help="as the setting")
    parser.add_argument("--max-bytes", type=int, default=Plan.max_bytes, help="as the setting")
    options = parser.parse_args()
    plan = Plan(options.events, options.hours, options.max_events, options.max_bytes)
    logging.getLogger("z4j_otel").setLevel(logging.ERROR)
    console = Console()
    begun_s = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="z4j-outage-") as folder:
        world = World(Path(folder), plan, tell=console.print).play()
    console.print(f"{plan.hours:g} h were simulated in {time.perf_counter() - begun_s:.0f} s")
    _show(console, world)
    problems = list(problems_of(world))
    growth = growth_of(world.peaks)
    if growth > _GROWTH_CAP_BYTES:
        problems.append(f"memory grew by {growth} bytes, more than {_GROWTH_CAP_BYTES}")
    for problem in problems:
        console.print(problem, style="red", markup=False)
    console.print("[red]NOT as it should be[/]" if problems else "[green]ok[/]")
    return 1 if problems else 0


def _show(console: Console, world: World) -> None:
    table = Table("at most", "seen", "cap", title="memory and disk, bytes")
    for name, cap in caps_of(world.plan).items():
        table.add_row(name.replace("_", " "), f"{getattr(world.peaks, name):,}", f"{cap:,}")
    table.add_row("memory, growth", f"{growth_of(world.peaks):,}", f"{_GROWTH_CAP_BYTES:,}")
    table.add_row("memory, resident", f"{world.peaks.rss_bytes:,}", "")
    console.print(table)
    account = world.account
    sums = Table("events", "count", title="what became of them")
    sums.add_row("captured", f"{account.captured:,}")
    sums.add_row("acked", f"{account.acked:,}")
    sums.add_row("pending", f"{account.pending:,}")
    for (kind, reason), count in sorted(account.dropped.items()):
        sums.add_row(f"dropped, {kind.name.lower()}, {reason.value}", f"{count:,}")
    sums.add_row("unaccounted", f"{account.unaccounted:,}")
    sums.add_row("command results acked", f"{account.results_acked:,}")
    console.print(sums)
    rate = world.delivered_after / max(world.delivery_s, 1e-9)
    console.print(
        f"when the brain was back: {world.delivered_after:,} events in {world.batches_after:,} "
        f"batches, {world.delivery_simulated_s:.1f} simulated s, {world.delivery_s:.1f} s of "
        f"processor time with the brain's own: {rate:,.0f} events/s"
    )


if __name__ == "__main__":
    sys.exit(main())
