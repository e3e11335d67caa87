"""The upstream Celery instrumentation, as we find it: its activation and its spans.

Celery's spans are made by ``opentelemetry-instrumentation-celery``; users know them and
build dashboards on them. Nothing here makes a second span. What upstream lacks is added to
its spans, and what it gets wrong is put right:

* worker name: ``celery.hostname`` would be the publisher's;
* messaging attributes of today's conventions, ``error.type`` on every failure;
* a task that is being killed: upstream ends its span as if nothing had happened. Here it
  is left open; the agent reports the step with its true cause and the same ids.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode

from z4j_otel.events import TaskFacts
from z4j_otel.semconv import (
    ERROR_TYPE,
    MESSAGING_CLIENT_ID,
    MESSAGING_DESTINATION_NAME,
    MESSAGING_MESSAGE_ID,
    MESSAGING_OPERATION_NAME,
    MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
    Z4J_CAPTURED,
    Z4J_TASK_ATTEMPT,
    Z4J_TASK_CAUSE,
)

__all__ = [
    "activate",
    "annotate",
    "leave_open",
    "mark_failed",
    "repair_waiting",
    "repair_worker_name",
    "span_of",
]

_left_open: list[Any] = []
"""What belongs to spans that are not to be ended; this process is about to die."""
_RUN = {
    Z4J_CAPTURED: True,
    MESSAGING_OPERATION_NAME: "run",
    MESSAGING_OPERATION_TYPE: "process",
}
_PUBLISH = {
    Z4J_CAPTURED: True,
    MESSAGING_OPERATION_NAME: "publish",
    MESSAGING_OPERATION_TYPE: "send",
}
_UTILS = "opentelemetry.instrumentation.celery.utils"


def activate(**kwargs: Any) -> bool:
    """Activate upstream unless it is active, not installed or disabled by the user.

    Args:
        kwargs: What ``instrument()`` takes, for example ``tracer_provider``.

    Returns:
        Whether upstream is active now.
    """
    names = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    if {"celery", "*"} & {name.strip() for name in names}:
        return False
    try:
        upstream: Any = import_module("opentelemetry.instrumentation.celery")
    except ImportError:
        return False
    instrumentor = upstream.CeleryInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(**kwargs)
    return True


def repair_worker_name() -> None:
    """Make upstream's ``celery.hostname`` the worker's name; repeating it is harmless.

    Upstream writes a message's ``origin``, the publisher, over the worker's ``hostname``.
    Its list of what to write is looked up at every span; without ``origin`` it is right.
    """
    try:
        utils: Any = import_module(_UTILS)
    except ImportError:
        return
    names = getattr(utils, "CELERY_CONTEXT_ATTRIBUTES", ())
    utils.CELERY_CONTEXT_ATTRIBUTES = tuple(name for name in names if name != "origin")


def repair_waiting() -> None:
    """Let kombu wait as the worker's pool needs it; repeating it is harmless.

    ``opentelemetry-instrument`` imports kombu before Celery has patched the standard library
    for gevent or eventlet. Kombu then holds on to the real ``select``, and the greenlet that
    waits for Redis stops all others, with or without us.
    """
    eventio: Any = sys.modules.get("kombu.utils.eventio")
    if eventio is not None and hasattr(eventio, "_selectf"):
        eventio._selectf = select.select  # noqa: SLF001 -- the patched one, if there is one


def span_of(task: Any, task_id: str, *, is_publish: bool = False) -> Span | None:
    """Return the span upstream has open for this run or publish, or None."""
    spans = getattr(task, "__otel_task_span", None)
    found = spans.get((task_id, is_publish)) if spans else None
    return found[0] if found else None


def annotate(span: Span, facts: TaskFacts, system: str, *, is_publish: bool = False) -> None:
    """Add what upstream leaves out, and mark the span as captured in its process."""
    if not span.is_recording():
        return
    attributes: dict[str, Any] = {
        **(_PUBLISH if is_publish else _RUN),
        Z4J_TASK_ATTEMPT: facts.attempt,
        MESSAGING_SYSTEM: system,
        MESSAGING_DESTINATION_NAME: facts.queue or "",
        MESSAGING_CLIENT_ID: facts.worker or "",
        MESSAGING_MESSAGE_ID: facts.task_id,
    }
    if type(facts.task_id) is not str or not _add_clean(span, attributes):
        span.set_attributes(attributes)


def _add_clean(span: Span, attributes: dict[str, Any]) -> bool:
    """Add attributes that need no cleaning to a span that has room for them; False if not so.

    The SDK looks at each key and value, and at two abstract classes for each: a fourth of
    what our hooks cost in the run of a task. These are its own types already, all of them.
    """
    try:
        kept: Any = span._attributes  # type: ignore[attr-defined] # noqa: SLF001 -- no public way
        known, most = kept._dict, kept.maxlen  # noqa: SLF001 -- as above
        is_free = kept.max_value_len is None and (
            most is None or len(known) + len(attributes) <= most
        )
    except AttributeError:
        return False
    if not is_free or type(kept) is not BoundedAttributes or type(known) is not dict:
        return False
    # One step for all other threads, as the SDK's lock would make it.
    known.update(attributes)
    return True


def mark_failed(span: Span, error_type: str, cause: str) -> None:
    """Give the span the status of a failure and say why."""
    if span.is_recording():
        span.set_attribute(ERROR_TYPE, error_type)
        span.set_attribute(Z4J_TASK_CAUSE, cause)
        span.set_status(Status(StatusCode.ERROR))


def leave_open(task: Any, task_id: str) -> None:
    """Keep upstream from ending the span of a run that is being killed.

    A no-op takes the span's place, so that upstream's own handler finds what it expects.
    """
    spans = getattr(task, "__otel_task_span", None)
    if spans and (task_id, False) in spans:
        # Garbage collection of the activation would end the span as well.
        _left_open.append(spans[task_id, False])
        spans[task_id, False] = (INVALID_SPAN, nullcontext(), None)
