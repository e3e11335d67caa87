"""Spans of runs whose process did not live to end them.

A span that was never ended is never exported: a killed task is missing from every trace.
The agent knows when it started, when and why it ended, and its ids; here it becomes a
finished span with these very ids, so that its parent and its children find it.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from z4j_otel import semconv
from z4j_otel.events import LostSpan

__all__ = ["export_lost_span"]


def export_lost_span(lost: LostSpan, provider: Any = None) -> bool:
    """Hand the span of a killed run to the exporters of the user's provider.

    Args:
        lost: What is known of the span.
        provider: Where it goes; the global provider when None.

    Returns:
        False when there is no SDK provider, or the trace is not sampled.
    """
    provider = provider or trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider) or not lost.is_sampled:
        return False
    # No public way leads a finished span into a provider's processors.
    provider._active_span_processor.on_end(_finished(lost, provider))  # noqa: SLF001 -- see above
    return True


def _finished(lost: LostSpan, provider: TracerProvider) -> ReadableSpan:
    flags = TraceFlags(TraceFlags.SAMPLED)
    trace_id = int(lost.trace_id, 16)
    parent = None
    if lost.parent_span_id:
        parent = SpanContext(
            trace_id, int(lost.parent_span_id, 16), is_remote=True, trace_flags=flags
        )
    return ReadableSpan(
        name=f"run/{lost.task_name}",
        context=SpanContext(trace_id, int(lost.span_id, 16), is_remote=False, trace_flags=flags),
        parent=parent,
        resource=provider.resource,
        attributes={
            semconv.Z4J_CAPTURED: True,
            semconv.Z4J_TASK_NAME: lost.task_name,
            semconv.Z4J_TASK_ATTEMPT: lost.attempt,
            semconv.Z4J_TASK_CAUSE: lost.cause,
            semconv.ERROR_TYPE: lost.error_type,
            semconv.MESSAGING_MESSAGE_ID: lost.task_id,
            semconv.MESSAGING_OPERATION_NAME: "run",
            semconv.MESSAGING_OPERATION_TYPE: "process",
            semconv.MESSAGING_DESTINATION_NAME: lost.queue or "",
            semconv.MESSAGING_CLIENT_ID: lost.worker or "",
        },
        kind=SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR, f"the run ended by {lost.cause}"),
        start_time=lost.started_ns,
        end_time=max(lost.ended_ns, lost.started_ns),
        instrumentation_scope=InstrumentationScope("z4j_otel"),
    )
