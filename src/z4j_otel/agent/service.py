"""What an owner does for the agent process it started, because nobody else can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from opentelemetry.instrumentation.utils import suppress_instrumentation

from z4j_otel.agent.execution import CommandRunner
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.commands import Command
from z4j_otel.errors import CommandError
from z4j_otel.events import LostSpan
from z4j_otel.exporter.lost_spans import export_lost_span
from z4j_otel.instrumentors.adapter import EngineAdapter, TaskRegistry
from z4j_otel.redaction import Redactor

__all__ = ["OwnerService"]


class OwnerService:
    """Answers the agent process; its methods are called from threads of the line.

    Args:
        engines: The adapters by name; read at every question.
        redactor: Every command's result passes it.
        policy: Raises ``CommandRefused`` for commands that must not run here.
        release: Closes this process's end of the journal, for good.
        schedulers: Those that may be shown and changed; all of them when empty.
    """

    def __init__(
        self,
        engines: Mapping[str, EngineAdapter],
        *,
        redactor: Redactor,
        policy: Callable[[Command], None],
        release: Callable[[], None],
        schedulers: Collection[str] = (),
    ) -> None:
        self._engines = engines
        self._schedules = NativeSchedules(engines, redactor, schedulers)
        self._run = CommandRunner(
            engines, redactor=redactor, policy=policy, schedulers=schedulers
        ).run
        self._release = release

    def handlers(self) -> dict[str, Callable[[Any], Any]]:
        """Return what can be asked and told, by name."""
        return {
            "run": self.run,
            "queue_depths": self.queue_depths,
            "worker_details": self.worker_details,
            "task_registry": self.task_registry,
            "schedules_version": self.schedules_version,
            "schedules": self.schedules,
            "release": self.release,
            "lost_span": self.lost_span,
            "log": self.log,
        }

    def run(self, value: dict[str, Any]) -> Any:
        """Carry a command out, where the application's own connections and patches are."""
        return msgspec.to_builtins(self._run(msgspec.convert(value, Command)))

    def queue_depths(self, engine: str) -> dict[str, int]:
        """Measure an engine's queues."""
        with suppress_instrumentation():
            return self._engines[engine].queue_depths()

    def worker_details(self, engine: str) -> dict[str, dict[str, Any]]:
        """Describe the worker of this process."""
        with suppress_instrumentation():
            return self._engines[engine].worker_details()

    def task_registry(self, engine: str) -> dict[str, dict[str, Any]] | None:
        """Tell which tasks the worker of this process can run; None where nobody knows."""
        adapter = self._engines[engine]
        return adapter.task_registry() if isinstance(adapter, TaskRegistry) else None

    def schedules_version(self, scheduler: str) -> dict[str, Any]:
        """Tell a scheduler's version, or why not."""
        return _told(lambda: self._schedules.version(scheduler))

    def schedules(self, scheduler: str) -> dict[str, Any]:
        """Return a scheduler's schedules, redacted, or why not."""
        return _told(lambda: self._schedules.rows(scheduler))

    def release(self, _value: None) -> None:
        """Let go of the journal: the agent process is about to remove it."""
        self._release()

    def lost_span(self, value: dict[str, Any]) -> None:
        """Give the span of a killed run to the application's exporters."""
        export_lost_span(msgspec.convert(value, LostSpan))

    def log(self, value: list[Any]) -> None:
        """Write what the agent process has to say to this process's own log."""
        level, name, text, action = value
        logging.getLogger(str(name)).log(int(level), "%s", text, extra={"action": action})


def _told(ask: Callable[[], Any]) -> dict[str, Any]:
    try:
        with suppress_instrumentation():
            return {"value": ask()}
    except CommandError as error:
        return {"error": error.message}
