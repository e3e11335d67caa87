"""``z4j-otel brain``: the embedded brain on a port, and a live view of its tasks."""

from __future__ import annotations

import errno
import json
import shlex
from collections.abc import Callable
from contextlib import ExitStack

import click
from rich.console import Console
from rich.live import Live

from z4j_otel.cli.brain_view import build_table, event_json, event_line
from z4j_otel.cli.failure import EXIT_FAILED, Failure
from z4j_otel.cli.stopping import StopRequest, stop_signals
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.rows import EventRow
from z4j_otel.devbrain.server import BrainThread

__all__ = ["command", "print_events", "show_table"]

_DEFAULT_PORT = 7400
_REFRESH_S = 0.25
_FRAME_LINES = 10
_FEWEST_ROWS = 5


@click.command("brain")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="TCP port on loopback; 0 takes any free one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")
@click.pass_obj
def command(obj: object, /, *, port: int, as_json: bool) -> None:
    """Run the embedded brain and watch tasks live.

    It speaks the real brain's protocol, checks signatures as strictly, and forgets all when
    it ends. It prints the variables to set where the worker runs.

    \b
    Examples:
      z4j-otel brain
      z4j-otel brain --port 0 --json | jq -r .kind

    Exit codes: 0 ended by a signal, 1 the port is taken.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    with ExitStack() as stack:
        try:
            thread = stack.enter_context(BrainThread(port=port))
        except RuntimeError as error:
            cause = error.__cause__ or error
            is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            why = "another program listens there" if is_taken else cause
            raise Failure(
                f"no brain on port {port}: {why}",
                then="z4j-otel brain --port 0",
                exit_code=EXIT_FAILED,
            ) from error
        asked = stack.enter_context(stop_signals())
        _watch(thread, asked=_given(obj) or asked, as_json=as_json)


def _given(obj: object) -> StopRequest | None:
    return obj if isinstance(obj, StopRequest) else None


def _watch(thread: BrainThread, *, asked: StopRequest, as_json: bool) -> None:
    environment = thread.env()
    if as_json:
        click.echo(json.dumps({"kind": "brain.ready", "environment": environment}))
        print_events(thread.brain, event_json, asked)
        return
    for name, value in environment.items():
        click.echo(f"export {name}={shlex.quote(value)}")
    console = Console()
    if console.is_terminal:
        show_table(thread.brain, console, asked)
    else:
        print_events(thread.brain, event_line, asked)


def print_events(brain: DevBrain, write: Callable[[EventRow], str], asked: StopRequest) -> None:
    """Print each event once, as ``write`` puts it, until ``asked`` is set."""
    printed = 0
    is_last = False
    while not is_last:
        is_last = asked.wait(_REFRESH_S)
        events = brain.events()
        for event in events[printed:]:
            click.echo(write(event))
        printed = len(events)


def show_table(brain: DevBrain, console: Console, asked: StopRequest) -> None:
    """Draw the tasks again and again until ``asked`` is set."""

    def table() -> object:
        limit = max(_FEWEST_ROWS, console.height - _FRAME_LINES)
        return build_table(brain.tasks(), brain.agents(), limit=limit)

    with Live(get_renderable=table, console=console, refresh_per_second=1 / _REFRESH_S):  # type: ignore[arg-type] # any renderable
        asked.wait()
