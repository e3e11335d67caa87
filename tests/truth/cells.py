"""The cells of the table: a pool on a broker with a result backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from z4j_otel.cli.demo.brains import BrainView
from z4j_otel.cli.workload.scenarios import Scenario

from .brokers import BROKERS, RESULTS, Broker, Results, redis
from .pools import POOLS, Pool
from .scenarios import ALL
from .stage import MemoryStage, TruthStage

__all__ = ["EVERY", "REAL", "USUAL", "WARM_STOP", "Cell"]

WARM_STOP = "warm stop"
"""Stands among the scenarios that cannot happen where a worker cannot be stopped warmly."""

_AS: Mapping[str, str] = {
    "soft_limit_caught": "soft_limit",
    "custom_request_limited": "hard_limit",
    "custom_request_killed": "sigkill",
    "system_exit": "exit",
    "stamped": "revoked",
    "chain_of_groups.first": "chain_of_groups",
    "chord_fails.body": "chord_fails",
}
"""A scenario that cannot happen where another one cannot, for the same reason."""


_IN_POOL: Mapping[str, Mapping[str, str]] = {
    "solo": {
        "custom_task_fails": "an error in a task's own on_failure ends a worker that is solo",
    },
}
"""What cannot happen in a pool, besides what :mod:`.pools` says of the demo's scenarios."""


_SQLITE = "a child that replaces a dead one can hang in SQLite, in use when it was forked"
_ONE_SESSION = (
    "kombu's threads share one session of SQLAlchemy, and putting a message back ends the worker"
)
_NO_STOP = {WARM_STOP: "Celery's worker does not always end by SIGTERM here, nor without z4j"}
_TOGETHER: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("gevent", "RabbitMQ quorum"): _NO_STOP,
    ("eventlet", "RabbitMQ quorum"): _NO_STOP,
    ("prefork", "SQLAlchemy"): {
        "requeued": _ONE_SESSION,
        **dict.fromkeys(("hard_limit", "sigkill", "exit", "redelivered"), _SQLITE),
    },
    ("spawn", "SQLAlchemy"): dict.fromkeys(("requeued", "redelivered"), _ONE_SESSION),
    ("threads", "SQLAlchemy"): {"requeued": _ONE_SESSION},
}
"""What cannot happen in a pool on a broker, though in both it can."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One worker of a kind, on one broker, with one result backend."""

    pool: Pool
    broker: Broker
    results: Results

    @classmethod
    def of(cls, pool: str, broker: str, results: str = "database") -> Cell:
        """Return the cell of these names."""
        return cls(POOLS[pool], BROKERS[broker], RESULTS[results])

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.pool.name}, {self.broker.name}, results in {self.results.name}"

    @property
    def impossible(self) -> dict[str, str]:
        """The scenarios that cannot happen here, each with the reason."""
        reasons: dict[str, str] = {}
        of_pool = {**self.pool.impossible, **_IN_POOL.get(self.pool.name, {})}
        together = _TOGETHER.get((self.pool.name, self.broker.name), {})
        for source in (of_pool, together, self.broker.impossible, self.results.impossible):
            reasons |= {name: why for name, why in source.items() if name not in reasons}
        followers = {name: reasons[base] for name, base in _AS.items() if base in reasons}
        return followers | reasons

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What can happen here, in the table's order."""
        impossible = self.impossible
        return tuple(each for each in ALL if each.name not in impossible)

    @property
    def cannot_be(self) -> str | None:
        """Why there is no such cell, or None where there is one."""
        is_one_process = self.pool.name in {"solo", "threads"}
        if self.broker.name == "memory" and not is_one_process:
            return "the memory broker lives in one process, and this pool has several"
        return None

    @contextlib.contextmanager
    def open(self, folder: Path, brain: BrainView) -> Iterator[TruthStage]:
        """Yield the stage of a worker that is not started.

        Raises:
            BrokerMissing: The broker or the result backend is not here.
        """
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(self.broker.open())
            variables = {**self.pool.variables, **self.broker.variables}
            if self.results.url:
                database = stack.enter_context(redis()) if "{redis}" in self.results.url else ""
                variables["Z4J_OTEL_DEMO_RESULTS"] = self.results.url.format(redis=database)
            kind = MemoryStage if self.broker.name == "memory" else TruthStage
            yield kind(
                folder,
                brain.environment(),
                broker=url,
                worker_options=self.pool.options,
                variables=variables,
            )


USUAL: tuple[Cell, ...] = (
    *(Cell.of("prefork", broker) for broker in BROKERS),
    *(Cell.of(pool, "Redis", "redis") for pool in POOLS),
    *(Cell.of(pool, "embedded broker") for pool in POOLS if pool != "prefork"),
    Cell.of("threads", "memory"),
    Cell.of("solo", "memory"),
    Cell.of("prefork", "RabbitMQ", "rpc"),
    Cell.of("prefork", "Redis", "none"),
)
"""Every pool, every broker and every result backend, in a quarter of an hour."""
REAL: tuple[Cell, ...] = (
    Cell.of("prefork", "Redis", "redis"),
    Cell.of("prefork", "RabbitMQ"),
    Cell.of("prefork", "RabbitMQ quorum"),
)
"""What is played into the real brain."""
EVERY: tuple[Cell, ...] = tuple(
    Cell.of(pool, broker, results) for broker in BROKERS for pool in POOLS for results in RESULTS
)
"""All there are."""
