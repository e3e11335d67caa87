"""The publishing of tasks, in any process."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

from z4j_otel.events import EventKind, SpanIds, TaskFacts
from z4j_otel.guard import guard, note_failure
from z4j_otel.instrumentors.celery import extract, instances, policies, upstream
from z4j_otel.instrumentors.celery.beat_runs import name_schedule
from z4j_otel.instrumentors.celery.runs import RunCapture
from z4j_otel.instrumentors.tracing import (
    TaskTracer,
    message_span_ids,
    span_ids_of_current,
)
from z4j_otel.task_policies import in_use

__all__ = ["PublisherCapture"]

_WHAT = "capture of a publish"
_Begun: TypeAlias = tuple[dict[str, Any], TaskFacts, dict[str, Any], SpanIds | None]
"""A publish that has begun: its message's headers, and what ``task.sent`` will say."""


class PublisherCapture:
    """What leaves this process: ``task.sent``, once the broker has it."""

    def __init__(self, tracer: TaskTracer, runs: RunCapture) -> None:
        # The proxy `celery.current_app` takes four times as long (2.4 against 0.6 µs).
        from celery._state import get_current_app  # noqa: PLC0415 -- Celery is an extra

        self._tracer = tracer
        self._runs = runs
        self._current_app = get_current_app
        self._has_looked = False
        # One of each thread or greenlet: Celery says nothing of a publish that failed, which
        # would otherwise keep its arguments alive for as long as the broker is away.
        self._begun: ContextVar[_Begun | None] = ContextVar("z4j_publish", default=None)

    def around_send(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """``Celery.send_task``: note whose publish it is; a failed one leaves nothing behind.

        Nor does it hide an outer one. Whoever publishes without it leaves one publish behind
        in each of his threads.
        """
        app_token = instances.publishing_app.set(instance)
        token = self._begun.set(None)
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._begun.reset(token)
            instances.publishing_app.reset(app_token)

    def before_publish(
        self,
        *,
        headers: dict[str, Any] | None = None,
        body: Any = None,
        exchange: Any = None,
        routing_key: str | None = None,
        properties: dict[str, Any] | None = None,
        declare: Any = (),
        sender: Any = None,
        **_kwargs: Any,
    ) -> None:
        """``before_task_publish``: note what goes out, and when."""
        if headers is None:
            return
        try:
            told = extract.headers_of_publish(headers, body)
            if told is None:
                return
            if not self._has_looked:
                self._learn_scheme()
            self._hand_over(told)
            # Upstream knows protocol 1 by its empty headers, when it ends its span.
            if headers:
                headers[extract.SENT_AT_HEADER] = self._tracer.now_ns()
                name_schedule(headers)
                if in_use and policies.hides_arguments(sender):
                    headers[policies.HIDDEN_HEADER] = True
            queue = extract.queue_of_publish(exchange, routing_key, declare)
            engine = instances.name_of_publisher(self._tracer.engine)
            facts = extract.facts_of_headers(engine, told, queue)
            span = self._annotate(sender, facts)
            scheme = self._runs.broker_scheme
            details = extract.sent_details(told, body, properties or {}, scheme)
            self._begun.set((headers, facts, details, span))
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure(_WHAT, error)

    @guard("look for the broker's kind")
    def _learn_scheme(self) -> None:
        """Find out which kind of broker this process publishes to; a worker has said so.

        On Redis a priority means the opposite of what it means on AMQP.
        """
        self._has_looked = True
        app = None if self._runs.main_pid else instances.app_of_publisher()
        if app is not None:
            self._runs.broker_scheme = extract.broker_scheme_of(app)

    def _hand_over(self, headers: Mapping[str, Any]) -> None:
        """Record the end of a run that publishes its own id again."""
        run = self._runs.running(headers["id"])
        if run is not None:
            self._runs.handed_over(run, headers)

    def _annotate(self, task_name: Any, facts: TaskFacts) -> SpanIds | None:
        """Mark upstream's span and return its ids, as the message carries them.

        Upstream keeps the spans of tasks that are registered here.
        """
        task = self._current_app().tasks.get(task_name)
        span = upstream.span_of(task, facts.task_id, is_publish=True)
        if span is None:
            return None
        upstream.annotate(span, facts, self._runs.broker_scheme, is_publish=True)
        return message_span_ids(span)

    def after_publish(self, headers: dict[str, Any] | None = None, **_kwargs: Any) -> None:
        """``after_task_publish``: the broker took it."""
        try:
            begun = self._begun.get()
            # Celery gives both signals the same headers.
            if begun is None or begun[0] is not headers:
                return
            self._begun.set(None)
            _, facts, details, span = begun
            span = span or extract.remote_span(headers) or span_ids_of_current()
            self._tracer.record(EventKind.TASK_SENT, facts, details, span=span)
        except Exception as error:  # noqa: BLE001 -- the guard, see z4j_otel.guard
            note_failure(_WHAT, error)
