"""Celery's pools: how a worker is started with each, and what cannot happen there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from z4j_otel.cli.workload.scenarios import SCENARIOS, Scenario

__all__ = ["POOLS", "Pool"]

_ONE_PROCESS = "the task runs in the worker's own process, and its end is the worker's"
_NO_LIMITS = "Celery has no time limits in this pool"
_NO_SOFT_LIMIT = "Celery has no soft time limit in this pool"
_NO_TERMINATE = "Celery cannot stop a running task in this pool"

_DEATHS = dict.fromkeys(("sigkill", "exit", "redelivered"), _ONE_PROCESS)
_LIMITS = dict.fromkeys(("soft_limit", "hard_limit"), _NO_LIMITS)
_ONE_PROCESS_ONLY: Mapping[str, str] = MappingProxyType(
    {**_DEATHS, **_LIMITS, "cancelled": _NO_TERMINATE}
)
_GEVENT = MappingProxyType({**_DEATHS, "soft_limit": _NO_SOFT_LIMIT})
_EVENTLET = MappingProxyType({**_DEATHS, **_LIMITS})


@dataclass(frozen=True, slots=True)
class Pool:
    """One way to run a worker's tasks."""

    name: str
    options: tuple[str, ...]
    """For ``celery worker``."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """The scenarios that cannot happen in it, each with the reason."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """More variables of the worker. They need an app of its own, see ``app``."""
    app: str = "z4j_otel.cli.workload.app"
    """Module of the worker's application; others than the workload's lie in
    ``tests/e2e/apps``, which has to be on ``PYTHONPATH``."""
    package: str = ""
    """What it needs besides Celery, a module's name."""

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """What can happen in it, in the table's order."""
        return tuple(each for each in SCENARIOS if each.name not in self.impossible)

    @property
    def missing(self) -> str | None:
        """Why it cannot run here, or None when it can."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        return None


POOLS: Mapping[str, Pool] = MappingProxyType(
    {
        pool.name: pool
        for pool in (
            Pool("prefork", ("--pool=prefork", "--concurrency=2")),
            Pool(
                "spawn",
                ("--pool=prefork", "--concurrency=2"),
                variables=MappingProxyType({"Z4J_OTEL_TEST_START": "spawn"}),
                app="process_app",
            ),
            Pool("threads", ("--pool=threads", "--concurrency=2"), _ONE_PROCESS_ONLY),
            Pool("solo", ("--pool=solo",), _ONE_PROCESS_ONLY),
            Pool("gevent", ("--pool=gevent", "--concurrency=8"), _GEVENT, package="gevent"),
            Pool("eventlet", ("--pool=eventlet", "--concurrency=8"), _EVENTLET, package="eventlet"),
        )
    }
)
"""Every pool of Celery by its name; ``spawn`` is prefork with children that inherit nothing."""
