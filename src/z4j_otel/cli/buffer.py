"""``z4j-otel buffer``: what waits for the brain, shown, exported, delivered."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.census import FilesSeen, WaitingEntry, find_files, waiting_in
from z4j_otel.cli.agents import age_of, homes_of, size_of
from z4j_otel.cli.drain import drain
from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from z4j_otel.clock import SystemClock, iso_utc
from z4j_otel.errors import one_line

__all__ = ["command", "line_of"]

_NS = 1_000_000_000
_KINDS = {kind: kind.name.lower() for kind in EntryKind}
_HOME = click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Where the agents' files are; Z4J_HOME, else ~/.z4j.",
)
_AGENT = click.option("--agent", help="Only this one, named as in z4j-otel status.")


@click.group("buffer")
def command() -> None:
    """Show, export or deliver what waits for the brain.

    What is here was redacted before it was written: the disk holds no raw argument. Showing
    and exporting only read, also beside a running agent. What processes appended to their
    journal less than two seconds ago, or left there when they ended, is not in a buffer yet;
    z4j-otel status tells its size.

    \b
    Example:
      z4j-otel buffer show
    """  # noqa: D301 -- \b is click's mark for lines to keep


@command.command("show")
@_HOME
@_AGENT
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Most entries to show of each agent, oldest first.",
)
def show(*, home: Path | None, agent: str | None, as_json: bool, limit: int) -> None:
    """List what waits, oldest first.

    \b
    Examples:
      z4j-otel buffer show
      z4j-otel buffer show --agent buffer-4711 --limit 100
      z4j-otel buffer show --json | jq '.waiting[].what'

    Exit codes: 0 shown, 1 a buffer cannot be read, 2 there is no such agent.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    now_ns = SystemClock().now_ns()
    waiting = [
        _described(files.name, entry, now_ns)
        for files in _chosen(home, agent)
        for entry in itertools.islice(waiting_in(files.buffer_path), limit)
    ]
    if as_json:
        click.echo(json.dumps({"waiting": waiting}))
    elif waiting:
        Console(highlight=False).print(_table_of(waiting))
    else:
        click.echo("nothing waits")


def _described(agent: str, entry: WaitingEntry, now_ns: int) -> dict[str, Any]:
    what, task, number = map(one_line, _told(entry))  # a terminal obeys some characters
    return {
        "agent": agent,
        "age_s": max(0, now_ns - entry.stored_ns) / _NS,
        "what": what,
        "task": task,
        "id": number,
        "bytes": len(entry.body),
    }


def _table_of(waiting: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("agent", "age", "what", "task", "id"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right")
    for each in waiting:
        names = [Text(each[name]) for name in ("what", "task", "id")]
        age, size = age_of(each["age_s"]), size_of(each["bytes"])
        table.add_row(Text(each["agent"]), age, *names, size)
    return table


@command.command("export")
@_HOME
@_AGENT
@click.option("--output", type=click.Path(path_type=Path), help="New file; else standard output.")
def export(*, home: Path | None, agent: str | None, output: Path | None) -> None:
    """Write what waits as lines of JSON, oldest first.

    Each line has agent, sequence, stored_at, kind (event or command_result) and body: the
    event as the brain will get it. Nothing is taken out. A file is made with mode 0600.

    \b
    Examples:
      z4j-otel buffer export --output waiting.jsonl
      z4j-otel buffer export | jq -r 'select(.kind == "event") | .body.task_id'

    Exit codes: 0 written, 1 a buffer cannot be read, or the file is there, 2 no such agent.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    chosen = _chosen(home, agent)
    count = 0
    with _opened(output) as stream:
        for files in chosen:
            for entry in waiting_in(files.buffer_path):
                stream.write(line_of(files.name, entry))
                count += 1
    click.echo(f"{count} entries written", err=True)


command.add_command(drain)


def line_of(agent: str, entry: WaitingEntry) -> bytes:
    """Return an entry as one line of JSON; its body is not encoded again."""
    head = {
        "agent": agent,
        "sequence": entry.sequence,
        "stored_at": iso_utc(entry.stored_ns),
        "kind": _KINDS[entry.kind],
    }
    return b'%b,"body":%b}\n' % (json.dumps(head).encode()[:-1], entry.body)


def _chosen(home: Path | None, agent: str | None) -> list[FilesSeen]:
    homes = homes_of(home)
    found = [
        files
        for each in homes
        for files in find_files(each)
        if agent is None or agent in {files.name, str(files.pid)}
    ]
    if not found:
        who = f"agent {agent!r}" if agent else "agent"
        raise Failure(
            f"no {who} has files in {' or '.join(str(each) for each in homes)}",
            then="z4j-otel status",
            exit_code=EXIT_USAGE,
        )
    return found


def _told(entry: WaitingEntry) -> tuple[str, str, str]:
    """Return what an entry is, its task's name and an id."""
    try:
        body: dict[str, Any] = json.loads(entry.body)
        if entry.kind is EntryKind.COMMAND_RESULT:
            return "command result", "", str(body["command_id"])
        name = (body.get("data") or {}).get("task_name") or ""
        return str(body["kind"]), str(name), str(body["task_id"])
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return "unreadable", "", ""


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        yield sys.stdout.buffer
        return
    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(
            f"{output} cannot be made: {error.strerror}",
            then="z4j-otel buffer export --output another-name.jsonl",
            exit_code=EXIT_FAILED,
        ) from error
    with os.fdopen(fd, "wb") as stream:
        yield stream
