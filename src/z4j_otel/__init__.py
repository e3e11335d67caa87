"""z4j-otel: the OpenTelemetry-integrated agent for the z4j control plane.

The names below are all there is to import for most users; each is loaded when it is first
used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from z4j_otel.agent.agent import AgentRuntime
    from z4j_otel.agent.embedded import Agent, get_runtime, install_agent
    from z4j_otel.errors import ConfigError
    from z4j_otel.exporter import Z4JExporter, Z4JSpanProcessor
    from z4j_otel.instrumentors.celery import (
        CeleryAdapter,
        CeleryEngineAdapter,
        Z4JCeleryInstrumentor,
    )
    from z4j_otel.task_policies import z4j_meta, z4j_task

__all__ = [
    "Agent",
    "AgentRuntime",
    "CeleryAdapter",
    "CeleryEngineAdapter",
    "ConfigError",
    "Z4JCeleryInstrumentor",
    "Z4JExporter",
    "Z4JSpanProcessor",
    "get_runtime",
    "install_agent",
    "z4j_meta",
    "z4j_task",
]

__version__ = "0.1.0.dev0"

_HOMES = {
    "Agent": "agent.embedded",
    "AgentRuntime": "agent.agent",
    "CeleryAdapter": "instrumentors.celery",
    "CeleryEngineAdapter": "instrumentors.celery",
    "ConfigError": "errors",
    "Z4JCeleryInstrumentor": "instrumentors.celery",
    "Z4JExporter": "exporter",
    "Z4JSpanProcessor": "exporter",
    "get_runtime": "agent.embedded",
    "install_agent": "agent.embedded",
    "z4j_meta": "task_policies",
    "z4j_task": "task_policies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
