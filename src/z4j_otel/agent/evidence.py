"""What an event says that matters for its story, and the small changes made to its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from z4j_otel.agent.story import Run, Witness
from z4j_otel.events import LostSpan
from z4j_otel.wire import canonical

__all__ = [
    "Data",
    "Head",
    "decode_head",
    "lost_span",
    "run_of",
    "with_data",
    "with_prefetch_wait",
    "with_time",
    "witness_of",
]


class Data(msgspec.Struct, frozen=True, gc=False):
    """What matters of an event's data."""

    attempt: int = 0
    pid: int = 0
    synthesised: bool = False
    inferred: bool = False
    terminated: bool = False
    acks_late: bool = False
    cause: str = ""
    runtime_ms: int | None = None
    task_name: str = ""
    queue: str | None = None
    worker: str | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    trace_sampled: bool = False
    exception_type: str = ""
    schedule: str = ""


class Head(msgspec.Struct, gc=False):
    """What matters of an event."""

    kind: str
    engine: str
    task_id: str
    occurred_at: str
    mono_ns: int = 0
    data: Data = Data()


decode_head: Final[Callable[[bytes], Head]] = msgspec.json.Decoder(Head).decode


def witness_of(head: Head, source: str, at_ns: int) -> Witness:
    """Return who says it, by the event and the journal it stood in."""
    data = head.data
    # What was inferred says nothing of the time between: nobody was there.
    mono_ns = 0 if data.inferred else head.mono_ns
    return Witness(source, data.attempt, data.pid, data.worker, data.span_id, at_ns, mono_ns)


def run_of(data: Data, who: Witness) -> Run:
    """Return the run that a start begins."""
    return Run(
        source=who.source,
        attempt=who.attempt,
        started_ns=who.at_ns,
        mono_ns=who.mono_ns,
        pid=who.pid,
        worker=who.worker,
        task_name=data.task_name,
        queue=data.queue,
        trace_id=data.trace_id,
        span_id=data.span_id,
        parent_span_id=data.parent_span_id,
        is_sampled=data.trace_sampled,
        is_redelivered=data.acks_late,
    )


def with_prefetch_wait(event: bytes, wait_ms: int) -> bytes:
    """Add to a start how long the task waited in the worker, milliseconds."""
    # Canonical order puts the new key right before "queue"; the quote in front of the
    # colon is unescaped only where a key ends, so the first match is the key itself.
    before, found, after = event.partition(b'"queue":')
    return before + b'"prefetch_wait_ms":%d,' % wait_ms + found + after if found else event


def with_data(event: bytes, more: dict[str, object]) -> bytes:
    """Add to an event's data."""
    value = canonical.decode(event)
    value["data"].update(more)
    return canonical.encode(value)


def with_time(event: bytes, occurred_at: str) -> bytes:
    """Replace an event's time."""
    value = canonical.decode(event)
    value["occurred_at"] = occurred_at
    return canonical.encode(value)


def lost_span(head: Head, run: Run, ended_ns: int) -> LostSpan:
    """Return the span of a run that another process ended."""
    return LostSpan(
        task_id=head.task_id,
        task_name=run.task_name,
        queue=run.queue,
        worker=run.worker,
        attempt=run.attempt,
        trace_id=run.trace_id,
        span_id=run.span_id,
        parent_span_id=run.parent_span_id,
        is_sampled=run.is_sampled,
        started_ns=run.started_ns,
        ended_ns=ended_ns,
        cause="revoked" if head.data.terminated else head.data.cause or "worker_lost",
        error_type=head.data.exception_type or "Terminated",
    )
