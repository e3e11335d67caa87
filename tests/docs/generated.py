"""The pages of the documentation that are made from the code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from z4j_otel.agent.metrics import METRICS
from z4j_otel.buffer.base import DropReason
from z4j_otel.cli.main import cli
from z4j_otel.cli.workload.scenarios import SCENARIOS, Scenario
from z4j_otel.config import SETTINGS, Setting
from z4j_otel.config.names import ALIASES, OBSOLETE
from z4j_otel.config.parsing import Kind
from z4j_otel.events import ATTEMPT_ENDS, Cause, EventKind
from z4j_otel.transport.backoff import DELAYS
from z4j_otel.transport.close_codes import FailureClass

from ..truth.more import MORE  # noqa: TID252 -- the table of make truth
from ..truth.values import VALUES  # noqa: TID252 -- as above
from .event_data import COMMON, DATA
from .redaction_page import redaction_page

__all__ = ["DOCS", "generated_pages"]

DOCS = Path(__file__).parents[2] / "docs"
_NOTE = "<!-- Written by `make docs`; change the code instead. -->"
_FORMS = {
    Kind.BOOLEAN: "`1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`",
    Kind.NAMES: "`name,name`",
    Kind.COMMANDS: "`action,action`, `-action,-action` or `none`",
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
_ENTERED_BY = {
    FailureClass.CONNECTION: "no connection, TLS trouble, HTTP 404 or 5xx, a break, no answer to"
    " hello, nothing read or acknowledged; close codes 1000, 1001, 1006, 1011, 1012, 4408",
    FailureClass.PROTOCOL: "1009, 4400, 4403 after other frames were accepted, 1011 before"
    " `hello_ack`, a bad frame of the brain",
    FailureClass.AUTH: "4003, 4401, 4403, HTTP 401 and 403, 407 of a proxy",
    FailureClass.INCOMPATIBLE: "4426, 4427",
    FailureClass.CAPACITY: "4429, HTTP 429",
    FailureClass.SLOT: "4002",
}


def generated_pages() -> dict[str, str]:
    """Return the text of each page that is generated, by its path below ``docs``."""
    return {
        "reference/config.md": _config(),
        "reference/cli.md": _cli(),
        "reference/events.md": _events(),
        "reference/metrics.md": _metrics(),
        "reference/redaction.md": redaction_page(),
        "guarantees.md": _filled(
            "guarantees.md",
            {
                "truth": _truth(SCENARIOS),
                "truth-more": _truth(each for each in (*MORE, *VALUES) if each.events),
                "drops": _drops(),
                "pauses": _pauses(),
            },
        ),
    }


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _config() -> str:
    rows = [
        (
            f"`{row.env_name}`{' *' if row.decides_trust or row.is_secret else ''}",
            row.help,
            f"`{_shown(row)}`" if _shown(row) else "",
            _form(row),
        )
        for row in SETTINGS
    ]
    secrets = ", ".join(f"`{row.env_name}_FILE`" for row in SETTINGS if row.is_secret)
    aliases = [
        (f"`Z4J_{name.upper()}`", f"`Z4J_{alias.setting.upper()}`: {_words(alias.words)}")
        for name, alias in ALIASES.items()
        if alias.words
    ]
    obsolete = [
        (f"`Z4J_{name.upper()}`", f"{text}; {cure}") for name, (text, cure) in OBSOLETE.items()
    ]
    return f"""{_NOTE}
# Settings

Each setting is an environment variable; the same name without `Z4J_`, in lower case, is an
argument of `install_agent`, `Agent`, `Z4JExporter` and `Z4JSpanProcessor`, an option of
`z4j-otel run`, and a line in a TOML file. `z4j-otel config` shows what is in force, from where, and
what is wrong with it.

## Where values come from

The first that has a value wins; an empty text means unset.

1. Argument, or option of `z4j-otel run`.
2. Environment: `Z4J_*`. The value of a secret can also stand in a file that a variable names:
   {secrets}. Those of token and signing secret are
   read again for each connection: rotating them needs no restart.
3. The framework's settings, where an integration hands them over.
4. One TOML file: `--config`, else `Z4J_CONFIG`, else the table `[tool.z4j]` of `pyproject.toml` in
   the working directory.
5. OpenTelemetry's own variables: `deployment.environment.name` of `OTEL_RESOURCE_ATTRIBUTES` for
   `environment`; `OTEL_SERVICE_NAME`, else `service.name`, for `agent_name`.
6. The default.

Of `pyproject.toml` only the one in the working directory itself is read, not those above it; only
when it belongs to this user or to root, and nobody else may write it. Marked with * is what it
cannot say: whoever may write the file would decide whom the agent trusts. Name the file
(`Z4J_CONFIG=pyproject.toml`) and it can say everything. A service whose working directory is not a
project's finds nothing there.

A name that nobody knows is told in a warning with the nearest name, or refused in strict mode.

## All settings

{_table(("variable", "what it does", "default", "form"), rows)}

## Names of earlier agents

{_table(("name", "now"), [*aliases, *obsolete])}

## What OpenTelemetry's switches mean here

- `OTEL_SDK_DISABLED=true` ends spans and metrics, as everywhere, and with them what `Z4JExporter`
  and `Z4JSpanProcessor` take from spans. Tasks that z4j-otel captures itself are reported, and
  commands carried out, all the same: neither stands on the SDK. `Z4J_DISABLED=1` ends these.
- `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=celery` leaves Celery without spans, `z4j_celery` leaves it
  without z4j-otel.

## Log records

The package logs below the logger `z4j_otel` and touches no other. Without settings your own levels
and handlers hold: in a worker, `--loglevel`. `Z4J_LOG_LEVEL` sets the level of that logger alone;
what is logged goes to your handlers, whatever the root logger's level. `Z4J_LOG_FORMAT` writes its
records to standard error instead, each once. `z4j-otel run` does so by itself, at `INFO`.
"""


def _words(words: Mapping[str, str]) -> str:
    first = {now: word for word, now in reversed(words.items())}
    return ", ".join(f"`{word}` for `{now}`" for now, word in reversed(first.items()))


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
    if isinstance(command, click.Group):
        parts += [_command(f"{name} {each}", below) for each, below in command.commands.items()]
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


def _metrics() -> str:
    rows = [
        (
            f"`{metric.name}`",
            metric.kind.value,
            f"`{metric.unit}`",
            ", ".join(f"`{name}`" for name in metric.attributes),
            metric.help,
        )
        for metric in METRICS
    ]
    return f"""{_NOTE}
# Metrics

The agent publishes its ledger through OpenTelemetry's global meter provider, under the scope
`z4j_otel`. Set up the SDK as for your own metrics (`OTEL_METRICS_EXPORTER`, or `set_meter_provider`
before or after the agent's start); without a provider nothing happens. All instruments are
observable: they cost nothing until a reader collects, and nothing in a task's path.

They show the whole agent, a worker's pool children included, and only in the process that the agent
lives in. Those of `z4j.events` up to `unaccounted` outlive it: after a crash they go on where they
were, and what a successor takes over is added to its own. What they mean, and that

```text
captured = acked + told_twice + pending + dropped (kind event) + unaccounted (0)
```

holds at every moment, is told in [guarantees.md](../guarantees.md#the-ledger).

{_table(("name", "instrument", "unit", "attributes", "what it shows"), rows)}

`kind` is `event` or `command_result`; `reason` is one of those in
[guarantees.md](../guarantees.md#delivery).
"""


def _truth(scenarios: Iterable[Scenario]) -> str:
    rows = [
        (each.story, each.events, each.state, f"`{each.cause}`" if each.cause else "")
        for each in scenarios
    ]
    return _table(("a task that …", "events", "state", "cause"), rows)


def _drops() -> str:
    source = inspect.getsource(DropReason)
    texts = dict(re.findall(r'= "(\w+)"\n\s+"""(.+?)"""', source, re.DOTALL))
    rows = [(f"`{reason.value}`", " ".join(texts[reason.value].split())) for reason in DropReason]
    return _table(("reason", "meaning"), rows)


def _pauses() -> str:
    source = inspect.getsource(FailureClass)
    texts = dict(re.findall(r'= "(\w+)"\n\s+"""(.+?)"""', source, re.DOTALL))
    rows = [
        (
            " ".join(texts[kind.value].split()),
            f"{DELAYS[kind].first_s:.0f} s",
            f"{DELAYS[kind].cap_s:.0f} s",
            _ENTERED_BY[kind],
        )
        for kind in FailureClass
    ]
    return _table(("what is wrong", "first pause", "longest", "seen as"), rows)


def _filled(name: str, parts: dict[str, str]) -> str:
    text = (DOCS / name).read_text("utf-8")
    for part, table in parts.items():
        mark = f"<!-- generated: {part} -->"
        before, _, rest = text.partition(mark)
        _, _, after = rest.partition("<!-- end -->")
        text = f"{before}{mark}\n{table}\n<!-- end -->{after}"
    return text
