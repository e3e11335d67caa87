"""``z4j-otel doctor``: what is wrong and what to type next; and the drill."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure

__all__ = ["command"]

_OF_BOTH: Final = frozenset({"is_drill", "app", "as_json"})
_OF_DRILL: Final = frozenset({"broker", "minutes", "seeds", "concurrency", "is_agreed"})
_COLOURS: Final = {"[OK]": "green", "[WARN]": "yellow", "[FAIL]": "red", "[SKIP]": "bright_black"}


@click.command("doctor")
@click.option("-A", "--app", metavar="APP", help="Your Celery app, as celery -A takes it.")
@click.option("--no-websocket", is_flag=True, help="Do not say hello to the brain.")
@click.option("--fix-hints", is_flag=True, help="End with all that is to be typed, at length.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; for a drill, per seed."
)
@click.option("--brain-url", help="Where the brain is.")
@click.option("--token", help="The agent's token; better in Z4J_TOKEN or --token-file.")
@click.option("--token-file", type=click.Path(), help="File that holds the token.")
@click.option("--hmac-secret", help="The signing secret; better in Z4J_HMAC_SECRET.")
@click.option("--hmac-secret-file", type=click.Path(), help="File with the signing secret.")
@click.option("--project-id", help="The project's slug.")
@click.option("--agent-name", help="Name shown in the dashboard.")
@click.option("--transport", help="auto, ws or longpoll.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--drill", "is_drill", is_flag=True, help="Play faults against a real worker.")
@click.option("--broker", metavar="URL", help="Drill: another broker than the app's own.")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 24 * 60),
    default=1.0,
    show_default=True,
    help="Drill: how long faults go on, for each seed.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    help="Drill: decides tasks and faults; may be repeated. By the clock when none is given.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Drill: processes of its worker.",
)
@click.option("--yes", "is_agreed", is_flag=True, help="Drill: do not ask before it starts.")
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    is_drill: bool,
    app: str | None,
    broker: str | None,
    minutes: float,
    seeds: tuple[int, ...],
    concurrency: int,
    as_json: bool,
    is_agreed: bool,
    no_websocket: bool,
    fix_hints: bool,
    config: Path | None,
    **settings: str | None,
) -> None:
    """Say what is wrong with this installation, and what to type next.

    It looks at the settings, the buffer's directory, the way to the brain (DNS, TCP, proxy,
    TLS, WebSocket), says hello to the brain and sends one signed frame, looks at your Celery
    app, its broker and its results, at OpenTelemetry, and at what else runs here. Each
    problem comes with its cure. What depends on something broken is skipped; everything
    else is looked at all the same.

    No agent is started and nothing is left behind. The brain sees one short connection under
    the name doctor-HOST. Run it as the user and with the environment of your service, and
    name your app: hello lists what it can do, and is not said where nobody knows.

    With --drill it checks that nothing is lost where you run: it starts a worker of your own
    Celery app, with your settings and your broker, which consumes one queue of the drill's
    and no other. It publishes tasks of its own to that queue and breaks, at random, the
    connections, a brain of its own, and the worker's processes. At the end it counts: what
    the tasks noted themselves, what the brain was told, and the agents' ledgers must agree.
    Then it deletes the queue. Your tasks, workers, brain and token are not touched, and it
    says what it will do before it starts.

    \b
    Examples:
      z4j-otel doctor -A shop.app
      z4j-otel doctor -A shop.app --fix-hints
      sudo -u www-data z4j-otel doctor --json | jq '.probes[] | select(.ok | not)'
      z4j-otel doctor --drill -A shop.app --minutes 10 --seed 7 --seed 8
      z4j-otel doctor --drill -A shop.app --broker redis://staging:6379/3 --yes --json

    Exit codes: 0 nothing is broken, 1 something is. For a drill: 0 nothing is lost and
    nothing was said twice, 1 something was, or the worker did not run, 2 usage: the app
    cannot be loaded, its broker is away.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    _check_mode(context, is_drill=is_drill)
    if not is_drill:
        given = {name: value for name, value in settings.items() if value}
        request = {"settings": given, "config_file": config, "app_name": app}
        is_ok = _examine({**request, "talks": not no_websocket}, as_json, fix_hints=fix_hints)
        context.exit(0 if is_ok else EXIT_FAILED)
    if not app:
        raise Failure(
            "no Celery app is named",
            then="z4j-otel doctor --drill -A shop.app",
            exit_code=EXIT_USAGE,
        )
    # Imported here: the list of commands needs none of it.
    from z4j_otel.cli.drill.drill import Drill  # noqa: PLC0415 -- see above

    make_drill = context.obj or Drill
    drill = make_drill(
        app,
        broker=broker,
        minutes=minutes,
        seeds=seeds,
        concurrency=concurrency,
        as_json=as_json,
        is_agreed=is_agreed,
    )
    context.exit(drill.run())


def _check_mode(context: click.Context, *, is_drill: bool) -> None:
    """Refuse options of the other mode: they would do nothing.

    Raises:
        Failure: One was given.
    """
    for option in context.command.params:
        name = option.name or ""
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not is_given or name in _OF_BOTH or (name in _OF_DRILL) is is_drill:
            continue
        what = "is no option of the drill" if is_drill else "is an option of the drill"
        raise Failure(
            f"{option.opts[0]} {what}",
            then=f"z4j-otel doctor {'' if is_drill else '--drill '}-A shop.app",
            exit_code=EXIT_USAGE,
        )


def _examine(request: dict[str, Any], as_json: bool, *, fix_hints: bool) -> bool:
    """Run all checks and print them as they come; return whether nothing is broken."""
    from z4j_otel.doctor import Examination, Request  # noqa: PLC0415 -- as the drill's

    examination = Examination(Request(**request))
    report = examination.report
    if as_json:
        for _ in examination.run():
            pass
        click.echo(json.dumps(report.as_json()))
        return report.ok
    _print(report.heading())
    for finding in examination.run():
        _print(report.about(finding))
    _print(report.ending(fix_hints=fix_hints))
    return report.ok


def _print(lines: Any) -> None:
    # click does not know NO_COLOR; rich, which the other commands print with, does.
    colours = {} if os.environ.get("NO_COLOR") else _COLOURS
    for line in lines:
        mark, space, rest = line.partition(" ")
        colour = colours.get(mark)
        click.echo(line if colour is None else click.style(mark, fg=colour) + space + rest)
