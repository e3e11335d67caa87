"""``z4j-otel status``: the agents of this machine, for people and for probes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.agents import AgentSeen, age_of, homes_of, see_agents, size_of
from z4j_otel.cli.demo.overhead import capture_cost_us
from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE
from z4j_otel.clock import SystemClock

__all__ = ["build_processes", "build_table", "command"]

_NS = 1_000_000_000
_WIDE_CHARS = 100
_COLOURS = {"connected": "green", "connecting": "yellow", "starting": "yellow", "ended": "dim"}


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--processes", is_flag=True, help="Also list every process that captured.")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Where the agents' files are; Z4J_HOME, else ~/.z4j.",
)
@click.pass_context
def command(
    context: click.Context, /, *, as_json: bool, processes: bool, home: Path | None
) -> None:
    """Show the agents of this machine, what waits, and what became of the rest.

    It reads the files in Z4J_HOME and asks no process. A running agent writes its state
    there every five seconds when something changed. The ledger counts what was captured
    since its buffer was made: captured = acked + told twice + pending + dropped.

    Not healthy is an agent that is not connected, gives no sign of life, or whose ledger does
    not close; and what an ended one left, when no other agent here takes it over.

    \b
    Examples:
      z4j-otel status
      z4j-otel status --processes
      z4j-otel status --json | jq .healthy

    Exit codes: 0 all agents are healthy, 1 one is not, 2 no agent was found.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    now_ns = SystemClock().now_ns()
    homes = homes_of(home)
    agents = see_agents(homes, now_ns=now_ns)
    is_healthy = not any(agent.problems for agent in agents)
    cost_us = capture_cost_us()
    if as_json:
        found = {
            "homes": [str(home) for home in homes],
            "healthy": is_healthy and bool(agents),
            "capture_cost_us": round(cost_us, 1),
            "agents": [agent.describe(now_ns) for agent in agents],
        }
        click.echo(json.dumps(found))
    elif agents:
        _print(agents, now_ns, cost_us=cost_us, processes=processes)
    else:
        click.echo(f"no agent has files in {' or '.join(str(home) for home in homes)}", err=True)
        click.echo("  z4j-otel run --help", err=True)
    context.exit(EXIT_USAGE if not agents else 0 if is_healthy else EXIT_FAILED)


def _print(agents: Sequence[AgentSeen], now_ns: int, *, cost_us: float, processes: bool) -> None:
    console = Console(highlight=False)
    console.print(build_table(agents, now_ns, is_wide=console.width >= _WIDE_CHARS))
    if processes:
        console.print(build_processes(agents))
    for agent in agents:
        for problem in agent.problems:
            console.print(Text(f"{agent.files.name}: {problem}", style="red"), soft_wrap=True)
        error = agent.status.get("last_error")
        if error and not agent.problems:
            text = f"{agent.files.name}: last error, at {error['at']}: {error['text']}"
            console.print(Text(text), soft_wrap=True)
    console.print(
        f"Capturing a run costs {cost_us:.0f} µs of a task's time here, measured just now."
    )


def build_table(agents: Sequence[AgentSeen], now_ns: int, *, is_wide: bool = True) -> Table:
    """Return one row per agent; with the brain's address where there is room for it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = ("agent", "role", "state", "waiting", "oldest", "captured", "acked", "dropped", "brain")
    for name in names if is_wide else names[:-1]:
        is_number = name in {"waiting", "oldest", "captured", "acked", "dropped"}
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for agent in agents:
        table.add_row(*_row(agent, now_ns)[: len(table.columns)])
    return table


def _row(agent: AgentSeen, now_ns: int) -> list[Text]:
    status, waiting = agent.status, agent.waiting
    ledger: dict[str, Any] = status.get("ledger") or {}
    state = agent.state
    if agent.files.is_alive and status.get("transport") == "longpoll":
        state += " (long-poll)"
    oldest_ns = waiting.oldest_ns
    dropped = ledger.get("dropped", "")
    return [
        Text(agent.files.name),
        Text(str(status.get("role", ""))),
        Text(state, style=_COLOURS.get(agent.state, "red")),
        Text(f"{waiting.entries} ({size_of(waiting.bytes)})" if waiting.entries else "0"),
        Text("" if oldest_ns is None else age_of(max(0, now_ns - oldest_ns) / _NS)),
        Text(str(ledger.get("captured", ""))),
        Text(str(ledger.get("acked", ""))),
        Text(str(dropped), style="red" if dropped else ""),
        Text(str(status.get("brain", ""))),
    ]


def build_processes(agents: Sequence[AgentSeen]) -> Table:
    """Return one row per process that captured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("agent")
    table.add_column("process")
    for name in ("captured", "imported", "missing", "dropped"):
        table.add_column(name, justify="right")
    for agent in agents:
        for process in agent.status.get("processes", ()):
            table.add_row(
                agent.files.name,
                str(process["process"]),
                *(str(process[name]) for name in ("captured", "imported", "missing")),
                str(sum(process["dropped"].values())),
            )
    return table
