"""The ends that take OpenTelemetry spans, and the gate to the journal.

``Z4JExporter`` and ``Z4JSpanProcessor`` are loaded when asked for: the gate alone does not
need the OpenTelemetry SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from z4j_otel.exporter.exporter import Z4JExporter
    from z4j_otel.exporter.processor import Z4JSpanProcessor

__all__ = ["Z4JExporter", "Z4JSpanProcessor"]

_HOMES = {"Z4JExporter": "exporter", "Z4JSpanProcessor": "processor"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
