"""Which engines an agent serves, and how it introduces itself for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.placement import green_library
from z4j_otel.clock import SystemClock
from z4j_otel.config import AgentConfig
from z4j_otel.guard import guard
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.registry import find_engines
from z4j_otel.instrumentors.rules import LocalRules

__all__ = ["adapters_in_use", "attach_all", "introduce"]

_logger = logging.getLogger(__name__)


def adapters_in_use(
    config: AgentConfig, given: Sequence[EngineAdapter], worker: Mapping[str, Any]
) -> list[EngineAdapter]:
    """Return the adapters to serve commands with, each knowing its worker.

    Args:
        config: Names the engines, or none.
        given: What the application built; one of each engine in use when empty.
        worker: The engine's own worker object by engine name, in a worker.
    """
    adapters = list(given) or _made_for(config)
    attach_all(adapters)
    rules = _rules_of(config)
    for adapter in adapters:
        obey = getattr(adapter, "obey", None)
        if obey is not None:
            obey(rules)
        bind = getattr(adapter, "bind_worker", None)
        # An instance with a name of its own says which engine it belongs to.
        engine = getattr(adapter, "engine", adapter.name)
        if bind is not None and engine in worker:
            bind(worker[engine])
        if config.dev_mode:
            _watch(adapter)
    return adapters


def attach_all(adapters: Iterable[EngineAdapter]) -> None:
    """Let adapters that can make themselves known to their engine's hooks; repeatable."""
    for adapter in adapters:
        attach = getattr(adapter, "attach", None)
        if attach is not None:
            attach()


def introduce(
    config: AgentConfig, adapters: Iterable[EngineAdapter] = (), *, is_worker: bool
) -> HelloBuilder:
    """Return how the agent of this process introduces itself, before its engines.

    Args:
        config: May say which role it has.
        adapters: May know it.
        is_worker: Whether a worker runs here.
    """
    roles = (getattr(adapter, "role", "") for adapter in adapters)
    known = "task" if is_worker else next(filter(None, roles), "other")
    return HelloBuilder(
        agent_name=config.agent_name,
        worker_role=config.worker_role or known,
        started_at_ns=SystemClock().now_ns(),
    )


@guard("task file watcher")
def _watch(adapter: EngineAdapter) -> None:
    watch = getattr(adapter, "watch_sources", None)
    # Under a library of greenlets, waiting for the system would stop the worker.
    way = watch(uses_events=green_library() is None) if watch is not None else ""
    if way:
        _logger.info(
            "[z4j] development: changes of task files are told (%s)",
            way,
            extra={"action": "watching_task_files"},
        )


def _rules_of(config: AgentConfig) -> LocalRules:
    return LocalRules(
        purge_secret=config.signing_key() if config.hmac_secret else b"",
        purge_threshold=config.purge_threshold,
        accepts_legacy_purge_token=config.accept_legacy_purge_token,
        restart_by_exit=config.restart_by_exit,
    )


def _made_for(config: AgentConfig) -> list[EngineAdapter]:
    return [
        engine.adapter()
        for name, engine in find_engines().items()
        if engine.is_installed and (not config.engines or name in config.engines)
    ]
