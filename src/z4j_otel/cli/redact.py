"""``z4j-otel redact``: what would leave, and which rule took what."""

from __future__ import annotations

import heapq
import itertools
import json
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any, Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from z4j_otel.agent.seat import redactor_of
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.census import WaitingEntry, find_files, waiting_in
from z4j_otel.cli.agents import homes_of
from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from z4j_otel.cli.redact_preview import (
    Preview,
    preview_call,
    preview_document,
    preview_stored,
    preview_text,
)
from z4j_otel.cli.run import load_app
from z4j_otel.config import load_config
from z4j_otel.redaction import Redactor
from z4j_otel.task_policies import policy_of

__all__ = ["command"]

_HELP: Final = "z4j-otel redact --help"
_MOST_CHARS: Final = 50_000_000


@click.command("redact")
@click.option("--preview", is_flag=True, help="Show only: what this command does anyhow.")
@click.argument("file", required=False, type=click.File("r", encoding="utf-8", errors="replace"))
@click.option("--text", "is_text", is_flag=True, help="The file is a text, and no JSON.")
@click.option("-A", "--app", "app", help="Celery app, as shop.celery:app; with --task.")
@click.option("--task", help="A task of the app: its own policy and signature count.")
@click.option("--args", help="Positional arguments of the call, a JSON list.")
@click.option("--kwargs", help="Keyword arguments of the call, a JSON object.")
@click.option("--result", help="What the task returns, JSON.")
@click.option("--exception", help="What the task raises: Class: message.")
@click.option("--buffer", "is_buffer", is_flag=True, help="Events that wait for the brain.")
@click.option("--last", type=click.IntRange(1, 10_000), default=20, help="So many; 20 by default.")
@click.option("--task-id", help="Only events of this task.")
@click.option("--home", type=click.Path(path_type=Path), help="Where the agents' files are.")
@click.option("--config", "settings", type=click.Path(path_type=Path), help="TOML file.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line.")
@click.pass_context
def command(
    context: click.Context, /, *, settings: Path | None, as_json: bool, **what: Any
) -> None:
    """Show what would leave of a value, and which rule took what.

    The value is a JSON document (a file, or standard input), a call of a task of your app,
    or what waits in the buffers of this machine. The last is redacted already: shown is where
    markers stand, and whether the rules of today would take more. The rules are those of your
    settings (Z4J_*, --config). What they take is not printed, and nothing is sent.

    \b
    Examples:
      echo '{"user": {"password": "x", "id": 7}}' | z4j-otel redact --preview
      z4j-otel redact --preview order.json --json | jq .findings
      z4j-otel redact --preview --text worker.log
      z4j-otel redact --preview -A shop.app --task shop.pay --args '["4111"]'
      z4j-otel redact --preview --buffer --last 20

    Exit codes: 0 shown, 1 a buffer cannot be read or holds what would be taken now, 2 wrong
    usage or configuration.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    redactor = redactor_of(load_config(file=settings, is_partial=True))
    is_clean = True
    for preview in _previews(redactor, **what):
        is_clean &= preview.is_clean
        if as_json:
            click.echo(json.dumps(preview.describe()))
        else:
            _print(preview)
    context.exit(0 if is_clean else EXIT_FAILED)


def _previews(redactor: Redactor, **what: Any) -> Iterator[Preview]:
    sources = [name for name in ("file", "task", "is_buffer") if what[name]]
    if len(sources) > 1:
        raise _wrong("choose one of a file, --task and --buffer")
    if what["is_buffer"]:
        return _stored(redactor, what)
    if what["task"] or what["app"]:
        return iter([_call(redactor, what)])
    for name in ("args", "kwargs", "result", "exception"):
        if what[name] is not None:
            raise _wrong(f"--{name} is of a call, which needs both --app and --task")
    if what["file"] is None and is_terminal(sys.stdin):
        raise _wrong("nothing to look at: name a file, a task or --buffer, or pipe JSON in")
    stream: IO[str] = what["file"] or sys.stdin
    text = stream.read(_MOST_CHARS)
    if what["is_text"]:
        return iter([preview_text(redactor, text)])
    return iter([preview_document(redactor, _decode(text, "the document"))])


def _call(redactor: Redactor, what: dict[str, Any]) -> Preview:
    name = what["task"]
    if not name or not what["app"]:
        raise _wrong("a call needs both --app and --task")
    tasks = load_app(what["app"]).tasks
    if name not in tasks:
        near = get_close_matches(name, tasks, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise _wrong(f"the app has no task {name}{guess}")
    args = _decode(what["args"] or "[]", "--args")
    kwargs = _decode(what["kwargs"] or "{}", "--kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise _wrong("--args takes a JSON list, and --kwargs a JSON object")
    details: dict[str, Any] = {"args": args, "kwargs": kwargs}
    if what["result"] is not None:
        details["result"] = _decode(what["result"], "--result")
    if what["exception"] is not None:
        details["exception"] = what["exception"]
    return preview_call(redactor, policy_of(name), name, details)


def _stored(redactor: Redactor, what: dict[str, Any]) -> Iterator[Preview]:
    homes = homes_of(what["home"])
    waiting = (waiting_in(files.buffer_path) for home in homes for files in find_files(home))
    entries = _events(itertools.chain.from_iterable(waiting), what["task_id"])
    latest = heapq.nlargest(what["last"], entries, key=_age)
    if not latest:
        raise Failure(
            f"no such event waits in {' or '.join(str(home) for home in homes)}",
            then="z4j-otel status",
            exit_code=EXIT_USAGE,
        )
    for _, body in reversed(latest):
        # A name of a task, and its id, have passed the gate as everything else here.
        title = f"{body.get('kind')} {body.get('task_id') or ''}".strip()
        yield preview_stored(redactor, title, body)


def _events(
    entries: Iterator[WaitingEntry], task_id: str | None
) -> Iterator[tuple[WaitingEntry, dict[str, Any]]]:
    for entry in entries:
        if entry.kind is not EntryKind.EVENT:
            continue
        try:
            body = json.loads(entry.body)
        except ValueError:
            continue
        if isinstance(body, dict) and task_id in (None, body.get("task_id")):
            yield entry, body


def _age(each: tuple[WaitingEntry, dict[str, Any]]) -> tuple[int, int]:
    return each[0].stored_ns, each[0].sequence


def _decode(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise _wrong(f"{what} is nested too deeply") from None
    except ValueError as error:
        # Its place only: the text around it may be what must not be shown.
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _wrong(f"{what} is no JSON{place}") from None


def is_terminal(stream: IO[str]) -> bool:
    """Whether somebody would have to type what is read."""
    return stream.isatty()


def _wrong(text: str) -> Failure:
    return Failure(text, then=_HELP, exit_code=EXIT_USAGE)


def _print(preview: Preview) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(preview.title, style="bold"))
    if preview.redacted is not None:
        shown = json.dumps(preview.redacted, indent=2, ensure_ascii=False)
        console.print(Text(preview.redacted if isinstance(preview.redacted, str) else shown))
    for note in preview.notes:
        console.print(Text(note, style="dim"))
    if not preview.findings:
        console.print(Text("no rule took anything", style="dim"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("where", "rule"):
        table.add_column(name, overflow="fold")
    table.add_column("parts", justify="right")
    for each in preview.findings:
        table.add_row(Text(each.path or "all of it"), Text(each.rule), str(each.count))
    console.print(table)
