"""``z4j-otel config``: every setting with its value, its source, and what is wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.cli.failure import EXIT_USAGE
from z4j_otel.config import Examined, Problem, examine

__all__ = ["command", "describe", "notes_on"]


@click.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--set", "only_set", is_flag=True, help="Leave out what has its default.")
@click.pass_context
def command(context: click.Context, /, *, as_json: bool, file: Path | None, only_set: bool) -> None:
    """Show every setting with its value and source, and what is wrong with them.

    Sources, the strongest first: argument, environment (Z4J_*, and Z4J_*_FILE for secrets),
    a framework's settings, file (--config, Z4J_CONFIG, or [tool.z4j] in the pyproject.toml
    of the current directory), OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME, default. What
    a framework or your own code gives is not seen here. Secrets show as set or unset.

    All problems are listed, each with its cure, not only the first. Nothing is connected to.

    \b
    Examples:
      z4j-otel config
      z4j-otel config --set --config z4j.toml
      z4j-otel config --json | jq '.problems[].cure'

    Exit codes: 0 an agent would start, 2 something has to be corrected first.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    found = examine(file=file)
    notes = notes_on(found, os.environ)
    if as_json:
        click.echo(json.dumps(describe(found, notes, only_set=only_set)))
    else:
        _print(found, notes, only_set=only_set)
    context.exit(EXIT_USAGE if any(each.is_fatal for each in found.problems) else 0)


def describe(found: Examined, notes: list[str], *, only_set: bool = False) -> dict[str, Any]:
    """Return a configuration as JSON values, secrets as ``set`` or ``unset``."""
    return {
        "ok": not any(problem.is_fatal for problem in found.problems),
        "settings": [
            {"name": row.name, "variable": row.env_name, "value": value, "source": source}
            for row, value, source in found.config.rows()
            if not only_set or source != "default"
        ],
        "problems": [
            {
                "setting": problem.setting,
                "source": problem.source,
                "text": problem.text,
                "cure": problem.cure,
                "is_fatal": problem.is_fatal,
            }
            for problem in found.problems
        ],
        "notes": notes,
    }


def notes_on(found: Examined, environ: Mapping[str, str]) -> list[str]:
    """Return what is right, and may not be what somebody expects."""
    notes = []
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        notes.append(
            "OTEL_SDK_DISABLED=true: no spans and no metrics; tasks are reported to the brain all"
            " the same. Z4J_DISABLED=1 ends that, too"
        )
    if found.config.disabled:
        notes.append("z4j-otel is switched off; to switch it on: unset Z4J_DISABLED")
    return notes


def _print(found: Examined, notes: list[str], *, only_set: bool) -> None:
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", overflow="fold")
    for row, value, source in found.config.rows():
        is_default = source == "default"
        if is_default and only_set:
            continue
        style = "dim" if is_default else ""
        table.add_row(Text(row.name, style), Text(value, style), Text(source, style))
    console.print(table if table.row_count else "nothing is set")
    # The terminal breaks these lines: what is copied from it, or piped, stays whole.
    for problem in found.problems:
        console.print(_line(problem), soft_wrap=True)
    for note in notes:
        console.print(Text(f"note: {note}", "cyan"), soft_wrap=True)


def _line(problem: Problem) -> Text:
    mark, style = ("error", "red") if problem.is_fatal else ("warning", "yellow")
    text = Text(f"{mark}: {problem.setting} ({problem.source}): {problem.text}\n", style)
    return text.append(f"  {problem.cure}", "default")
