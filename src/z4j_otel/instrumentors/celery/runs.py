"""The runs of tasks, as the process that executes them sees them."""

from __future__ import annotations

import sys
import traceback as tracebacks
from time import monotonic_ns
from typing import Any

from z4j_otel.events import Cause, EventKind, SpanIds, TaskFacts
from z4j_otel.guard import guard
from z4j_otel.instrumentors.celery import extract, upstream
from z4j_otel.instrumentors.tracing import (
    TaskTracer,
    flush_spans,
    span_ids,
    span_ids_of_current,
)
from z4j_otel.sinks import current_host

__all__ = ["Run", "RunCapture"]

CHILD_FLUSH_S = 1.0
"""How long a leaving pool child may spend on the user's exporters, seconds. Billiard
lets a child sleep this long between saying good-bye and its exit."""


class Run:
    """One run that is going on in this process."""

    __slots__ = ("facts", "has_ended", "retry_cause", "span", "started_ns")

    def __init__(self, facts: TaskFacts, span: SpanIds | None) -> None:
        self.facts = facts
        self.span = span
        self.started_ns = monotonic_ns()
        self.has_ended = False
        """Whether the run's end is recorded already."""
        self.retry_cause: BaseException | None = None

    def runtime_ms(self) -> int:
        """Return how long the run has lasted, milliseconds."""
        return (monotonic_ns() - self.started_ns) // 1_000_000


class RunCapture:
    """Start and end of every run in this process."""

    def __init__(self, tracer: TaskTracer) -> None:
        self._tracer = tracer
        self._runs: dict[str, Run] = {}
        self._is_pool_child = False
        self._is_dying = False
        self.broker_scheme = "celery"

    def running(self, task_id: str) -> Run | None:
        """Return the run of a task in this process, unless its end is recorded."""
        run = self._runs.get(task_id)
        return run if run is not None and not run.has_ended else None

    @guard("capture of a pool child's start")
    def child_started(self) -> None:
        """A pool child was forked or spawned: this process."""
        self._is_pool_child = True
        self._runs.clear()
        current_host().child_started()

    @guard("flush of a leaving pool child")
    def child_leaving(self, **_kwargs: Any) -> None:
        """Give the user's exporters a moment: this process ends without atexit.

        Not to a child that is being killed: Celery sends SIGKILL 0.1 s after SIGTERM, and a
        child hit while it says good-bye leaves the pool's queue locked for ever.
        """
        if not self._is_dying:
            flush_spans(CHILD_FLUSH_S)

    @guard("capture of a task's start")
    def started(self, task_id: str, task: Any, **_kwargs: Any) -> None:
        """``task_prerun``: the run begins."""
        context = task.request
        facts = extract.facts_of_context(self._tracer.engine, task_id, task.name, context)
        span = upstream.span_of(task, task_id)
        ids = span_ids_of_current() if span is None else span_ids(span)
        run = self._runs[task_id] = Run(facts, ids)
        details: dict[str, Any] = {}
        if context.is_eager:
            details["eager"] = True
            arguments = {"args": context.args, "kwargs": context.kwargs, "eager": True}
            self._tracer.record(EventKind.TASK_RECEIVED, facts, arguments, span=run.span)
        if span is not None:
            upstream.annotate(span, facts, self.broker_scheme)
        self._tracer.record(EventKind.TASK_STARTED, facts, details, span=run.span)

    @guard("capture of a task's end")
    def finished(self, task_id: str, task: Any, state: Any, retval: Any, **_kwargs: Any) -> None:
        """``task_postrun``: the run is over, one way or the other."""
        run = self._runs.pop(task_id, None)
        if run is None or run.has_ended:
            return
        if state == "SUCCESS":
            self.end(run, EventKind.TASK_SUCCEEDED, {"result": retval})
        elif state == "IGNORED":
            self.end(run, EventKind.TASK_SUCCEEDED, {"celery_state": "IGNORED"})
        elif state == "REJECTED":
            # The main process decides whether this is the end or a redelivery.
            self.end(run, EventKind.TASK_REJECTED, {"reason": extract.exception_text(retval)})
        elif state == "RETRY":
            self.retried(run, retval, run.facts.attempt + 1, None)
        elif state is None:
            self._interrupted(run, task, task_id)
        else:
            self.failed(run, task, retval, None)

    def _interrupted(self, run: Run, task: Any, task_id: str) -> None:
        """Handle a run that a ``BaseException`` is unwinding: the process is to die."""
        if self._is_pool_child:
            self._is_dying = True
            upstream.leave_open(task, task_id)
            return
        cause = sys.exc_info()[1]
        if cause is not None:
            self.failed(run, task, cause, tracebacks.format_exc(), Cause.WORKER_LOST)

    def end(self, run: Run, kind: EventKind, details: dict[str, Any]) -> None:
        """Record the end of a run, once."""
        run.has_ended = True
        details["runtime_ms"] = run.runtime_ms()
        self._tracer.record(kind, run.facts, details, span=run.span)

    def failed(
        self,
        run: Run,
        task: Any,
        exception: BaseException,
        traceback: str | None,
        cause: Cause | None = None,
    ) -> None:
        """Record that a run failed, and mark its span."""
        cause = cause or extract.cause_of(exception)
        details = extract.failure_details(exception, cause)
        if traceback:
            details["traceback"] = traceback
        throws = getattr(task, "throws", ())
        if throws and isinstance(exception, throws):
            details["expected"] = True
        span = upstream.span_of(task, run.facts.task_id)
        if span is not None:
            upstream.mark_failed(span, type(exception).__name__, cause.value)
        self.end(run, EventKind.TASK_FAILED, details)

    def retried(self, run: Run, reason: Any, retry_count: int, eta: str | None) -> None:
        """Record that a run ended by asking for another one."""
        # A Retry carries what made the task retry; alone it says only when.
        cause = run.retry_cause or getattr(reason, "exc", None)
        details: dict[str, Any] = {"retry_count": retry_count}
        if cause is not None:
            details["reason"] = extract.exception_text(cause)
            if cause.__traceback__ is not None:
                details["traceback"] = "".join(
                    tracebacks.format_exception(None, cause, cause.__traceback__)
                )
        elif reason is not None:
            details["reason"] = str(reason)
        if eta is not None:
            details["eta"] = eta
        self.end(run, EventKind.TASK_RETRIED, details)

    def handed_over(self, run: Run, headers: dict[str, Any]) -> None:
        """Record the end of a run that publishes its own task id again.

        A higher retry number is a retry; the same one is ``self.replace``.
        """
        retries = headers.get("retries") or 0
        if retries > run.facts.attempt:
            self.retried(run, None, retries, headers.get("eta"))
        else:
            replaced_by = headers.get("task")
            details = {"celery_state": "IGNORED", "replaced_by": replaced_by}
            self.end(run, EventKind.TASK_SUCCEEDED, details)

    def around_retry(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Task.retry``: remember why, before the new message is published."""
        self._note_retry(instance, args, kwargs)
        return wrapped(*args, **kwargs)

    @guard("capture of a retry's reason")
    def _note_retry(self, task: Any, args: Any, kwargs: Any) -> None:
        context = task.request
        run = self.running(context.id) if context.id else None
        if run is None:
            return
        given = kwargs.get("exc", args[2] if len(args) > 2 else None)  # noqa: PLR2004 -- retry(args, kwargs, exc)
        run.retry_cause = given if isinstance(given, BaseException) else sys.exc_info()[1]
        if context.is_eager:
            asked = kwargs.get("max_retries")
            limit = task.max_retries if asked is None else asked
            # An eager retry runs inside this call; there is no publish to record it at.
            if limit is None or run.facts.attempt < limit:
                self.retried(run, given, run.facts.attempt + 1, None)
