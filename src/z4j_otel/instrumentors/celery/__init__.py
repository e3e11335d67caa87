"""Celery: what it tells (instrumentor) and what can be asked of it (adapter)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from z4j_otel.instrumentors.registry import Engine

if TYPE_CHECKING:
    from z4j_otel.instrumentors.celery.adapter import CeleryAdapter, CeleryEngineAdapter
    from z4j_otel.instrumentors.celery.instrumentor import Z4JCeleryInstrumentor

__all__ = ["ENGINE", "CeleryAdapter", "CeleryEngineAdapter", "Z4JCeleryInstrumentor"]

_HOMES = {
    "CeleryAdapter": "adapter",
    "CeleryCheckup": "checkup",
    "CeleryEngineAdapter": "adapter",
    "Z4JCeleryInstrumentor": "instrumentor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _instrumentor() -> Any:
    return __getattr__("Z4JCeleryInstrumentor")()


def _adapter(*args: Any, **kwargs: Any) -> Any:
    return __getattr__("CeleryEngineAdapter")(*args, **kwargs)


def _checkup() -> Any:
    return __getattr__("CeleryCheckup")()


ENGINE = Engine(
    name="celery",
    package="celery",
    instrumentor=_instrumentor,
    adapter=_adapter,
    checkup=_checkup,
)
