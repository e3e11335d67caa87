"""What a drill shows: what it will do, and what became of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.drill.judge import Outcome
from z4j_otel.cli.drill.storm import Plan

__all__ = ["announce", "repeating", "show"]

_MOST_PROBLEMS: Final = 10


def announce(console: Console, plan: Plan, broker: str, home: str) -> None:
    """Say what a drill is about to do.

    Args:
        console: Where to.
        plan: What will be played.
        broker: The broker's address, without its password.
        home: The drill's folder.
    """
    text = (
        f"This drill plays {plan.seconds / 60:g} min a seed, and counts for about one more. It will"
        f"\n- start a worker of {plan.app} with {plan.concurrency} processes, which consumes the "
        f"queue {plan.queue} on {broker} and no other;"
        "\n- publish tasks named z4j.drill.* to that queue, and nothing to any other;"
        "\n- let this worker report to a brain of the drill, and break that brain, the way there "
        "and the worker's processes;"
        f"\n- keep its files in {home}, and delete the queue at the end."
        "\nYour tasks, your workers, your brain and its token are not touched. Your application is "
        "imported: its start-up code, signal handlers and task hooks run in the drill's worker."
    )
    console.print(Text(text))


def show(
    console: Console,
    outcome: Outcome,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Print what was done and found.

    Args:
        console: Where to.
        outcome: What came out.
        left_out: Faults that the broker did not allow, each with the reason.
    """
    console.print(_faults(outcome))
    for reason in dict.fromkeys((left_out or {}).values()):
        names = "; ".join(name for name, why in (left_out or {}).items() if why == reason)
        console.print(Text(f"left out: {names} ({reason})", "dim"))
    console.print(_counts(outcome))
    for row in outcome.vitals:
        console.print(
            f"worker {row['pid']:.0f}, {row['lived_s']:.0f} s: "
            f"RSS {row['rss_mib_early']:.1f} -> {row['rss_mib_late']:.1f} MiB, "
            f"descriptors {row['fds_early']:.0f} -> {row['fds_late']:.0f}",
            highlight=False,
        )
    for task_id, seen in outcome.lost.items():
        console.print(f"lost by the broker, seen: {task_id}: {seen}", markup=False, highlight=False)
    for problem in outcome.problems[:_MOST_PROBLEMS]:
        console.print(problem, style="red", markup=False)
    if (more := len(outcome.problems) - _MOST_PROBLEMS) > 0:
        console.print(f"and {more} more", style="red")


def _faults(outcome: Outcome) -> Table:
    title = f"seed {outcome.seed}"
    table = Table(box=None, header_style="bold", title=title, title_justify="left")
    table.add_column("fault")
    table.add_column("times", justify="right")
    for name, count in sorted(outcome.faults.items()):
        table.add_row(name, str(count))
    return table


def _counts(outcome: Outcome) -> Table:
    account = outcome.account
    told = f"{outcome.told} told exactly once"
    if outcome.never_ran:
        told += f", {outcome.never_ran} lost by the broker before they ran"
    if outcome.lost:
        told += f", {len(outcome.lost)} seen to be lost by the broker"
    if outcome.waiting:
        told += f", {outcome.waiting} still to run (the broker holds or has lost their messages)"
    events = (
        f"{account.get('captured', 0)} captured = {account.get('acked', 0)} acked + "
        f"{account.get('told_twice', 0)} held back as duplicates + "
        f"{account.get('pending', 0)} pending + {account.get('dropped', 0)} dropped + "
        f"{account.get('unaccounted', 0)} unaccounted ({account.get('agents', 0)} agents)"
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_row("tasks", f"{outcome.tasks} published, {outcome.runs} runs by their own notes")
    grid.add_row("told", told)
    grid.add_row("events", events)
    grid.add_row("brain", f"{outcome.stored} stored, {outcome.repeated_events} of them twice")
    verdict = (
        Text("ok: nothing is lost, nothing was said twice", "green")
        if outcome.is_good
        else Text("NOT as it should be", "bold red")
    )
    grid.add_row("verdict", verdict)
    return grid


def repeating(
    app: str, *, seed: int, minutes: float, concurrency: int, broker: str | None
) -> str:  # fmt: skip
    """Return the command line that plays a seed again.

    Args:
        app: The application.
        seed: Which seed.
        minutes: How long it plays.
        concurrency: How many processes the worker has.
        broker: The broker's address without its password; None for the application's own.
    """
    words = ["z4j-otel", "doctor", "--drill", "-A", app, "--seed", str(seed)]
    words += ["--minutes", f"{minutes:g}", "--concurrency", str(concurrency)]
    if broker is not None:
        words += ["--broker", broker]
    return shlex.join(words)
