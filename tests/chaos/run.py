"""One run of chaos: a drill with the workload's application on a Redis of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from z4j_otel.cli.drill.brokers import facts_of
from z4j_otel.cli.drill.judge import Outcome
from z4j_otel.cli.drill.storm import Plan, play

from ..truth.loss_scene import APP, variables_of  # noqa: TID252 -- the application of `make truth`
from .record import RedisRecord

__all__ = ["run"]


def run(
    seed: int,
    seconds: float,
    folder: Path,
    broker: str,
    say: Callable[[str], None],
    *,
    has_one_worker: bool = False,
) -> Outcome:
    """Play one seed.

    Args:
        seed: Decides tasks, faults and their times, and when messages are acknowledged.
        seconds: How long faults go on.
        folder: An empty folder; it gets the logs and Redis' own record.
        broker: URL of an empty Redis database.
        say: Told what happens, a line at a time.
        has_one_worker: Whether the worker's main process is left alone, so that its memory
            can be watched.

    Raises:
        StageError: The worker did not start or did not finish.
    """
    queue = f"loss-{secrets.token_hex(4)}"
    record = RedisRecord(broker, folder / "redis.log")
    plan = Plan(
        app=APP,
        queue=queue,
        seed=seed,
        seconds=seconds,
        facts=facts_of("redis", has_loop=True),
        cwd=folder,
        variables={
            **variables_of(broker, queue),
            "Z4J_OTEL_DEMO_DIR": str(folder),
            "Z4J_OTEL_DEMO_BROKER": broker,
        },
        sometimes={"LOSS_ACKS_LATE": "1"},
        has_one_worker=has_one_worker,
        witness=record.fates,
    )
    with record:
        return play(plan, folder, say)
