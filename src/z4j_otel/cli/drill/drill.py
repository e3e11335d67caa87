"""A drill on a user's application: looked at, announced, agreed to, played, cleaned up."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from z4j_otel.cli.demo.stage import StageError
from z4j_otel.cli.drill.brokers import BrokerFacts, facts_of
from z4j_otel.cli.drill.hand import AppUnusable, BrokerAway, HandOn, hand_on
from z4j_otel.cli.drill.judge import Outcome
from z4j_otel.cli.drill.report import announce, repeating, show
from z4j_otel.cli.drill.storm import Plan, play
from z4j_otel.cli.failure import EXIT_FAILED, EXIT_USAGE, Failure
from z4j_otel.errors import EngineUnavailable

__all__ = ["Drill"]

_OPTIONS: Final = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""The drill's worker has nothing to say to its siblings."""
_MINUTE_S: Final = 60.0
_PROC: Final = Path("/proc/self/stat")


class Drill:
    """One call of ``z4j-otel doctor --drill``."""

    def __init__(
        self,
        app: str,
        *,
        broker: str | None = None,
        minutes: float = 1.0,
        seeds: Sequence[int] = (),
        concurrency: int = 4,
        as_json: bool = False,
        is_agreed: bool = False,
        play: Callable[[Plan, Path, Callable[[str], None]], Outcome] = play,
        hand: Callable[..., AbstractContextManager[HandOn]] = hand_on,
    ) -> None:
        """Prepare; nothing is imported or started yet.

        Args:
            app: The application, as ``celery -A`` takes it.
            broker: Another broker than its own.
            minutes: How long faults go on, for each seed.
            seeds: Which; one by the clock when empty.
            concurrency: Processes of the worker.
            as_json: Whether to print JSON, and all else to standard error.
            is_agreed: Whether not to ask before it starts.
            play: Plays one seed.
            hand: Runs a process that has the application.
        """
        self._app = app
        self._broker = broker
        self._minutes = minutes
        self._seeds = seeds or (int(time.time()),)
        self._concurrency = concurrency
        self._as_json = as_json
        self._is_agreed = is_agreed
        self._play = play
        self._hand = hand
        self._queue = f"z4j-drill-{secrets.token_hex(4)}"
        self._console = Console(stderr=as_json, highlight=False)
        self._address = ""
        self._kept: list[Path] = []
        """Folders with the logs of seeds that did not go well."""

    def run(self) -> int:
        """Play all seeds.

        Returns:
            The exit code: 0 when all is well, 1 otherwise.

        Raises:
            Failure: It cannot begin, or a worker did not run.
        """
        _check_machine()
        home = Path(tempfile.mkdtemp(prefix="z4j-drill-"))
        # A job that is cancelled must leave neither worker nor queue behind.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            facts = self._look(home)
            plans = [self._plan(seed, facts) for seed in self._seeds]
            announce(self._console, plans[0], self._address, str(home))
            self._agree()
            for plan in plans:
                self._play_one(plan, home / str(plan.seed))
        finally:
            signal.signal(signal.SIGTERM, before)
            if not self._kept:
                shutil.rmtree(home, ignore_errors=True)
        return EXIT_FAILED if self._kept else 0

    def _look(self, home: Path) -> BrokerFacts:
        """Ask the application what it is, in a process of its own."""
        try:
            with self._client(home, {}) as hand:
                described = hand.described
        except AppUnusable as error:
            raise Failure(
                f"the app {self._app!r} cannot be loaded ({error.what})",
                then=f"celery -A {self._app} report",
                exit_code=EXIT_USAGE,
            ) from error
        except BrokerAway as error:
            raise Failure(
                f"the broker does not answer ({error.what})",
                then=f"z4j-otel doctor --drill -A {self._app} --broker URL",
                exit_code=EXIT_USAGE,
            ) from error
        except StageError as error:
            raise Failure(
                f"the app {self._app!r} cannot be loaded\n{error.log}",
                then=f"celery -A {self._app} report",
                exit_code=EXIT_USAGE,
            ) from error
        self._check(described)
        self._address = described["broker"]
        return facts_of(described["transport"], has_loop=described["has_loop"])

    def _check(self, described: dict[str, Any]) -> None:
        if described["transport"] == "memory":
            problem = "its broker lives in one process, so no worker can be killed"
        elif not described["makes_queues"]:
            problem = "it makes no queue for the drill (task_create_missing_queues is off)"
        elif other := described["other_agent"]:
            problem = f"it loads another agent, {other}, and z4j-otel stays off beside it"
        else:
            return
        raise Failure(
            f"the app {self._app!r} cannot be drilled: {problem}",
            then="z4j-otel doctor --help",
            exit_code=EXIT_USAGE,
        )

    def _agree(self) -> None:
        if self._is_agreed:
            return
        if not sys.stdin.isatty():
            raise Failure(
                "there is no terminal to ask on before it starts",
                then=f"z4j-otel doctor --drill -A {self._app} --yes",
                exit_code=EXIT_USAGE,
            )
        click.confirm("Start?", abort=True, err=self._as_json)

    def _play_one(self, plan: Plan, folder: Path) -> None:
        """Play a seed and show what came out."""
        folder.mkdir()
        self._console.print(f"seed {plan.seed}, {self._minutes:g} min")
        again = repeating(
            self._app,
            seed=plan.seed,
            minutes=self._minutes,
            concurrency=self._concurrency,
            broker=self._address if self._broker else None,
        )
        try:
            outcome = self._play(plan, folder, self._console.print)
        except StageError as error:
            self._kept.append(folder)
            text = f"the drill did not come to its end: {error}\nlogs are kept in {folder}"
            raise Failure(text, then=again) from error
        finally:
            self._delete_queue(plan, folder)
        self._show(plan, outcome, again)
        if outcome.is_good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self._kept.append(folder)
            self._console.print(f"logs are kept in {folder}", markup=False, soft_wrap=True)

    def _show(self, plan: Plan, outcome: Outcome, again: str) -> None:
        show(self._console, outcome, plan.facts.left_out)
        self._console.print(f"again: {again}", markup=False, soft_wrap=True)
        if self._as_json:
            what = {"app": self._app, "broker": self._address, "again": again}
            left_out = dict(plan.facts.left_out)
            click.echo(json.dumps({**what, "left_out": left_out, **outcome.plain()}))

    def _delete_queue(self, plan: Plan, folder: Path) -> None:
        try:
            with self._client(folder, plan.variables) as hand:
                hand.delete()
        except StageError as error:
            text = f"the queue {self._queue} could not be deleted: {error.what}"
            self._console.print(text, style="red", markup=False)

    def _client(self, folder: Path, more: Mapping[str, str]) -> AbstractContextManager[HandOn]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("Z4J_", "OTEL_"))}
        return self._hand(
            self._app, self._queue, {**own, **self._variables(), **more},
            cwd=Path.cwd(), log_path=folder / "client.log", is_seen=False,
        )  # fmt: skip

    def _plan(self, seed: int, facts: BrokerFacts) -> Plan:
        alone = json.dumps(facts.options_alone(self._queue))
        return Plan(
            app=self._app,
            queue=self._queue,
            seed=seed,
            seconds=self._minutes * _MINUTE_S,
            facts=facts,
            cwd=Path.cwd(),
            options=_OPTIONS,
            concurrency=self._concurrency,
            variables={**self._variables(), "Z4J_OTEL_DRILL_ALONE": alone},
        )

    def _variables(self) -> dict[str, str]:
        """Return what the worker and the processes with the application get."""
        # Celery asks these before the application's settings; and no command line shows them.
        names = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
        return {
            "Z4J_OTEL_PINNED": "1",
            "Z4J_ENVIRONMENT": "drill",
            "OTEL_SERVICE_NAME": "z4j-drill",
            **(dict.fromkeys(names, self._broker) if self._broker else {}),
        }


def _check_machine() -> None:
    if find_spec("celery") is None:
        raise EngineUnavailable("celery")
    if not _PROC.exists():
        raise Failure(
            "the drill needs Linux: it looks at its processes in /proc",
            then="z4j-otel demo",
            exit_code=EXIT_USAGE,
        )
