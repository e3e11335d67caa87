"""``z4j-otel run``: the agent as a process of its own, beside the workers."""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import click

from z4j_otel.agent.host import process_host
from z4j_otel.agent.logs import set_up_logs
from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from z4j_otel.cli.setting_options import setting_options
from z4j_otel.cli.stopping import stop_signals
from z4j_otel.config import load_config
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.registry import load_engine

__all__ = ["AgentHost", "command", "load_app"]


class AgentHost(Protocol):
    """What this command needs of the process's host."""

    def configure(self, settings: Mapping[str, Any]) -> object | None:
        """Take this process's place with explicit settings."""
        ...

    def start_agent(self, *, engines: Sequence[EngineAdapter]) -> object | None:
        """Start the agent; None where this process may have none."""
        ...

    def stop(self) -> None:
        """Deliver what is left, within the deadline."""
        ...


def load_app(where: str) -> Any:
    """Import an application object named as ``package.module:attribute``.

    The current directory is searched first, as ``celery -A`` does. Without an attribute,
    ``app`` and ``celery`` are tried, then the last dot is taken for the colon.

    Raises:
        Failure: There is no such module or attribute, or importing it failed.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    names = [where] if ":" in where else [f"{where}:app", f"{where}:celery"]
    if ":" not in where and "." in where:
        names.append(":".join(where.rsplit(".", 1)))
    problem = ""
    for name in names:
        try:
            found = pkgutil.resolve_name(name)
            if not isinstance(found, ModuleType):
                return found
        except Exception as error:  # noqa: BLE001 -- the user's module may raise anything
            problem = f"{type(error).__name__}: {error}"
    raise Failure(
        f"the app {where!r} cannot be imported ({problem})",
        then=f"python -c 'import {where.partition(':')[0]}'",
        exit_code=EXIT_USAGE,
    )


def _build_adapters(engines: Sequence[str], celery_app: str | None) -> list[EngineAdapter]:
    handles = {"celery": celery_app}
    if "celery" in engines and celery_app is None:
        raise Failure(
            "no Celery app is named",
            then="z4j-otel run --engine celery --celery-app proj.celery:app",
            exit_code=EXIT_USAGE,
        )
    return [
        load_engine(name).adapter(*([load_app(where)] if (where := handles.get(name)) else []))
        for name in engines
    ]


@click.command("run")
@click.option("--engine", "engines", multiple=True, help="Engine to act on; may be repeated.")
@click.option("--celery-app", "--app", "celery_app", help="Celery app, proj.celery:app.")
@click.option("--config", type=click.Path(), help="TOML file with settings.")
@setting_options(without=("engines", "autostart", "disabled"))
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    engines: tuple[str, ...],
    celery_app: str | None,
    config: str | None,
    **settings: str | bool | None,
) -> None:
    """Run the agent as a process of its own.

    It carries out the brain's commands on the engines named, and delivers what processes
    that are gone have left in the home directory. All settings can come from the
    environment (Z4J_*) or a file; an option beats both. SIGTERM, SIGHUP and Ctrl-C deliver
    what waits, then end it.

    \b
    Examples:
      z4j-otel run --engine celery --celery-app proj.celery:app
      z4j-otel run --config z4j.toml --engine celery --app proj.celery:app
      Z4J_TOKEN_FILE=/run/secrets/z4j z4j-otel run --app proj.celery:app
      z4j-otel run --app proj.celery:app --environment staging --commands=-purge_queue

    Exit codes: 0 ended by a signal, 1 the agent did not start, 2 usage or configuration.
    """  # noqa: D301 -- \b is click's mark for lines to keep
    if config:
        # The host resolves the settings again, by itself.
        os.environ["Z4J_CONFIG"] = config
    given = {name: value for name, value in settings.items() if value not in (None, "")}
    resolved = load_config(given)
    if resolved.disabled:
        raise Failure(
            "z4j-otel is switched off by Z4J_DISABLED",
            then="unset Z4J_DISABLED",
            exit_code=EXIT_USAGE,
        )
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    set_up_logs(resolved, level="INFO", form="text")
    names = engines or resolved.engines or ("celery",)
    adapters = _build_adapters(names, celery_app)
    _serve(context.obj or process_host(), given, adapters)


def _serve(host: AgentHost, settings: Mapping[str, Any], adapters: list[EngineAdapter]) -> None:
    with stop_signals() as asked:
        seat = host.configure({**settings, "autostart": True})
        if seat is None or host.start_agent(engines=adapters) is None:
            raise Failure(
                "another z4j agent is active in this process",
                then="pip uninstall z4j-celery z4j-bare",
                exit_code=EXIT_FAILED,
            )
        try:
            names = ", ".join(adapter.name for adapter in adapters)
            click.echo(f"agent has started for {names}; end it with Ctrl-C or SIGTERM")
            asked.wait()
        finally:
            host.stop()
    click.echo("agent has ended")
