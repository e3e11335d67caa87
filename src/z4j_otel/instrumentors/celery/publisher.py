"""The publishing of tasks, in any process."""

from __future__ import annotations

from typing import Any

from z4j_otel.events import EventKind, TaskFacts
from z4j_otel.guard import guard
from z4j_otel.instrumentors.celery import extract, upstream
from z4j_otel.instrumentors.celery.runs import RunCapture
from z4j_otel.instrumentors.tracing import TaskTracer, span_ids_of_current

__all__ = ["PublisherCapture"]

_MOST_PENDING = 1000
"""Publishes begun and not ended; more than this are publishes that failed."""


class PublisherCapture:
    """What leaves this process: ``task.sent``, once the broker has it."""

    def __init__(self, tracer: TaskTracer, runs: RunCapture) -> None:
        self._tracer = tracer
        self._runs = runs
        self._pending: dict[str, tuple[TaskFacts, dict[str, Any]]] = {}

    @guard("capture of a publish")
    def before_publish(
        self,
        *,
        headers: dict[str, Any] | None = None,
        body: Any = None,
        routing_key: str | None = None,
        properties: dict[str, Any] | None = None,
        declare: Any = (),
        sender: Any = None,
        **_kwargs: Any,
    ) -> None:
        """``before_task_publish``: note what goes out, and when."""
        if not headers or "id" not in headers:
            return
        run = self._runs.running(headers["id"])
        if run is not None:
            self._runs.handed_over(run, headers)
        headers[extract.SENT_AT_HEADER] = self._tracer.now_ns()
        queue = getattr(declare[0], "name", routing_key) if declare else routing_key
        facts = extract.facts_of_headers(self._tracer.engine, headers, queue)
        self._annotate(sender, facts)
        details = extract.sent_details(headers, body, properties or {}, self._runs.broker_scheme)
        if len(self._pending) >= _MOST_PENDING:
            self._pending.clear()
        self._pending[facts.task_id] = (facts, details)

    def _annotate(self, task_name: Any, facts: TaskFacts) -> None:
        """Mark upstream's span; it keeps those of tasks that are registered here."""
        task = extract.registered_task(task_name)
        span = upstream.span_of(task, facts.task_id, is_publish=True)
        if span is not None:
            upstream.annotate(span, facts, self._runs.broker_scheme, is_publish=True)

    @guard("capture of a publish")
    def after_publish(self, headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
        """``after_task_publish``: the broker took it."""
        pending = self._pending.pop(str(headers.get("id", "")), None) if headers else None
        if pending is None or headers is None:
            return
        facts, details = pending
        span = extract.remote_span(headers) or span_ids_of_current()
        self._tracer.record(EventKind.TASK_SENT, facts, details, span=span)
