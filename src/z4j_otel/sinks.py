"""The process's host: one slot, filled by the agent, used by every way in.

OpenTelemetry builds exporters and instrumentors by class name and without arguments, so
they cannot be given their sink. They ask here. The agent layer fills the slot; where it
has not been imported yet, the slot imports it by name. Only one other place
points up the layers like this: where a task's policy asks the engines for the task.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from z4j_otel.events import RecordSink

__all__ = [
    "ProcessHost",
    "check_settings",
    "child_leaving",
    "current_host",
    "current_sink",
    "set_opener",
]

_DEFAULT_OPENER = "z4j_otel.agent.host:process_host"


class ProcessHost(Protocol):
    """What the ways in know of the agent of their process."""

    def sink(self, settings: Mapping[str, Any] | None = None) -> RecordSink | None:
        """Return the sink of this process, or None when z4j is not configured here.

        It answers anew on every call, because a forked child needs another sink than its
        parent; it is cheap after the first call.

        Args:
            settings: Settings by name that the caller was given as arguments. The first
                call in a process that brings some decides.
        """
        ...

    def is_enabled(self, engine: str = "") -> bool:
        """Whether instrumentors should hook their engines, or this one, in this process."""
        ...

    def defers_upstream(self) -> bool:
        """Whether other instrumentors are still to be activated in this process."""
        ...

    def worker_starting(self, engine: str) -> None:
        """A worker's main process is starting and has not forked its pool yet."""
        ...

    def worker_ready(self, engine: str, worker: Any) -> None:
        """The worker runs: the agent may start its thread now.

        Args:
            engine: Name of the engine.
            worker: The engine's own worker object, for the adapter.
        """
        ...

    def worker_stopping(self) -> None:
        """The worker's tasks have ended: deliver what is left, within the deadline."""
        ...

    def child_started(self) -> None:
        """This process is a pool child: it appends to the journal and does no more."""
        ...


_opener: Callable[[], ProcessHost] | None = None


def set_opener(opener: Callable[[], ProcessHost] | None) -> None:
    """Say who hosts this process; None restores the default, the agent."""
    global _opener  # noqa: PLW0603 -- the slot is the module's purpose
    _opener = opener


def current_host() -> ProcessHost:
    """Return the host of this process."""
    opener = _opener
    if opener is None:
        opener = pkgutil.resolve_name(_DEFAULT_OPENER)
        set_opener(opener)
    assert opener is not None
    return opener()


def child_leaving() -> None:
    """Let the host of a pool child write what it could not write yet.

    A host without ``child_leaving`` keeps nothing back.
    """
    leave = getattr(current_host(), "child_leaving", None)
    if leave is not None:
        leave()


def current_sink(settings: Mapping[str, Any] | None = None) -> RecordSink | None:
    """Return the sink of this process, or None when z4j is not configured here."""
    opener = _opener
    # Asked for every record: without one more call on the way.
    return (current_host() if opener is None else opener()).sink(settings)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Let the host judge settings given as arguments, before any of them is used.

    A host without ``check_settings`` accepts all; what is wrong then shows when the sink is
    opened.

    Raises:
        ConfigError: A setting is unknown or malformed.
    """
    check = getattr(current_host(), "check_settings", None)
    if check is not None:
        check(settings)
