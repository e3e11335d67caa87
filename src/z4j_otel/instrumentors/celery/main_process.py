"""What only a worker's main process sees: arrivals, and ends that nobody else reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from z4j_otel.events import Cause, EventKind, TaskFacts
from z4j_otel.guard import guard
from z4j_otel.instrumentors.celery import extract
from z4j_otel.instrumentors.celery.runs import RunCapture
from z4j_otel.instrumentors.tracing import TaskTracer
from z4j_otel.sinks import current_host

__all__ = ["MainProcessCapture"]


class _Failing(threading.local):
    """The failure that Celery is handling on this thread."""

    request: Any = None
    exception: BaseException | None = None
    is_told = False
    """Whether the handling has been recorded already."""


class MainProcessCapture:
    """The worker's own view of its tasks and of itself."""

    def __init__(self, tracer: TaskTracer, runs: RunCapture) -> None:
        self._tracer = tracer
        self._runs = runs
        self._failing = _Failing()
        self.on_received: Callable[[Any], None] | None = None
        """Called with every ``Request``; the adapter keeps recent messages for retries."""

    @guard("start of the agent's files")
    def worker_starting(self, sender: Any = None, **_kwargs: Any) -> None:
        """``worker_init``: before the pool is forked."""
        # First: whatever else fails here, the files are claimed before the fork.
        current_host().worker_starting(self._tracer.engine)
        app = getattr(sender, "app", None)
        url = app.conf.broker_url if app is not None else None
        if isinstance(url, (list, tuple)):
            url = url[0] if url else None
        self._runs.broker_scheme = urlsplit(url).scheme.partition("+")[0] if url else "celery"

    @guard("start of the agent")
    def worker_ready(self, sender: Any = None, **_kwargs: Any) -> None:
        """``worker_ready``: the pool is there, threads may start."""
        current_host().worker_ready(self._tracer.engine, sender)

    @guard("stop of the agent")
    def worker_stopped(self, **_kwargs: Any) -> None:
        """``worker_shutdown``: the last task has ended."""
        current_host().worker_stopping()

    @guard("capture of an arrival")
    def received(self, request: Any, **_kwargs: Any) -> None:
        """``task_received``: a message was taken from the queue."""
        self._record_received(request)
        if self.on_received is not None:
            self.on_received(request)

    def _record_received(self, request: Any, **more: Any) -> TaskFacts:
        facts = extract.facts_of_request(self._tracer.engine, request)
        now_ns = self._tracer.now_ns()
        details = extract.received_details(request, now_ns, self._runs.broker_scheme)
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
        facts = extract.facts_of_context(self._tracer.engine, request.id, sender.name, request)
        if not terminated:
            details = {
                "args": request.args,
                "kwargs": request.kwargs,
                "parent_task_id": request.parent_id,
                "root_task_id": request.root_id,
                "synthesised": True,
            }
            self._tracer.record(EventKind.TASK_RECEIVED, facts, details)
        self._record_revoked(facts, terminated=terminated, signum=signum, expired=expired)

    def _record_revoked(
        self, facts: TaskFacts, *, terminated: Any = None, signum: Any = None, expired: Any = None
    ) -> None:
        details: dict[str, Any] = {"terminated": bool(terminated), "expired": bool(expired)}
        if signum is not None:
            details["signum"] = int(signum) if isinstance(signum, int) else str(signum)
        self._tracer.record(EventKind.TASK_REVOKED, facts, details)

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
            request = state.requests.get(task_id)
            if request is not None and request not in state.active_requests:
                self._record_revoked(extract.facts_of_request(self._tracer.engine, request))

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
            return extract.facts_of_context(self._tracer.engine, task_id, task.name, context)
        return TaskFacts(self._tracer.engine, task_id, task.name)

    @guard("capture of a retry")
    def retried(self, sender: Any, request: Any, reason: Any = None, **_kwargs: Any) -> None:
        """``task_retry``: of a run here, or by the main process for a lost child."""
        run = self._runs.running(request.id)
        if run is not None:
            self._runs.retried(run, reason, run.facts.attempt + 1, None)
        elif self._failing.exception is not None:
            facts = extract.facts_of_context(self._tracer.engine, request.id, sender.name, request)
            self._record_redelivery(facts, self._failing.exception)

    def around_failure(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.on_failure``: what a child died of, or raised."""
        failing = self._failing
        exc_info = kwargs.get("exc_info", args[0] if args else None)
        exception = getattr(exc_info, "exception", None)
        failing.exception = getattr(exception, "exc", None) or exception
        failing.request = instance
        failing.is_told = False
        try:
            result = wrapped(*args, **kwargs)
            self._tell_stored_success(instance)
            return result
        finally:
            failing.exception = failing.request = None

    def around_timeout(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Request.on_timeout``: remember the request, Celery forgets it first."""
        self._failing.request = instance
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._failing.request = None

    @guard("capture of a late success")
    def _tell_stored_success(self, request: Any) -> None:
        """A child can be lost after it stored its success: Celery then signals nothing."""
        exception = self._failing.exception
        is_lost = exception is not None and extract.cause_of(exception) is Cause.WORKER_LOST
        if is_lost and not self._failing.is_told:
            facts = extract.facts_of_request(self._tracer.engine, request)
            self._tracer.record(EventKind.TASK_SUCCEEDED, facts, {"worker_lost": True})

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
            details = extract.failure_details(exception)
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
        self._tracer.record(EventKind.TASK_RETRIED, facts, details)

    @guard("capture of an unknown task")
    def unknown(self, message: Any, name: str, id: str, sender: Any = None, **_kwargs: Any) -> None:  # noqa: A002 -- Celery's name
        """``task_unknown``: no such task in this worker."""
        why = (f"NotRegistered: {name!r}", Cause.UNKNOWN_TASK)
        self._record_refused(message, id, name, getattr(sender, "hostname", None), why)

    @guard("capture of an invalid message")
    def invalid(self, message: Any, exc: Any = None, sender: Any = None, **_kwargs: Any) -> None:
        """``task_rejected``: the message cannot be read as a task."""
        headers = getattr(message, "headers", None) or {}
        if isinstance(headers.get("id"), str):
            name = str(headers.get("task", "unknown"))
            text = extract.exception_text(exc)
            worker = getattr(sender, "hostname", None)
            self._record_refused(message, headers["id"], name, worker, (text, Cause.REJECTED))

    def _record_refused(
        self, message: Any, task_id: str, name: str, worker: Any, why: tuple[str, Cause]
    ) -> None:
        exception, cause = why
        headers = {**(message.headers or {}), "id": task_id, "task": name}
        queue = (message.delivery_info or {}).get("routing_key")
        facts = extract.facts_of_headers(self._tracer.engine, headers, queue, worker)
        # The body was never decoded for a task that is not known; its text form is enough.
        received = {"args": headers.get("argsrepr"), "kwargs": headers.get("kwargsrepr")}
        span = extract.remote_span(headers)
        self._tracer.record(EventKind.TASK_RECEIVED, facts, received, span=span)
        failure = {
            "exception": exception,
            "exception_type": exception.partition(":")[0],
            "cause": cause.value,
        }
        self._tracer.record(EventKind.TASK_FAILED, facts, failure, span=span)
