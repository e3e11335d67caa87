"""The pages of the documentation that are made from the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from z4j_otel.buffer.base import DropReason
from z4j_otel.cli.main import cli
from z4j_otel.cli.workload.scenarios import SCENARIOS
from z4j_otel.config import SETTINGS, Setting
from z4j_otel.config.parsing import Kind
from z4j_otel.events import ATTEMPT_ENDS, Cause, EventKind

from .event_data import COMMON, DATA

__all__ = ["DOCS", "generated_pages"]

DOCS = Path(__file__).parents[2] / "docs"
_NOTE = "<!-- Written by `make docs`; change the code instead. -->"
_FORMS = {
    Kind.BOOLEAN: "`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`",
    Kind.NAMES: "`name,name`",
    Kind.PATTERNS: "regular expressions, with commas or one on each line",
    Kind.TAGS: "`key=value,key=value`",
    Kind.URL: "`http(s)://` or `ws(s)://`, host, port",
}
_CAUSES = {
    Cause.EXCEPTION: "the task raised it",
    Cause.SOFT_TIME_LIMIT: "`SoftTimeLimitExceeded` left the task",
    Cause.TIME_LIMIT: "the worker killed its process at the hard time limit",
    Cause.WORKER_LOST: "its process died: SIGKILL, the OOM killer, `os._exit`",
    Cause.UNKNOWN_TASK: "the worker has no task of that name",
    Cause.REJECTED: "the task raised `Reject` without requeue, or its message cannot be read",
}


def generated_pages() -> dict[str, str]:
    """Return the text of each page that is generated, by its path below ``docs``."""
    return {
        "reference/config.md": _config(),
        "reference/cli.md": _cli(),
        "reference/events.md": _events(),
        "guarantees.md": _filled("guarantees.md", {"truth": _truth(), "drops": _drops()}),
    }


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _config() -> str:
    rows = [
        (f"`{row.env_name}`", row.help, f"`{_shown(row)}`" if _shown(row) else "", _form(row))
        for row in SETTINGS
    ]
    return f"""{_NOTE}
# Settings

Each setting is an environment variable; the same name without `Z4J_`, in lower case, is an argument
of `install_agent`, `Agent`, `Z4JExporter` and `Z4JSpanProcessor`, and a line in a TOML file that
`Z4J_CONFIG` or `z4j-otel run --config` names (on Python 3.10, with the package `tomli`).

The first that has a value wins: argument, environment, file, default. An empty text means unset.
`Z4J_TOKEN_FILE` and `Z4J_HMAC_SECRET_FILE` name files to read the secret from. A variable `Z4J_*`
that nobody knows is told in a warning with the nearest name, or refused in strict mode.

Accepted, and without effect in this version: `Z4J_TRANSPORT` and `Z4J_AGENT_ID`, as there is no
HTTPS polling yet, and `Z4J_LOG_LEVEL` outside of `z4j-otel run`, where your logging settings hold.

{_table(("variable", "what it does", "default", "form"), rows)}
"""


def _shown(row: Setting) -> str:
    shown = row.show(row.default)
    return "" if shown == "unset" else shown


def _form(row: Setting) -> str:
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices)
    if row.minimum is not None and row.maximum is not None:
        return f"{row.kind.value}, {row.minimum:,.0f} to {row.maximum:,.0f}"
    if row.maximum is not None:
        return f"{row.kind.value}, at most {row.maximum:.0f} characters"
    return _FORMS.get(row.kind, row.kind.value)


def _cli() -> str:
    assert isinstance(cli, click.Group)
    context = click.Context(cli)
    sections = "\n".join(
        _command(name, command)
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
    )
    return f"""{_NOTE}
# The command `z4j-otel`

Also `python -m z4j_otel`. Exit codes are the same everywhere: 0 all is well, 1 something failed or
is not healthy, 2 the command line or the configuration is wrong. A message of failure ends with the
command to type next.

{sections}"""


def _command(name: str, command: click.Command) -> str:
    summary, _, more = inspect.cleandoc(command.help or "").partition("\n\n")
    parts = [f"## `z4j-otel {name}`", summary]
    rows = [
        (f"`{', '.join(option.opts)}`", _values(option), option.help or "")
        for option in command.params
        if isinstance(option, click.Option)
    ]
    if rows:
        parts.append(_table(("option", "value", "what it does"), rows))
    parts += [_prose(text) for text in (more, command.epilog) if text]
    return "\n\n".join(parts) + "\n"


def _values(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    if option.is_flag:
        return ""
    return option.metavar or option.type.name.partition(" ")[0]


def _prose(text: str) -> str:
    """Turn click's paragraphs into Markdown; those with its mark for kept lines into code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_paragraph(each.strip("\n")) for each in paragraphs)


def _paragraph(text: str) -> str:
    if not text.startswith("\b"):
        return text
    title, *lines = text.strip("\b\n").splitlines()
    return "\n".join([title, "", "```text", *(line.strip() for line in lines), "```"])


def _events() -> str:
    ends = ", ".join(f"`{kind.value}`" for kind in EventKind if kind in ATTEMPT_ENDS)
    causes = [(f"`{cause.value}`", _CAUSES[cause]) for cause in Cause]
    return f"""{_NOTE}
# Events

One event says one thing about one task or worker. It has an `id` (a UUID), a `kind`, the `engine`
(`celery`), the `task_id`, the time `occurred_at`, and `data`. The dashboard shows the whole `data`
in a task's timeline. Keys without a value are left out unless stated.

Every run of a task has exactly one end: {ends}.

## Data of every event

{_keys(COMMON)}

{chr(10).join(_kind(kind) for kind in EventKind)}
## Causes of `task.failed`

{_table(("cause", "meaning"), causes)}
"""


def _kind(kind: EventKind) -> str:
    keys = DATA[kind]
    return f"## `{kind.value}`\n\n{_keys(keys) if keys else 'Nothing more.'}\n"


def _keys(keys: dict[str, str]) -> str:
    return _table(("key", "value"), [(f"`{key}`", text) for key, text in keys.items()])


def _truth() -> str:
    rows = [
        (each.story, each.events, each.state, f"`{each.cause}`" if each.cause else "")
        for each in SCENARIOS
    ]
    return _table(("a task that …", "events", "state", "cause"), rows)


def _drops() -> str:
    source = inspect.getsource(DropReason)
    texts = dict(re.findall(r'= "(\w+)"\n\s+"""(.+?)"""', source, re.DOTALL))
    rows = [(f"`{reason.value}`", " ".join(texts[reason.value].split())) for reason in DropReason]
    return _table(("reason", "meaning"), rows)


def _filled(name: str, parts: dict[str, str]) -> str:
    text = (DOCS / name).read_text("utf-8")
    for part, table in parts.items():
        mark = f"<!-- generated: {part} -->"
        before, _, rest = text.partition(mark)
        _, _, after = rest.partition("<!-- end -->")
        text = f"{before}{mark}\n{table}\n<!-- end -->{after}"
    return text
