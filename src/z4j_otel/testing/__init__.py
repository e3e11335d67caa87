"""Doubles for tests of z4j-otel, and of applications that use it.

The ``stub_brain`` fixture is there as soon as z4j-otel is installed; importing it by name
works too. Everything is imported on first use: pytest loads this package in every run of
every project that has z4j-otel installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "FaultyTransport",
    "InMemoryBuffer",
    "ManualClock",
    "MemoryTransport",
    "RecordingSink",
    "ScriptedBrain",
    "StubBrain",
    "stub_brain",
]

_HOMES = {
    "FaultyTransport": "transports",
    "InMemoryBuffer": "doubles",
    "ManualClock": "clocks",
    "MemoryTransport": "transports",
    "RecordingSink": "doubles",
    "ScriptedBrain": "scripted",
    "StubBrain": "stub",
    "stub_brain": "plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
