"""The capture point of an engine: steps in, lifecycle records out.

Records do not depend on sampling, on an SDK being configured or on a span ever ending:
they are made from what the engine says, and carry the span's ids where there is a span.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import (
    Span,
    SpanContext,
    TraceFlags,
    get_current_span,
    get_tracer_provider,
)

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.events import EventKind, LifecycleRecord, RecordSink, SpanIds, TaskFacts
from z4j_otel.sinks import current_sink

__all__ = ["TaskTracer", "flush_spans", "message_span_ids", "span_ids", "span_ids_of_current"]


class TaskTracer:
    """Turns the steps of one engine's tasks into lifecycle records."""

    def __init__(
        self,
        engine: str,
        *,
        sink: Callable[[], RecordSink | None] = current_sink,
        clock: Clock | None = None,
    ) -> None:
        """Build a tracer.

        Args:
            engine: Name of the engine, or of its instance.
            sink: Gives the process's sink, or None when z4j is not configured.
            clock: Where the time of a step comes from.
        """
        self.engine = engine
        self._sink = sink
        self._clock = clock or SystemClock()

    def now_ns(self) -> int:
        """Return the wall clock, nanoseconds since the Unix epoch."""
        return self._clock.now_ns()

    def record(
        self,
        kind: EventKind,
        facts: TaskFacts,
        details: dict[str, Any],
        *,
        span: SpanIds | None = None,
        at_ns: int | None = None,
    ) -> None:
        """Report that a step happened, now or at ``at_ns``."""
        sink = self._sink()
        if sink is not None:
            moment = self._clock.now_ns() if at_ns is None else at_ns
            sink.emit(LifecycleRecord(kind, facts, moment, details, span))


def flush_spans(timeout_s: float) -> None:
    """Give the application's exporters a moment, at most ``timeout_s`` seconds.

    For a process that is about to end without them. The SDK's own ``force_flush`` does not
    keep its deadline, so it gets a thread that may be left behind.
    """
    flush = getattr(get_tracer_provider(), "force_flush", None)
    if flush is None:
        return
    thread = threading.Thread(target=flush, name="z4j-flush-spans", daemon=True)
    thread.start()
    thread.join(timeout_s)


def span_ids(span: Span) -> SpanIds | None:
    """Return the ids of a span, or None for a span that does not exist."""
    # A span's context is a tuple; its properties cost a call each.
    trace_id, span_id, _, flags, _, is_valid = span.get_span_context()
    if not is_valid:
        return None
    # Only the SDK's spans know their parent; the API's do not.
    parent: SpanContext | None = getattr(span, "parent", None)
    parent_id = 0 if parent is None else parent.span_id
    return SpanIds(trace_id, span_id, parent_id, bool(flags & TraceFlags.SAMPLED))


def message_span_ids(span: Span) -> SpanIds | None:
    """Return what a message says of the span that sent it: its ids, and not its parent's."""
    trace_id, span_id, _, flags, _, is_valid = span.get_span_context()
    return SpanIds(trace_id, span_id, 0, bool(flags & TraceFlags.SAMPLED)) if is_valid else None


def span_ids_of_current() -> SpanIds | None:
    """Return the ids of the span that is active here, if any."""
    return span_ids(get_current_span())
