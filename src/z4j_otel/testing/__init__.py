"""Doubles for tests of z4j-otel, and of applications that use it.

The ``stub_brain`` fixture is there as soon as z4j-otel is installed; importing it by name
works too. Everything is imported on first use: pytest loads this package in every run of
every project that has z4j-otel installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = [
    "FaultyProxy",
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
    "FaultyProxy": "z4j_otel.devbrain.proxy",
    "FaultyTransport": f"{__name__}.transports",
    "InMemoryBuffer": f"{__name__}.doubles",
    "ManualClock": f"{__name__}.clocks",
    "MemoryTransport": f"{__name__}.transports",
    "RecordingSink": f"{__name__}.doubles",
    "ScriptedBrain": f"{__name__}.scripted",
    "StubBrain": f"{__name__}.stub",
    "stub_brain": f"{__name__}.plugin",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
