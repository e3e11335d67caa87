"""``z4j-otel demo``."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click
from rich.live import Live

from z4j_otel.cli.demo.brains import BrainView, EmbeddedBrain, InstalledBrain
from z4j_otel.cli.demo.overhead import capture_cost_us
from z4j_otel.cli.demo.report import live_console, summary, table
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.demo.tour import Line, Tour
from z4j_otel.cli.failure import EXIT_USAGE, Failure
from z4j_otel.cli.stopping import stop_signals

__all__ = ["check_installed", "command"]

_NEEDED: Final = {"celery": "celery", "sqlalchemy": "sqlalchemy"}
_EXAMPLES = """\b
Examples:
  z4j-otel demo                        the tour with nothing but Python packages
  z4j-otel demo --brain z4j --keep     in the real brain; look around in its dashboard
  z4j-otel demo --broker redis://localhost:6379/9

Exit codes: 0 everything was as it should be, 1 otherwise, 2 a package is missing."""


@click.command(epilog=_EXAMPLES)
@click.option(
    "--brain",
    type=click.Choice(["embedded", "z4j"]),
    default="embedded",
    help="The embedded brain, or the real one (PyPI package z4j).",
)
@click.option("--broker", metavar="URL", help="A real broker; an embedded one by default.")
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
def command(brain: str, broker: str | None, *, keep: bool) -> None:
    """The tour: a worker, its tasks, a brain and its commands, in one terminal.

    Starts a brain and a real Celery worker under opentelemetry-instrument, sends tasks that
    succeed, fail, retry, time out, get killed, are revoked and more, and compares what the
    brain shows of each with what is true. Then the brain retries the failed one.
    """
    began = time.monotonic()
    check_installed()
    view: BrainView = InstalledBrain() if brain == "z4j" else EmbeddedBrain()
    with tempfile.TemporaryDirectory(prefix="z4j-demo-") as folder, view:
        is_right = _play(view, Path(folder), broker, keep=keep, began=began)
    raise SystemExit(0 if is_right else 1)


def check_installed(is_there: Callable[[str], object] = find_spec) -> None:
    """See that the packages are there which z4j-otel does without, and the demo does not.

    Raises:
        Failure: One is missing.
    """
    missing = [package for module, package in _NEEDED.items() if not is_there(module)]
    if missing:
        raise Failure(
            f"the demo needs {' and '.join(missing)}",
            then=f"pip install {' '.join(missing)}",
            exit_code=EXIT_USAGE,
        )


def _play(view: BrainView, folder: Path, broker: str | None, *, keep: bool, began: float) -> bool:
    console = live_console()
    console.print(f"[bold]z4j-otel demo[/] with the {view.title}, in {folder}")
    for line in view.lines():
        console.print(f"  {line}")
    report = folder / "report.jsonl"
    variables = {"Z4J_OTEL_REPORT": str(report)}
    with Stage(folder, view.environment(), broker=broker, variables=variables) as stage:
        with Live(console=console, auto_refresh=False, transient=True) as live:

            def refresh(lines: Sequence[Line]) -> None:
                if console.is_terminal:
                    live.update(table(lines), refresh=True)

            tour = Tour(
                view, stage, show=lambda text: live.console.print(f"- {text}"), refresh=refresh
            )
            is_right = tour.run()
        console.print(table(tour.lines))
        if keep:
            _wait_for_interrupt(console.print, view)
        status = stage.stop()
    facts = [_accounting(report), _overhead(), _ending(status)]
    is_right = tour.look() and is_right and all(fact[2] for fact in facts)
    console.print(summary(tour, facts, time.monotonic() - began))
    return is_right


def _accounting(report: Path) -> tuple[str, str, bool]:
    """Add up what all agents of the demo say at their end."""
    lines = report.read_text("utf-8").splitlines() if report.exists() else []
    agents = [json.loads(line) for line in lines]
    captured, acked, told_twice, waiting, lost = (
        sum(agent[name] for agent in agents)
        for name in ("imported", "acked", "told_twice", "waiting", "unreadable")
    )
    dropped = lost + sum(sum(agent["dropped"].values()) for agent in agents)
    text = (
        f"{captured} captured = {acked} delivered + {told_twice} duplicates held back + "
        f"{waiting} waiting + {dropped} dropped ({len(agents)} agents)"
    )
    balances = captured == acked + told_twice + waiting + dropped
    return "events", text, bool(agents) and balances and not waiting and not dropped


def _overhead() -> tuple[str, str, bool]:
    cost_us = capture_cost_us()
    return "overhead", f"{cost_us:.0f} µs for all records of one run, on this machine", True


def _ending(status: int | None) -> tuple[str, str, bool]:
    return "worker", f"stopped with status {status}", status == 0


def _wait_for_interrupt(say: object, view: BrainView) -> None:
    assert callable(say)
    say("[bold]Everything is left running; Ctrl-C ends it.[/]")
    for line in view.lines():
        say(f"  {line}")
    with stop_signals() as asked:
        asked.wait()
    say("ending")
