"""Celery's hooks: what the main process, its pool children and publishers tell.

Three vantage points, each sees what the others cannot:

* a *publisher* sees the message leave (``before_task_publish``, ``after_task_publish``);
* the *executing process* (a pool child, or the worker itself with threads and solo) sees a
  run start and end (``task_prerun`` … ``task_postrun``);
* the worker's *main process* sees what arrives, and how runs end that nobody in the child
  survives to report: hard time limit, lost child, revoked, expired, unknown, rejected.

File order in the journal is causal order. Where Celery publishes before it signals (a
retry, ``self.replace``) the end of the run is therefore recorded at the publish, before
another process can see the message.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import wrapt
from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # its module has no __all__
    BaseInstrumentor,
)

from z4j_otel.guard import guard
from z4j_otel.instrumentors.celery import upstream
from z4j_otel.instrumentors.celery.beat_runs import around_due, beats
from z4j_otel.instrumentors.celery.main_process import MainProcessCapture
from z4j_otel.instrumentors.celery.publisher import PublisherCapture
from z4j_otel.instrumentors.celery.runs import RunCapture
from z4j_otel.instrumentors.celery.soft_limits import SoftLimits
from z4j_otel.instrumentors.tracing import TaskTracer
from z4j_otel.sinks import current_host

__all__ = ["Z4JCeleryInstrumentor"]

_logger = logging.getLogger(__name__)
_ENGINE = "celery"
_POOLS = (
    ("billiard.pool", "Pool.process_flush_queues"),
    ("celery.concurrency.asynpool", "AsynPool.process_flush_queues"),
)


class Z4JCeleryInstrumentor(BaseInstrumentor):  # type: ignore[misc] # upstream is untyped
    """Captures the whole life of every Celery task of this process.

    ``instrument()`` also activates the upstream Celery instrumentation, unless it is
    active already or disabled by ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``; the keyword
    arguments (``tracer_provider``, ``meter_provider``) are passed on to it.
    """

    capture: CeleryCapture | None = None
    """The hooks, while instrumented."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the engine versions this works with."""
        return ("celery >= 5.3, < 6",)

    def _instrument(self, **kwargs: Any) -> None:
        host = current_host()
        if not host.is_enabled(_ENGINE):
            _logger.debug("z4j is not configured for Celery, which is left alone")
            return
        tracer = kwargs.pop("tracer", None) or TaskTracer(_ENGINE)
        self.capture = CeleryCapture(tracer)
        self.capture.connect()
        if not host.defers_upstream():
            self.activate_upstream(**kwargs)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self.capture is not None:
            self.capture.disconnect()
            self.capture = None

    def activate_upstream(self, **kwargs: Any) -> None:
        """Activate upstream's spans, and bring the hooks of both into their order."""
        if self.capture is not None:
            upstream.activate(**kwargs)
            self.capture.order_receivers()


class CeleryCapture:
    """All hooks of one process, connected and disconnected together."""

    def __init__(self, tracer: TaskTracer) -> None:
        self.runs = RunCapture(tracer)
        self.main_process = MainProcessCapture(tracer, self.runs)
        self.publisher = PublisherCapture(tracer, self.runs)
        self._wrapped: list[tuple[Any, str]] = []
        self._commands: dict[str, Any] = {}

    def _receivers(self) -> list[tuple[Any, Any]]:
        """Return the signals in use, each with its receiver."""
        from celery import signals  # noqa: PLC0415 -- Celery is an extra

        runs, main, publisher = self.runs, self.main_process, self.publisher
        return [
            (signals.before_task_publish, publisher.before_publish),
            (signals.after_task_publish, publisher.after_publish),
            (signals.task_postrun, runs.finished),
            (signals.task_failure, main.failed),
            (signals.task_retry, main.retried),
            (signals.task_received, main.received),
            (signals.task_revoked, main.revoked),
            (signals.task_unknown, main.unknown),
            (signals.task_rejected, main.invalid),
            (signals.beat_init, self._beat_starting),
            (signals.beat_embedded_init, self._beat_embedded),
            (signals.worker_init, self._worker_starting),
            (signals.worker_ready, main.worker_ready),
            (signals.worker_shutdown, main.worker_stopped),
            (signals.worker_process_init, self._child_started),
            (signals.worker_process_shutdown, runs.child_leaving),
            (signals.task_prerun, runs.started),
        ]

    def connect(self) -> None:
        """Hook Celery."""
        for signal, receiver in self._receivers():
            signal.connect(receiver, weak=False)
        self.order_receivers()
        upstream.repair_worker_name()
        self._wrap("celery.app.base", "Celery.send_task", self.publisher.around_send)
        self._wrap("celery.app.task", "Task.retry", self.runs.around_retry)
        self._wrap("celery.worker.request", "Request.on_failure", self.main_process.around_failure)
        self._wrap("celery.worker.request", "Request.on_timeout", self.main_process.around_timeout)
        self._wrap("celery.worker.request", "Request.reject", self.main_process.around_reject)
        self._wrap("celery.worker.request", "Request.terminate", self.main_process.around_terminate)
        self._wrap("celery.worker.request", "Request.cancel", self.main_process.around_cancel)
        self._wrap("celery.worker.control", "_revoke", self.main_process.around_revoke)
        self._wrap(
            "celery.worker.consumer.consumer",
            "Consumer.on_decode_error",
            self.main_process.around_decode_error,
        )
        self._wrap_command("revoke_by_stamped_headers", self.main_process.around_revoke_by_stamp)

    def disconnect(self) -> None:
        """Leave Celery as it was."""
        for signal, receiver in self._receivers():
            signal.disconnect(receiver)
        while self._wrapped:
            parent, attribute = self._wrapped.pop()
            wrapper = getattr(parent, attribute)
            setattr(parent, attribute, wrapper.__wrapped__)
        if self._commands:
            from celery.worker.control import Panel  # noqa: PLC0415 -- Celery is an extra

            Panel.data.update(self._commands)
            self._commands.clear()

    def order_receivers(self) -> None:
        """Put our hooks where upstream's spans are to be seen.

        Where upstream opens a span (a run starts, a message is about to be published) ours
        comes after it; everywhere else ours comes first, while the span is still open.
        """
        from celery import signals  # noqa: PLC0415 -- Celery is an extra

        for signal, receiver in self._receivers():
            # The list must stay the same object: Celery's tracer keeps it.
            signal.disconnect(receiver)
            signal.connect(receiver, weak=False)
            if signal not in (signals.task_prerun, signals.before_task_publish):
                signal.receivers.insert(0, signal.receivers.pop())

    def _worker_starting(self, **kwargs: Any) -> None:
        self.main_process.worker_starting(**kwargs)
        # Loaded here: publishers have no use for a pool.
        for module, name in _POOLS:
            self._wrap(module, name, self.main_process.exits.around_flush)
        # A forked child installs what the module calls its handler.
        limits = SoftLimits(self.runs.current)
        self._wrap("billiard.pool", "soft_timeout_sighandler", limits.around_limit)

    def _beat_starting(self, **_kwargs: Any) -> None:
        """``beat_init``: this process publishes what is due, and may mirror the schedules."""
        beats[:] = [True]
        self._beat_embedded()
        self._start_agent()

    def _beat_embedded(self, **_kwargs: Any) -> None:
        """``beat_embedded_init``: beat runs in a child or a thread of a worker."""
        self._wrap("celery.beat", "Scheduler.apply_async", around_due)

    @guard("start of the agent")
    def _start_agent(self) -> None:
        # An owner's first look at its sink starts its agent.
        current_host().sink()

    def _child_started(self, **_kwargs: Any) -> None:
        self.order_receivers()
        self.runs.child_started()

    def _wrap(self, module: str, name: str, wrapper: Any) -> None:
        try:
            parent, attribute, original = wrapt.resolve_path(module, name)
        except (ImportError, AttributeError):
            _logger.debug("%s.%s is not there in this Celery", module, name)
            return
        wrapt.apply_patch(parent, attribute, wrapt.FunctionWrapper(original, wrapper))
        self._wrapped.append((parent, attribute))

    def _wrap_command(self, name: str, wrapper: Any) -> None:
        """Wrap a remote control command; a worker looks it up by its name."""
        from celery.worker.control import Panel  # noqa: PLC0415 -- Celery is an extra

        original = Panel.data.get(name)
        if original is not None:
            self._commands[name] = original
            Panel.data[name] = wrapt.FunctionWrapper(original, wrapper)
