"""Lifecycle records to events: names, shapes and times as the brain reads them.

Pure: nothing here redacts, encodes or looks at the clock. The data keys of each kind are
those of the brain's columns (PROTOCOL §5.6) plus what its timeline shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from z4j_otel.clock import iso_utc
from z4j_otel.events import LifecycleRecord, TaskFacts

__all__ = [
    "shared_data",
    "translate",
    "wire_worker_name",
    "without_mono",
    "worker_name_from_wire",
]

MAX_TASK_ID_CHARS = 200
"""Longer ids would be dropped by a PostgreSQL brain (PROTOCOL §5.1)."""

_EMAIL_LIKE_HOST = re.compile(r"@([A-Za-z0-9._%+-]+\.[A-Za-z]{2,})$")
_BRACKETED_HOST = re.compile(r"@\[([^\[\]]+)\]$")


def wire_worker_name(name: str) -> str:
    """Return a worker's name in a form the brain does not take for an e-mail address.

    ``celery@web-01.example.com`` would become ``[REDACTED]`` there, and all such workers
    one row (PROTOCOL §5.2). It is sent as ``celery@[web-01.example.com]``, as mail does
    with literal domains; every other name is sent unchanged.
    """
    return _EMAIL_LIKE_HOST.sub(r"@[\1]", name)


def worker_name_from_wire(name: str) -> str:
    """Return the worker's own name for a name that the brain uses."""
    return _BRACKETED_HOST.sub(r"@\1", name)


def shared_data(
    facts: TaskFacts, *, common: dict[str, Any], name: Callable[[str], str]
) -> dict[str, Any]:
    """Return the data that all events of this task, queue and worker have alike.

    Args:
        facts: Says which task, queue and worker.
        common: Data that every event carries (environment, tags), already redacted.
        name: Redacts one short name.
    """
    return {
        **common,
        "task_name": name(facts.task_name),
        "queue": facts.queue and name(facts.queue),
        "worker": facts.worker and name(wire_worker_name(facts.worker)),
    }


def translate(
    record: LifecycleRecord, *, event_id: str, shared: dict[str, Any], details: dict[str, Any]
) -> dict[str, Any]:
    """Build the event object of a record (PROTOCOL §5.1).

    Args:
        record: What was observed.
        event_id: The event's own id, a version 4 UUID.
        shared: What :func:`shared_data` returned for the record's facts.
        details: The record's details, already redacted.

    Returns:
        The event, ready to be encoded.
    """
    facts = record.facts
    data = {**details, **shared, "attempt": facts.attempt}
    span = record.span
    if span is not None:
        data["trace_id"] = f"{span.trace_id:032x}"
        data["span_id"] = f"{span.span_id:016x}"
        data["trace_sampled"] = span.is_sampled
        if span.parent_span_id:
            data["parent_span_id"] = f"{span.parent_span_id:016x}"
    return {
        "id": event_id,
        "kind": record.kind.value,
        "engine": facts.engine,
        # Applications pass UUID objects and numbers as task ids, and Celery lets them.
        "task_id": str(facts.task_id)[:MAX_TASK_ID_CHARS],
        "occurred_at": iso_utc(record.occurred_at_ns),
        "data": data,
    }


# In canonical order only "occurred_at" and "task_id" come behind it. Their values hold no
# unescaped quote, so the last match is the key itself.
_MONO_KEY = b'"mono_ns":'


def without_mono(event: bytes) -> bytes:
    """Return an encoded event without the machine's monotonic clock.

    ``mono_ns`` is in the event on its way from a task's process to the agent only. Two
    processes of a machine have the same clock, and nobody sets it: with it the agent tells
    durations truly when the wall clock is set while a task runs.
    """
    before, _, after = event.rpartition(_MONO_KEY)
    return before + after.partition(b",")[2]
