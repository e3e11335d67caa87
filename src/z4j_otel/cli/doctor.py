"""``z4j-otel doctor``: checks of an installation; for now the drill."""

from __future__ import annotations

import click

from z4j_otel.cli.failure import EXIT_USAGE, Failure

__all__ = ["command"]


@click.command("doctor")
@click.option("--drill", "is_drill", is_flag=True, help="Play faults against a real worker.")
@click.option("-A", "--app", metavar="APP", help="Your Celery app, as celery -A takes it.")
@click.option("--broker", metavar="URL", help="Another broker than the app's own.")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 24 * 60),
    default=1.0,
    show_default=True,
    help="How long faults go on, for each seed.",
)
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0),
    multiple=True,
    help="Decides tasks and faults; may be repeated. By the clock when none is given.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Processes of the drill's worker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a seed.")
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask before it starts.")
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
) -> None:
    """Check that nothing is lost where you run: a drill of faults on your own broker.

    The drill starts a worker of your own Celery app, with your settings and your broker, which
    consumes one queue of the drill's and no other. It publishes tasks of its own to that queue
    and breaks, at random, the connections, a brain of its own, and the worker's processes. At
    the end it counts: what the tasks noted themselves, what the brain was told, and the
    agents' ledgers must agree. Then it deletes the queue. Your tasks, workers, brain and token
    are not touched, and it says what it will do before it starts.

    \b
    Examples:
      z4j-otel doctor --drill -A shop.app
      z4j-otel doctor --drill -A shop.app --minutes 10 --seed 7 --seed 8
      z4j-otel doctor --drill -A shop.app --broker redis://staging:6379/3 --yes --json

    Exit codes: 0 nothing is lost and nothing was said twice, 1 something was, or the worker
    did not run, 2 usage: the app cannot be loaded, its broker is away.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    if not is_drill:
        raise Failure(
            "the doctor knows one check so far, the drill",
            then="z4j-otel doctor --drill -A shop.app",
            exit_code=EXIT_USAGE,
        )
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
