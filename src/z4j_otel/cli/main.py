"""The command ``z4j-otel`` itself: its list of subcommands, loaded when they are used.

A subcommand is one row of the table below and one module with a click command called
``command``. Listing them imports none of them.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import click

from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from z4j_otel.errors import ConfigError, EngineUnavailable, Z4JOtelError

__all__ = ["SUBCOMMANDS", "cli", "main"]

_HELP: Final = "z4j-otel config"
_WITH_CELERY: Final = "pip install 'z4j-otel[celery]'"
"""The command that shows what is set, and all that is wrong with it."""

SUBCOMMANDS: Final = {
    "demo": "The tour: a worker, its tasks, a brain and its commands, in one terminal.",
    "brain": "Run the embedded brain and watch tasks live.",
    "run": "Run the agent as a process of its own.",
    "status": "Show the agents of this machine, what waits, and what became of the rest.",
    "config": "Show every setting with its value and source, and what is wrong with them.",
    "doctor": "Say what is wrong with this installation, and what to type next.",
    "redact": "Show what would leave of a value, and which rule took what.",
    "buffer": "Show, export or deliver what waits for the brain.",
    "version": "Print the versions that matter in a bug report.",
    "completion": "Print the script that makes a shell complete commands and options.",
}
"""Every subcommand with its line of help, in the order of the list."""


class _LazyGroup(click.Group):
    """Imports a subcommand when it is run, and turns our errors into failures."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for name in SUBCOMMANDS if find_spec(_module(name)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        try:
            command: click.Command = import_module(_module(cmd_name)).command
        except ModuleNotFoundError as error:
            if (error.name or "z4j_otel").partition(".")[0] == "z4j_otel":
                raise
            text = f"{cmd_name} needs {error.name}, which is not installed"
            raise Failure(text, then=_WITH_CELERY, exit_code=EXIT_USAGE) from error
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        is_asked = not ctx.resilient_parsing  # else a shell completes what is not whole yet
        if is_asked and args[0] not in names and not args[0].startswith("-"):
            near = get_close_matches(args[0], names, n=1)
            raise Failure(
                f"there is no command {args[0]!r}",
                then=f"z4j-otel {near[0] if near else '--help'}",
                exit_code=EXIT_USAGE,
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUBCOMMANDS[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EngineUnavailable as error:
            then = f"pip install 'z4j-otel[{error.engine}]'"
            text = f"engine {error.engine!r} is not installed"
            raise Failure(text, then=then, exit_code=EXIT_USAGE) from error
        except ConfigError as error:
            raise Failure(str(error), then=_HELP, exit_code=EXIT_USAGE) from error
        except Z4JOtelError as error:
            raise Failure(str(error), then=_HELP, exit_code=EXIT_FAILED) from error


def _module(name: str) -> str:
    return f"z4j_otel.cli.{name}"


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all is well, 1 failed or not healthy, 2 wrong usage or configuration.",
)
@click.version_option(package_name="z4j-otel", message="%(prog)s %(version)s")
def cli() -> None:
    """See every task's true story, and act on it: the OpenTelemetry agent for z4j.

    \b
    First steps:
      z4j-otel demo       see it all work, nothing to set up
      z4j-otel brain      a brain of your own, prints what an agent needs
    """  # noqa: D301 -- \b is click's mark for lines to keep


def main() -> None:
    """Run the command line; never returns."""
    is_module = sys.argv[0].endswith("__main__.py")
    cli(prog_name="python -m z4j_otel" if is_module else "z4j-otel")
