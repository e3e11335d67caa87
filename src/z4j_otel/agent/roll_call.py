"""Tells the brain which workers are here: ``worker.online``, ``worker.heartbeat``.

The brain shows a worker's buttons to the one agent that has reported events of it, and only
this process's own workers are reported here (PROTOCOL §6.4). It forgets events after some
time, so they are told again: every hour that a worker is alive, every day that it is online.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.guard import guard
from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["RollCall"]

_DAY_S: Final = 86_400.0


class _Sink(Protocol):
    def emit(self, record: LifecycleRecord) -> None: ...


class RollCall:
    """Called at the agent's start and hourly; returns at once.

    Args:
        sink: Takes the events.
        adapters: Whose workers are told.
        clock: When they were last told as online.
        spawn: Runs a function elsewhere, as an engine beside may be slow to answer; a daemon
            thread by default.
    """

    def __init__(
        self,
        sink: _Sink,
        adapters: Iterable[EngineAdapter],
        *,
        clock: Clock | None = None,
        spawn: Callable[[Callable[[], object]], None] | None = None,
    ) -> None:
        self._sink = sink
        self._adapters = tuple(adapters)
        self._clock = clock or SystemClock()
        self._spawn = spawn or _on_a_thread
        self._online_at_s: dict[tuple[str, str], float] = {}

    def __call__(self) -> None:
        """Tell each worker of this process once."""
        self._spawn(guard("worker announcement")(self._tell_all))

    def _tell_all(self) -> None:
        for adapter in self._adapters:
            for worker in adapter.worker_details():
                self._tell(adapter.name, str(worker))

    def _tell(self, engine: str, worker: str) -> None:
        now_s = self._clock.monotonic_s()
        told_s = self._online_at_s.get((engine, worker))
        kind = EventKind.WORKER_HEARTBEAT
        if told_s is None or now_s - told_s >= _DAY_S:
            self._online_at_s[engine, worker] = now_s
            kind = EventKind.WORKER_ONLINE
        facts = TaskFacts(engine, "", "", None, worker)
        self._sink.emit(LifecycleRecord(kind, facts, self._clock.now_ns()))


def _on_a_thread(function: Callable[[], object]) -> None:
    threading.Thread(target=function, name="z4j-roll-call", daemon=True).start()
