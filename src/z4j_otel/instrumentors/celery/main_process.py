"""What only a worker's main process sees: arrivals, and ends that nobody else reports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from z4j_otel.events import Cause, EventKind, TaskFacts
from z4j_otel.guard import guard, note_failure
from z4j_otel.instrumentors.celery import extract, instances, policies, upstream
from z4j_otel.instrumentors.celery.cancelled import CancelledRuns
from z4j_otel.instrumentors.celery.exits import ChildExits
from z4j_otel.instrumentors.celery.runs import RunCapture
from z4j_otel.instrumentors.tracing import TaskTracer
from z4j_otel.redaction import REDACTED
from z4j_otel.sinks import current_host

__all__ = ["MainProcessCapture"]


class _Failing:
    """The failure that Celery is handling on this thread, or in this greenlet."""

    __slots__ = ("exception", "is_told", "request")

    def __init__(self, request: Any = None, exception: BaseException | None = None) -> None:
        self.request = request
        self.exception = exception
        self.is_told = False
        """Whether the handling has been recorded already."""


# A context variable: a thread-local made before gevent patched threading is shared by all
# greenlets, and storing a failure lets another one run.
_failing: Final[ContextVar[_Failing]] = ContextVar("z4j_failing")


@contextmanager
def _handling(failing: _Failing) -> Iterator[None]:
    token = _failing.set(failing)
    try:
        yield
    finally:
        _failing.reset(token)


class MainProcessCapture:
    """The worker's own view of its tasks and of itself."""

    def __init__(self, tracer: TaskTracer, runs: RunCapture) -> None:
        self._tracer = tracer
        self._runs = runs
        self.exits = ChildExits()
        self._cancelled = CancelledRuns(tracer)
        policies.FINDER.in_hand = lambda: self._failing.request

    @property
    def _failing(self) -> _Failing:
        return _failing.get(None) or _Failing()

    @guard("start of the agent's files")
    def worker_starting(self, sender: Any = None, **_kwargs: Any) -> None:
        """``worker_init``: before the pool is forked."""
        self._runs.main_pid = os.getpid()
        # First: whatever else fails here, the files are claimed before the fork.
        current_host().worker_starting(self._tracer.engine)
        upstream.repair_waiting()
        self._runs.broker_scheme = extract.broker_scheme_of(getattr(sender, "app", None))

    @guard("start of the agent")
    def worker_ready(self, sender: Any = None, **_kwargs: Any) -> None:
        """``worker_ready``: the pool is there, threads may start."""
        current_host().worker_ready(self._tracer.engine, sender)

    @guard("stop of the agent")
    def worker_stopped(self, **_kwargs: Any) -> None:
        """``worker_shutdown``: the last task has ended."""
        self._cancelled.settle_all()
        current_host().worker_stopping()

    def received(self, request: Any, **_kwargs: Any) -> None:
        """``task_received``: a message was taken from the queue."""
        try:
            self._record_received(request)
            # The adapter keeps recent messages for retries.
            listener = instances.listener_of(request)
            if listener is not None:
                listener(request)
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure("capture of an arrival", error)

    def _record_received(self, request: Any, **more: Any) -> TaskFacts:
        facts = extract.facts_of_request(self._tracer.engine, request)
        now_ns = self._tracer.now_ns()
        details = extract.received_details(request, now_ns, self._runs.broker_scheme)
        if more:
            details.update(more)
        span = extract.remote_span(request.request_dict)
        self._tracer.record(EventKind.TASK_RECEIVED, facts, details, span=span, at_ns=now_ns)
        return facts

    @guard("capture of a revocation")
    def revoked(
        self,
        sender: Any,
        request: Any,
        terminated: Any = None,
        signum: Any = None,
        expired: Any = None,
        **_kwargs: Any,
    ) -> None:
        """``task_revoked``: the worker gave a task up; it may never have been announced."""
        run = self._runs.running(request.id) if terminated else None
        if run is not None:
            run.terminated_by = signum
            self._runs.terminated(run, sender)
            return
        facts = extract.facts_of_context(self._tracer.engine, request.id, sender, request)
        if not terminated:
            details = {
                "args": request.args,
                "kwargs": request.kwargs,
                "parent_task_id": request.parent_id,
                "root_task_id": request.root_id,
                "synthesised": True,
            }
            self._tracer.record(EventKind.TASK_RECEIVED, facts, details)
        details = extract.revoked_details(terminated=terminated, signum=signum, expired=expired)
        self._tracer.record(EventKind.TASK_REVOKED, facts, details)

    def around_terminate(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.terminate``: pools of greenlets unwind the task within this call."""
        run = self._runs.running(instance.id)
        if run is None:
            return wrapped(*args, **kwargs)
        signum = kwargs.get("signal", args[1] if len(args) > 1 else None)
        run.terminated_by = "TERM" if signum is None else signum
        try:
            return wrapped(*args, **kwargs)
        except BaseException:
            run.terminated_by = None  # pools of threads cannot stop a task
            raise

    def around_revoke(self, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        """``revoke`` by remote control: tell of waiting tasks now, not at their ETA."""
        result = wrapped(*args, **kwargs)
        self._revoke_waiting(args, kwargs)
        return result

    @guard("capture of a revocation")
    def _revoke_waiting(self, args: Any, kwargs: Any) -> None:
        from celery.worker import state  # noqa: PLC0415 -- Celery is an extra

        task_ids = kwargs.get("task_ids", args[1] if len(args) > 1 else ())
        for task_id in task_ids:
            self._tell_if_waiting(state.requests.get(task_id))

    def around_revoke_by_stamp(self, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        """``revoke_by_stamped_headers`` by remote control: the same, found by a header."""
        result = wrapped(*args, **kwargs)
        self._revoke_stamped()
        return result

    @guard("capture of a revocation")
    def _revoke_stamped(self) -> None:
        from celery.worker import state  # noqa: PLC0415 -- Celery is an extra

        for request in list(state.requests.values()):
            if extract.has_stamp(request, state.revoked_stamps):
                self._tell_if_waiting(request)

    def _tell_if_waiting(self, request: Any) -> None:
        from celery.worker import state  # noqa: PLC0415 -- Celery is an extra

        # What the pool has taken already will run: there Celery's revoke comes too late.
        is_taken = getattr(request, "_apply_result", None) is not None
        if request is not None and not is_taken and request not in state.active_requests:
            facts = extract.facts_of_request(self._tracer.engine, request)
            self._tracer.record(EventKind.TASK_REVOKED, facts, extract.revoked_details())

    @guard("capture of a failure")
    def failed(
        self, sender: Any, task_id: str, exception: Any = None, einfo: Any = None, **_kwargs: Any
    ) -> None:
        """``task_failure``: of a run here, or told by the main process about a child's."""
        traceback = getattr(einfo, "traceback", None)
        text = traceback if isinstance(traceback, str) else None
        run = self._runs.running(task_id)
        if run is not None:
            self._runs.failed(run, sender, exception, text)
            return
        self._failing.is_told = True
        context = sender.request if sender.request.id == task_id else None
        facts = self._facts_of_lost(sender, task_id, context)
        details = extract.failure_details(exception)
        details |= extract.process_of(self._failing.request)
        if details["cause"] == Cause.WORKER_LOST.value:
            pid = details.get("pid")
            details["exception"] = self.exits.corrected(details["exception"], pid)
            text = text and self.exits.corrected(text, pid)
        if text:
            details["traceback"] = text
        self._tracer.record(EventKind.TASK_FAILED, facts, details)

    def _facts_of_lost(self, task: Any, task_id: str, context: Any) -> TaskFacts:
        """Return facts of a run that ended elsewhere; the request may be gone by now."""
        from celery.worker import state  # noqa: PLC0415 -- Celery is an extra

        # Celery forgets the request before it tells of the failure.
        request = self._failing.request or state.requests.get(task_id)
        if request is not None and request.id == task_id:
            return extract.facts_of_request(self._tracer.engine, request)
        if context is not None:
            return extract.facts_of_context(self._tracer.engine, task_id, task, context)
        return TaskFacts(instances.name_for(task, self._tracer.engine), task_id, task.name)

    @guard("capture of a retry")
    def retried(self, sender: Any, request: Any, reason: Any = None, **_kwargs: Any) -> None:
        """``task_retry``: of a run here, or by the main process for a lost child."""
        run = self._runs.running(request.id)
        if run is not None:
            self._runs.retried(run, reason, run.facts.attempt + 1, None)
        elif self._failing.exception is not None:
            facts = extract.facts_of_context(self._tracer.engine, request.id, sender, request)
            self._record_redelivery(facts, self._failing.exception)

    def around_failure(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.on_failure``: what a child died of, or raised."""
        exc_info = kwargs.get("exc_info", args[0] if args else None)
        exception = getattr(exc_info, "exception", None)
        failing = _Failing(instance, getattr(exception, "exc", None) or exception)
        with _handling(failing):
            try:
                result = wrapped(*args, **kwargs)
            except BaseException:
                self._tell_unhandled(instance)
                raise
            self._tell_stored_success(instance)
        self._cancelled.failed(instance, failing.exception)
        return result

    @guard("capture of a failure that Celery could not handle")
    def _tell_unhandled(self, request: Any) -> None:
        """Celery stores a failure before it signals it, and a result backend can be away."""
        exception = self._failing.exception
        if exception is None or self._failing.is_told:
            return
        facts = extract.facts_of_request(self._tracer.engine, request)
        if type(exception).__name__ == "Terminated":
            details = extract.revoked_details(terminated=True, signum=str(exception))
            self._tracer.record(EventKind.TASK_REVOKED, facts, details)
        elif extract.cause_of(exception) in {Cause.WORKER_LOST, Cause.TIME_LIMIT}:
            # Any other failure was told by the child that survived it.
            details = extract.failure_details(exception) | extract.process_of(request)
            details["exception"] = self.exits.corrected(details["exception"], details.get("pid"))
            self._tracer.record(EventKind.TASK_FAILED, facts, details)

    def around_timeout(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.on_timeout``: remember the request, Celery forgets it first."""
        given = {**dict(zip(("soft", "timeout"), args, strict=False)), **kwargs}
        failing = _Failing(instance)
        with _handling(failing):
            result = wrapped(*args, **kwargs)
        if not given.get("soft", True):
            self._cancelled.timed_out(instance, given.get("timeout"), is_told=failing.is_told)
        return result

    def around_cancel(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.cancel``: a cold stop or a lost broker ends a run, and Celery says nothing."""
        is_running = bool(getattr(instance, "time_start", None))
        pool = kwargs.get("pool", args[0] if args else None)
        # A greenlet unwinds within this call or after it, and would tell of an error.
        is_here = is_running and getattr(pool, "is_green", False)
        run = self._runs.running(instance.id) if is_here else None
        # Asked before: a greenlet that unwinds acks its message, on a connection that is gone.
        comes_again = is_running and instance.task.acks_late and not instance.acknowledged
        if run is not None:
            self._runs.given_up(run, instance.task)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException:
            # The pool was told first; behind it the result backend can be away.
            if run is not None:
                self._cancelled.tell(instance, comes_again=comes_again)
            raise
        if run is not None:
            self._cancelled.tell(instance, comes_again=comes_again)
        elif is_running:
            self._cancelled.add(instance)
        return result

    @guard("capture of a late success")
    def _tell_stored_success(self, request: Any) -> None:
        """A child can be lost after it stored its success: Celery then signals nothing."""
        exception = self._failing.exception
        is_lost = exception is not None and extract.cause_of(exception) is Cause.WORKER_LOST
        if is_lost and not self._failing.is_told:
            facts = extract.facts_of_request(self._tracer.engine, request)
            details = {"worker_lost": True, **extract.process_of(request)}
            self._tracer.record(EventKind.TASK_SUCCEEDED, facts, details)

    def around_reject(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.reject``: with ``requeue`` the message comes back, so say so first."""
        requeue = kwargs.get("requeue", args[0] if args else False)
        if requeue and self._failing.exception is not None:
            self._tell_redelivery(instance)
        elif not requeue:
            self._tell_rejection(instance)
        return wrapped(*args, **kwargs)

    @guard("capture of a rejection")
    def _tell_rejection(self, request: Any) -> None:
        """Older Celery (5.3, for one) tells nobody that a task rejected its message for good."""
        exception = self._failing.exception
        if exception is None or self._failing.is_told:
            return
        if extract.cause_of(exception) is Cause.REJECTED:
            facts = extract.facts_of_request(self._tracer.engine, request)
            details = extract.failure_details(exception) | extract.process_of(request)
            self._tracer.record(EventKind.TASK_FAILED, facts, details)

    @guard("capture of a redelivery")
    def _tell_redelivery(self, request: Any) -> None:
        facts = extract.facts_of_request(self._tracer.engine, request)
        assert self._failing.exception is not None
        self._record_redelivery(facts, self._failing.exception)

    def _record_redelivery(self, facts: TaskFacts, exception: BaseException) -> None:
        self._failing.is_told = True
        cause = extract.cause_of(exception)
        reason = "worker lost" if cause is Cause.WORKER_LOST else extract.exception_text(exception)
        details = {"retry_count": facts.attempt + 1, "reason": reason, "cause": cause.value}
        details |= extract.process_of(self._failing.request)
        self._tracer.record(EventKind.TASK_RETRIED, facts, details)

    @guard("capture of an unknown task")
    def unknown(self, message: Any, name: str, id: str, sender: Any = None, **_kwargs: Any) -> None:  # noqa: A002 -- Celery's name
        """``task_unknown``: no such task in this worker."""
        why = (f"NotRegistered: {name!r}", Cause.UNKNOWN_TASK)
        self._record_refused(message, id, name, sender, why)

    @guard("capture of an invalid message")
    def invalid(self, message: Any, exc: Any = None, sender: Any = None, **_kwargs: Any) -> None:
        """``task_rejected``: the message cannot be read as a task."""
        headers = getattr(message, "headers", None) or {}
        if isinstance(headers.get("id"), str):
            name = str(headers.get("task", "unknown"))
            text = extract.exception_text(exc)
            self._record_refused(message, headers["id"], name, sender, (text, Cause.REJECTED))

    def around_decode_error(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Consumer.on_decode_error``: Celery drops the message and tells nobody."""
        message = kwargs.get("message", args[0] if args else None)
        exc = kwargs.get("exc", args[1] if len(args) > 1 else None)
        self.invalid(message=message, exc=exc, sender=instance)
        return wrapped(*args, **kwargs)

    def _record_refused(
        self, message: Any, task_id: str, name: str, consumer: Any, why: tuple[str, Cause]
    ) -> None:
        exception, cause = why
        headers = {**(message.headers or {}), "id": task_id, "task": name}
        queue = extract.queue_of(message.delivery_info or {})
        engine = instances.name_for(consumer, self._tracer.engine)
        worker = getattr(consumer, "hostname", None)
        facts = extract.facts_of_headers(engine, headers, queue, worker)
        # The body was never decoded for a task that is not known; its text form is enough.
        received = {"args": headers.get("argsrepr"), "kwargs": headers.get("kwargsrepr")}
        if policies.HIDDEN_HEADER in headers:
            received = dict.fromkeys(received, REDACTED)
        span = extract.remote_span(headers)
        self._tracer.record(EventKind.TASK_RECEIVED, facts, received, span=span)
        failure = {
            "exception": exception,
            "exception_type": exception.partition(":")[0],
            "cause": cause.value,
        }
        self._tracer.record(EventKind.TASK_FAILED, facts, failure, span=span)
