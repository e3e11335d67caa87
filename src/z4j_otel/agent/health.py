"""The engines' own state for the brain, asked for where a hung broker delays nothing.

Every question runs on a thread of its own engine. A heartbeat takes the last answer; an
answer that has become too old is left out rather than shown as if it were true.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from z4j_otel.clock import Clock
from z4j_otel.instrumentors.adapter import EngineAdapter, TaskRegistry
from z4j_otel.redaction import Redactor
from z4j_otel.translation import wire_worker_name

__all__ = ["HealthProbe"]

_logger = logging.getLogger(__name__)

_MAX_DETAILS_BYTES: Final = 200_000
_MAX_QUEUES: Final = 1024
_STALE_S: Final = 120.0


class HealthProbe:
    """Asks each engine for queue depths and worker details, at most once at a time.

    Args:
        engines: Whom to ask.
        redactor: Every answer passes it: workers list the arguments of running tasks.
        clock: Tells how old an answer is.
        spawn: Runs a function elsewhere; a daemon thread by default.
        limit_s: An engine that has not answered for so long is told once as slow.
        on_tasks: Given the tasks of an engine that tells them, on the thread that asked.
    """

    def __init__(
        self,
        engines: Sequence[EngineAdapter],
        redactor: Redactor,
        *,
        clock: Clock,
        spawn: Callable[[Callable[[], None]], None] | None = None,
        limit_s: float = 5.0,
        on_tasks: Callable[[str, dict[str, dict[str, Any]]], None] | None = None,
    ) -> None:
        self._engines = engines
        self._redactor = redactor
        self._clock = clock
        self._spawn = spawn or _on_a_thread
        self._limit_s = limit_s
        self._on_tasks = on_tasks
        self._running: dict[str, float] = {}
        self._slow: set[str] = set()
        self._answers: dict[str, tuple[float, dict[str, str]]] = {}

    def refresh(self) -> None:
        """Ask every engine that is not still busy with the last question; returns at once."""
        now_s = self._clock.monotonic_s()
        for engine in self._engines:
            asked_s = self._running.get(engine.name)
            if asked_s is None:
                self._begin(engine, now_s)
            elif now_s - asked_s > self._limit_s and engine.name not in self._slow:
                self._slow.add(engine.name)
                _logger.warning(
                    "engine %s has not told its state for %.0f s; heartbeats go on without it",
                    engine.name,
                    now_s - asked_s,
                    extra={"action": "health_slow"},
                )

    def _begin(self, engine: EngineAdapter, now_s: float) -> None:
        self._running[engine.name] = now_s
        try:
            self._spawn(partial(self._ask, engine))
        except RuntimeError as error:  # no thread to be had now: asked again at the next look
            self._running.pop(engine.name, None)
            _logger.debug("engine %s is not asked: %s", engine.name, error)

    def latest(self) -> dict[str, str]:
        """Return the last answers that are still true, as members of ``adapter_health``."""
        now_s = self._clock.monotonic_s()
        health: dict[str, str] = {}
        for answered_s, answer in list(self._answers.values()):
            if now_s - answered_s <= _STALE_S:
                health.update(answer)
        return health

    def _ask(self, engine: EngineAdapter) -> None:
        try:
            with suppress_instrumentation():
                answer = {
                    f"{engine.name}.queue_depths": self._depths(engine),
                    f"{engine.name}.worker_details": self._details(engine),
                }
                self._ask_tasks(engine)
            self._answers[engine.name] = (self._clock.monotonic_s(), answer)
            self._slow.discard(engine.name)
        except Exception as error:  # noqa: BLE001 -- rim: an engine's trouble must not end heartbeats
            _logger.debug("engine %s cannot tell its state: %s", engine.name, type(error).__name__)
        finally:
            self._running.pop(engine.name, None)

    def _ask_tasks(self, engine: EngineAdapter) -> None:
        if self._on_tasks is not None and isinstance(engine, TaskRegistry):
            tasks = engine.task_registry()
            if tasks is not None:
                self._on_tasks(engine.name, tasks)

    def _depths(self, engine: EngineAdapter) -> str:
        depths: dict[str, int] = {}
        for queue, depth in islice(engine.queue_depths().items(), _MAX_QUEUES):
            # The same form as in events. Names that differ in their secrets only are one.
            name = self._redactor.redact_name(str(queue))
            depths[name] = depths.get(name, 0) + int(depth)
        return json.dumps(depths)

    def _details(self, engine: EngineAdapter) -> str:
        details = {
            # The same form as in events, or the brain would have two rows of one worker.
            self._redactor.redact_name(wire_worker_name(str(name))): self._redactor.redact(
                facts, budget_bytes=_MAX_DETAILS_BYTES
            )
            for name, facts in engine.worker_details().items()
        }
        return json.dumps(details)


def _on_a_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, name="z4j-health", daemon=True).start()
