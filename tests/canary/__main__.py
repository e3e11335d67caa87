"""``make canary``: secrets planted everywhere, and none found in what leaves the process.

A real worker takes every plant along, with a brain that is away at first; then commands,
schedules, the tools of the command line. Afterwards every byte on disk, on the wire and in
the logs is searched, and what stood around each secret must still be there. What a user's own
broker, result backend and tracing exporter hold is not searched: that is the user's.

Examples:
  python -m tests.canary
  python -m tests.canary --brain z4j
  python -m tests.canary --broker embedded --without value:email

Exit status: 0 no secret was found and nothing else is missing, 1 otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.truth.brokers import BrokerMissing

from z4j_otel.redaction.catalogue import RULES

from .brains import Brain, Embedded, Installed
from .judge import (
    find_changed,
    find_lost,
    find_lost_elsewhere,
    find_merged,
)
from .plants import PLANTS
from .run import Outcome, play
from .search import ALL, Leak, find_leaks, own_secrets

_BROKERS = ("redis", "rabbitmq", "embedded")
_MOST_SHOWN = 40
_FEW = 3


@dataclasses.dataclass(slots=True)
class Verdict:
    """What one run showed."""

    brain: str
    broker: str
    secrets: int
    bytes: dict[str, int]
    """Searched, by path."""
    leaks: list[Leak]
    kept: int
    """Plants whose surroundings are whole."""
    issues: int
    """Different failures, at the brain."""
    lost: list[str]
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether nothing leaked and nothing is missing."""
        return not self.leaks and not self.lost


def main() -> int:
    """Run, search, print the table.

    Returns:
        0 when no secret was found and all surroundings are there, 1 otherwise.
    """
    # Who is told to end ends what he has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = _options()
    terminal = Console(stderr=options.json, highlight=False)
    console = (
        terminal
        if terminal.is_terminal
        else Console(width=140, stderr=options.json, highlight=False)
    )
    verdicts = []
    for broker in options.brokers:
        try:
            verdicts.append(_verdict(options, broker, console))
        except BrokerMissing as error:
            console.print(f"{broker}: not run: {error}", markup=False)
    for verdict in verdicts:
        _show(console, verdict)
    if options.json:
        json.dump([dataclasses.asdict(each) for each in verdicts], sys.stdout, indent=1)
    return 0 if verdicts and all(each.is_right for each in verdicts) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make canary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--brain", choices=["embedded", "z4j"], default="embedded")
    parser.add_argument(
        "--broker", dest="brokers", choices=_BROKERS, action="append", help="only with this broker"
    )
    parser.add_argument(
        "--agent-host",
        choices=["thread", "process"],
        default="thread",
        help="where the agent lives",
    )
    parser.add_argument(
        "--without",
        metavar="RULE",
        choices=sorted(RULES),
        help="take this rule of redaction away, named as in docs/reference/redaction.md",
    )
    parser.add_argument("--json", action="store_true", help="a report on standard output")
    options = parser.parse_args()
    options.brokers = options.brokers or _BROKERS
    return options


def _verdict(options: argparse.Namespace, broker: str, console: Console) -> Verdict:
    began = time.monotonic()

    def say(what: str) -> None:
        console.print(f"{time.monotonic() - began:5.1f} s  {what} ...", style="dim", markup=False)

    brain: Brain = Installed() if options.brain == "z4j" else Embedded()
    with brain, tempfile.TemporaryDirectory(prefix="z4j-canary-") as folder:
        say(f"{brain.title}, {broker}")
        own = own_secrets(brain.environment())
        outcome = play(
            brain,
            Path(folder),
            broker=broker,
            without=options.without,
            agent_host=options.agent_host,
            say=say,
        )
    say("searching")
    lost = sorted(_lost(outcome))
    return Verdict(
        brain.title,
        broker,
        len(ALL) + len(own),
        {path: sum(map(len, found)) for path, found in outcome.surfaces.items()},
        find_leaks(outcome.surfaces, own),
        len(PLANTS) - sum(1 for each in find_lost(outcome, outcome.shown)),
        len(outcome.issues),
        lost,
        time.monotonic() - began,
    )


def _lost(outcome: Outcome) -> Iterator[str]:
    yield from find_lost(outcome, outcome.shown)
    yield from find_lost_elsewhere(outcome)
    yield from find_changed(outcome)
    yield from find_merged(outcome)


def _show(console: Console, verdict: Verdict) -> None:
    table = Table(title=f"{verdict.brain}, {verdict.broker}", box=None, pad_edge=False)
    table.title_justify = "left"
    table.add_column("path")
    table.add_column("bytes searched", justify="right")
    table.add_column("secrets found", justify="right")
    for path, size in verdict.bytes.items():
        count = sum(leak.path == path for leak in verdict.leaks)
        table.add_row(path, f"{size:,}", f"[red]{count}" if count else "0")
    console.print()
    console.print(table)
    for plant in sorted({leak.plant for leak in verdict.leaks}):
        several = [leak for leak in verdict.leaks if leak.plant == plant]
        paths = ", ".join(leak.path for leak in several[:_FEW])
        more = f" and {len(several) - _FEW} more" if len(several) > _FEW else ""
        text = f"LEAK  {plant}: in {paths}{more}, as {several[0].excerpt!r}"
        console.print(text, style="red", markup=False)
    for loss in verdict.lost[:_MOST_SHOWN]:
        console.print(f"LOST  {loss}", style="red", markup=False)
    console.print(
        f"secrets planted {verdict.secrets}, paths {len(verdict.bytes)}, "
        f"bytes searched {sum(verdict.bytes.values()):,}, leaks {len(verdict.leaks)}, "
        f"context kept {verdict.kept} of {len(PLANTS)}, "
        f"different failures {verdict.issues}, {verdict.seconds:.0f} s",
        style="green" if verdict.is_right else "bold red",
    )


sys.exit(main())
