"""The runs of tasks, as the process that executes them sees them."""

from __future__ import annotations

import os
import sys
import traceback as tracebacks
from collections.abc import Mapping
from contextvars import ContextVar
from os import getpid
from time import monotonic_ns
from typing import Any

from z4j_otel.events import Cause, EventKind, SpanIds, TaskFacts
from z4j_otel.guard import guard, note_failure
from z4j_otel.instrumentors.celery import extract, upstream
from z4j_otel.instrumentors.tracing import (
    TaskTracer,
    flush_spans,
    span_ids,
    span_ids_of_current,
)
from z4j_otel.sinks import child_leaving, current_host

__all__ = ["Run", "RunCapture"]

CHILD_FLUSH_S = 1.0
"""How long a leaving pool child may spend on the user's exporters, seconds. Billiard
lets a child sleep this long between saying good-bye and its exit."""


class Run:
    """One run that is going on in this process."""

    __slots__ = (
        *("facts", "has_ended", "outer", "retry_cause", "span", "started_ns"),
        "terminated_by",
    )

    def __init__(self, facts: TaskFacts, span: SpanIds | None, outer: Run | None = None) -> None:
        self.facts = facts
        self.span = span
        self.outer = outer
        """The run whose function called this one in place, in the same context."""
        self.started_ns = monotonic_ns()
        self.has_ended = False
        """Whether the run's end is recorded already, or is another's to tell."""
        self.retry_cause: BaseException | None = None
        self.terminated_by: Any = None
        """The signal with which an operator has the worker stop it, if so."""

    def runtime_ms(self) -> int:
        """Return how long the run has lasted, milliseconds."""
        return (monotonic_ns() - self.started_ns) // 1_000_000


class RunCapture:
    """Start and end of every run in this process."""

    def __init__(self, tracer: TaskTracer) -> None:
        self._tracer = tracer
        self._runs: dict[str, Run] = {}
        # With threads and greenlets a task can run here twice at once: its next attempt
        # starts before this one is over. Whose end it is, its context knows.
        self._own: ContextVar[Run | None] = ContextVar("z4j_run", default=None)
        self._is_pool_child = False
        self._is_dying = False
        self.main_pid = 0
        """The worker's main process; solo says there that a pool child was started."""
        self.broker_scheme = "celery"

    def running(self, task_id: str) -> Run | None:
        """Return the run of a task in this process, unless its end is recorded.

        The caller's own, where there are two; for a caller outside of all runs, the latest.
        """
        run = self._find_own(task_id) or self._runs.get(task_id)
        return run if run is not None and not run.has_ended else None

    def current(self) -> Run | None:
        """Return the run that the caller is within, the innermost."""
        return self._own.get()

    def _find_own(self, task_id: str) -> Run | None:
        run = self._own.get()
        while run is not None and run.facts.task_id != task_id:
            run = run.outer
        return run

    def _enter(self, task_id: str, facts: TaskFacts, span: SpanIds | None) -> Run:
        run = self._runs[task_id] = Run(facts, span, self._own.get())
        self._own.set(run)
        return run

    def _leave(self, task_id: str) -> Run | None:
        run = self._find_own(task_id)
        if run is not None:
            # Runs within it that were not left are over, too.
            self._own.set(run.outer)
        latest = self._runs.get(task_id)
        if run is None or latest is run:
            self._runs.pop(task_id, None)
        return run or latest

    @guard("capture of a pool child's start")
    def child_started(self) -> None:
        """A pool child was forked or spawned: this process."""
        if self.main_pid == os.getpid():
            return
        self._is_pool_child = True
        self._runs.clear()
        current_host().child_started()

    @guard("flush of a leaving pool child")
    def child_leaving(self, **_kwargs: Any) -> None:
        """Give the user's exporters a moment: this process ends without atexit.

        Not to a child that is being killed: Celery sends SIGKILL 0.1 s after SIGTERM, and a
        child hit while it says good-bye leaves the pool's queue locked for ever.
        """
        child_leaving()
        if not self._is_dying:
            flush_spans(CHILD_FLUSH_S)

    def started(self, task_id: str, task: Any, **_kwargs: Any) -> None:
        """``task_prerun``: the run begins."""
        try:
            self._start(task_id, task)
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure("capture of a task's start", error)

    def _start(self, task_id: str, task: Any) -> None:
        context = task.request
        facts = extract.facts_of_context(self._tracer.engine, task_id, task, context)
        if context.is_eager:
            facts = self._with_true_worker(facts, context.parent_id)
        span = upstream.span_of(task, task_id)
        ids = span_ids_of_current() if span is None else span_ids(span)
        run = self._enter(task_id, facts, ids)
        details: dict[str, Any] = {"pid": getpid()}
        if context.is_eager:
            details["eager"] = True
            received = extract.eager_details(context)
            self._tracer.record(EventKind.TASK_RECEIVED, facts, received, span=run.span)
        if span is not None:
            upstream.annotate(span, facts, self.broker_scheme)
        if not context.is_eager and getattr(task, "acks_late", False):
            details["acks_late"] = True
        self._tracer.record(EventKind.TASK_STARTED, facts, details, span=run.span)

    def _with_true_worker(self, facts: TaskFacts, parent_id: str | None) -> TaskFacts:
        """Name the worker whose task called this one in place; a program has none.

        Celery puts the machine's name there, which would show as one more worker.
        """
        outer = self._runs.get(parent_id) if parent_id else None
        worker = outer.facts.worker if outer else None
        return TaskFacts(
            facts.engine, facts.task_id, facts.task_name, facts.queue, worker, facts.attempt
        )

    def finished(self, task_id: str, task: Any, state: Any, retval: Any, **_kwargs: Any) -> None:
        """``task_postrun``: the run is over, one way or the other."""
        try:
            self._finish(task_id, task, state, retval)
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure("capture of a task's end", error)

    def _finish(self, task_id: str, task: Any, state: Any, retval: Any) -> None:
        run = self._leave(task_id)
        if run is None or run.has_ended:
            return
        if state == "SUCCESS":
            self._returned(run, task, retval)
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

    def _returned(self, run: Run, task: Any, retval: Any) -> None:
        """Record the end of a run whose function returned.

        If its result cannot be stored, Celery makes a failure of it, but its main process
        says so only where there is one.
        """
        cause = sys.exc_info()[1]
        if not isinstance(cause, Exception) or task.request.is_eager:
            self.end(run, EventKind.TASK_SUCCEEDED, {"result": retval})
        elif extract.cause_of(cause) is Cause.REJECTED:
            # An on_success of the application's rejects the message.
            self.end(run, EventKind.TASK_REJECTED, {"reason": extract.exception_text(cause)})
        else:
            self.failed(run, task, cause, tracebacks.format_exc())

    def _interrupted(self, run: Run, task: Any, task_id: str) -> None:
        """Handle a run that an exception is unwinding, so that Celery has no state for it.

        With an ``Exception`` the process goes on: an eager run lets its caller have it, or
        the task's own handler of failures failed. Anything else ends the process.
        """
        cause = sys.exc_info()[1]
        if isinstance(cause, Exception):
            self.failed(run, task, cause, tracebacks.format_exc())
        elif self._is_pool_child:
            self._is_dying = True
            upstream.leave_open(task, task_id)
        elif run.terminated_by is not None:
            self.terminated(run, task)
        elif cause is not None:
            exceeded = extract.hard_limit_behind(cause, task)
            why = Cause.WORKER_LOST if exceeded is None else Cause.TIME_LIMIT
            self.failed(run, task, exceeded or cause, tracebacks.format_exc(), why)

    def terminated(self, run: Run, task: Any) -> None:
        """Record that the worker stopped a run in its own process, on an operator's word."""
        span = upstream.span_of(task, run.facts.task_id)
        if span is not None:
            upstream.mark_failed(span, "Terminated", "revoked")
        details = extract.revoked_details(terminated=True, signum=run.terminated_by)
        self.end(run, EventKind.TASK_REVOKED, details)

    @guard("capture of a cancelled run")
    def given_up(self, run: Run, task: Any) -> None:
        """Leave a run's end to its worker, which cancels it in this very process."""
        run.has_ended = True
        span = upstream.span_of(task, run.facts.task_id)
        if span is not None:
            upstream.mark_failed(span, "WorkerLostError", Cause.WORKER_LOST.value)

    def end(self, run: Run, kind: EventKind, details: dict[str, Any]) -> None:
        """Record the end of a run, once."""
        run.has_ended = True
        details["runtime_ms"] = run.runtime_ms()
        details["pid"] = getpid()
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

    def handed_over(self, run: Run, headers: Mapping[str, Any]) -> None:
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
