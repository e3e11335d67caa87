"""``z4j-otel buffer drain``: delivers what ended agents left, now and in the foreground."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.assembly import build_agent, leave
from z4j_otel.agent.engines import introduce
from z4j_otel.agent.execution import failed
from z4j_otel.agent.seat import Seat
from z4j_otel.agent.status_file import read_status
from z4j_otel.buffer.census import FilesSeen, find_files, sum_waiting
from z4j_otel.buffer.home import resolve_home, with_home
from z4j_otel.cli.failure import EXIT_FAILED, Failure
from z4j_otel.cli.stopping import StopRequest, stop_signals
from z4j_otel.commands import Command, CommandResult
from z4j_otel.config import AgentConfig, load_config
from z4j_otel.errors import CommandRefused

__all__ = ["Drain", "drain"]

_TIMEOUT_S: Final = 300.0
_LOOK_S: Final = 0.25
_TELL_S: Final = 2.0
_END_S: Final = 5.0


@click.command("drain")
@click.option("--home", type=click.Path(path_type=Path), help="Where the files are; Z4J_HOME.")
@click.option("--config", type=click.Path(), help="TOML file with settings.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0),
    default=_TIMEOUT_S,
    show_default=True,
    help="Most seconds to take.",
)
def drain(*, home: Path | None, config: str | None, timeout_s: float) -> None:
    """Deliver what ended agents left, now and in the foreground.

    It needs the settings that the agents had (Z4J_*, or --config): brain, token, signing
    secret and project. Running agents deliver by themselves; where one of the same project
    runs on the same files, this only waits until it has taken them over. While it
    delivers, it is an agent of the token, and refuses commands.

    \b
    Examples:
      z4j-otel buffer drain
      Z4J_HOME=/mnt/old-host/z4j z4j-otel buffer drain --config z4j.toml

    Exit codes: 0 nothing is left, 1 something is left, 2 the configuration is wrong.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    if config:
        os.environ["Z4J_CONFIG"] = config
    settings = load_config({"home": str(home)} if home else {})
    logging.getLogger("z4j_otel").setLevel(logging.ERROR)
    with stop_signals() as asked:
        left = Drain(settings, asked, timeout_s=timeout_s).run()
    if left:
        raise Failure(left, then="z4j-otel status", exit_code=EXIT_FAILED)


@dataclass(slots=True)
class _Bystander:
    """Lists what an ended worker could do and does nothing.

    The brain keeps capabilities per token: listing none would take them from the workers.
    """

    name: str
    can: list[str]

    def capabilities(self) -> list[str]:
        return self.can

    def execute(self, command: Command) -> dict[str, Any]:
        raise _refused(command)

    def queue_depths(self) -> dict[str, int]:
        return {}

    def worker_details(self) -> dict[str, dict[str, Any]]:
        return {}


class Drain:
    """One run of the command.

    Args:
        config: Settings of the agents whose files are delivered.
        asked: Set when it is to end early.
        timeout_s: Most time to take, seconds.
        echo: Tells the user a line.
    """

    def __init__(
        self,
        config: AgentConfig,
        asked: StopRequest,
        *,
        timeout_s: float,
        echo: Callable[[str], None] = click.echo,
    ) -> None:
        self._config = config
        self._asked = asked
        self._timeout_s = timeout_s
        self._ends_s = time.monotonic() + timeout_s
        self._echo = echo
        self._told, self._told_s = "", 0.0
        self._home = resolve_home(with_home(os.environ, config.home))

    def run(self) -> str:
        """Deliver; return what is left, in words, or nothing."""
        left = self._left_behind()
        if not left:
            self._echo("nothing waits")
            return ""
        entries = sum(sum_waiting(files.buffer_path).entries for files in left)
        journal_bytes = sum(files.journal_bytes for files in left)
        self._echo(
            f"{len(left)} ended agents left {entries} entries and {journal_bytes} bytes of journal;"
            f" this takes at most {self._timeout_s:g} s, Ctrl-C ends it"
        )
        if heir := next((files for files in self._own() if files.is_alive), None):
            return self._wait_for(heir)
        return self._deliver(left)

    def _own(self) -> list[FilesSeen]:
        """Return the files of this project's agents."""
        wanted = set(self._config.deployment.split("."))
        return [
            files
            for files in find_files(self._home)
            if not wanted.isdisjoint(files.deployment.split("."))
        ]

    def _left_behind(self) -> list[FilesSeen]:
        return [files for files in self._own() if not files.is_alive]

    def _goes_on(self) -> bool:
        return time.monotonic() < self._ends_s and not self._asked.wait(_LOOK_S)

    def _tell(self, text: str) -> None:
        """Tell how far it is, now and then, and nothing twice in a row."""
        if text != self._told and time.monotonic() >= self._told_s + _TELL_S:
            self._told, self._told_s = text, time.monotonic()
            self._echo(text)

    def _wait_for(self, heir: FilesSeen) -> str:
        self._echo(f"{heir.name} runs and takes them over")
        while self._goes_on():
            left = self._left_behind()
            if not left:
                self._echo("taken over")
                return ""
            self._tell(f"{len(left)} to go")
        return f"{heir.name} has not taken them over yet"

    def _deliver(self, left: Sequence[FilesSeen]) -> str:
        seat = Seat.owner(self._config)
        adapters = [_Bystander(name, can) for name, can in _capabilities(left).items()]
        agent = build_agent(
            seat,
            adapters,
            hello=introduce(self._config, is_worker=False),
            run_command=_refuse,
        )
        try:
            agent.start()
            problem = self._watch(agent)
        finally:
            agent.shutdown(_END_S)
            counts = agent.status()["counts"]
            leave(seat, agent.ledger)
        self._echo(f"{counts['acked']} events delivered")
        if not self._left_behind():
            return ""
        return f"not everything was delivered: {problem}"

    def _watch(self, agent: AgentRuntime) -> str:
        """Wait until all is delivered; return why it was not."""
        while self._goes_on():
            status = agent.status()
            acked, waiting = status["counts"]["acked"], status["buffer"]["entries"]
            if not waiting and not self._left_behind() and agent.flush(_LOOK_S):
                return ""
            problem = status["problem"]
            self._tell(f"{acked} delivered, {waiting} to go" + (f"; {problem}" if problem else ""))
        return str(agent.status()["problem"] or "the time was over")


def _capabilities(left: Sequence[FilesSeen]) -> Mapping[str, list[str]]:
    """Return what the ended agents could do, as they showed it last."""
    known: dict[str, list[str]] = {}
    for files in left:
        status = read_status(files.status_path) or {}
        known.update(status.get("capabilities") or {})
    return known


def _refuse(command: Command) -> CommandResult:
    return failed(_refused(command), command)


def _refused(command: Command) -> CommandRefused:
    return CommandRefused(
        f"this process only delivers events: {command.action[:40]} is for workers"
    )
