"""Settings: one table of them, and the resolver that finds their values.

``opentelemetry-instrument`` imports this at the start of every interpreter, only to ask
``is_configured``; the rest is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from z4j_otel.config.presence import half_configured, is_configured, is_strict_mode

if TYPE_CHECKING:
    from z4j_otel.config.parsing import Kind, Setting
    from z4j_otel.config.problems import Problem
    from z4j_otel.config.resolver import Examined, check_settings, examine, load_config
    from z4j_otel.config.secret import Secret
    from z4j_otel.config.settings import SETTINGS, AgentConfig

__all__ = [
    "SETTINGS",
    "AgentConfig",
    "Examined",
    "Kind",
    "Problem",
    "Secret",
    "Setting",
    "check_settings",
    "examine",
    "half_configured",
    "is_configured",
    "is_strict_mode",
    "load_config",
]

_HOMES = {
    "SETTINGS": "settings",
    "AgentConfig": "settings",
    "Examined": "resolver",
    "Kind": "parsing",
    "Problem": "problems",
    "Secret": "secret",
    "Setting": "parsing",
    "check_settings": "resolver",
    "examine": "resolver",
    "load_config": "resolver",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
