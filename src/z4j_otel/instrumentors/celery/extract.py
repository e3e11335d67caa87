"""What Celery's objects say, as task facts: the only place that knows their attributes.

Everything here takes an object of Celery's (a worker's ``Request``, a task's ``Context``,
the arguments of a signal) and returns plain values. Nothing is decoded that Celery has not
decoded already, and nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from z4j_otel.events import Cause, SpanIds, TaskFacts

__all__ = [
    "SENT_AT_HEADER",
    "cause_of",
    "exception_text",
    "facts_of_context",
    "facts_of_headers",
    "facts_of_request",
    "failure_details",
    "priority_label",
    "received_details",
    "registered_task",
    "remote_span",
    "sent_details",
]

SENT_AT_HEADER = "z4j_sent_ns"
"""Message header with the publisher's clock, nanoseconds; gives ``queue_wait_ms``."""

_REDIS_LIKE = ("redis", "rediss", "sentinel", "valkey")
_TRACEPARENT = re.compile(
    r"\s*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\s*\Z"
)


def facts_of_request(engine: str, request: Any) -> TaskFacts:
    """Read a worker's ``Request``, in the worker's main process."""
    headers = request.request_dict
    return TaskFacts(
        engine,
        request.id,
        request.name,
        _text(request.delivery_info.get("routing_key")),
        request.hostname,
        _count(headers.get("retries")),
    )


def facts_of_context(engine: str, task_id: str, task_name: str, context: Any) -> TaskFacts:
    """Read the ``Context`` a task runs in, in the process that executes it."""
    delivery = context.delivery_info or {}
    return TaskFacts(
        engine,
        task_id,
        task_name,
        _text(delivery.get("routing_key")),
        context.hostname,
        _count(context.retries),
    )


def facts_of_headers(
    engine: str, headers: Mapping[str, Any], queue: str | None, worker: str | None = None
) -> TaskFacts:
    """Read a message's headers (protocol 2), at the publisher or for an unknown task."""
    return TaskFacts(
        engine,
        str(headers.get("id", "")),
        str(headers.get("task", "unknown")),
        queue,
        worker,
        _count(headers.get("retries")),
    )


def received_details(request: Any, now_ns: int, broker_scheme: str) -> dict[str, Any]:
    """Return what a ``task.received`` has beyond the facts."""
    headers = request.request_dict
    details: dict[str, Any] = {
        "args": headers.get("args"),
        "kwargs": headers.get("kwargs"),
        "parent_task_id": headers.get("parent_id"),
        "root_task_id": headers.get("root_id"),
    }
    _add(details, "group_id", headers.get("group"))
    _add(details, "eta", _iso(request.eta))
    _add(details, "expires", _iso(request.expires))
    _add(details, "priority", priority_label(request.delivery_info.get("priority"), broker_scheme))
    sent_ns = headers.get(SENT_AT_HEADER)
    if type(sent_ns) is int:
        # Clocks of two machines may disagree; a negative wait is no information.
        details["queue_wait_ms"] = max(0, (now_ns - sent_ns) // 1_000_000)
    if request.delivery_info.get("redelivered"):
        details["redelivered"] = True
    return details


def sent_details(
    headers: Mapping[str, Any], body: Any, properties: Mapping[str, Any], broker_scheme: str
) -> dict[str, Any]:
    """Return what a ``task.sent`` has beyond the facts."""
    details: dict[str, Any] = {}
    if type(body) in (tuple, list) and len(body) == 3:  # noqa: PLR2004 -- protocol 2: args, kwargs, embed
        details["args"], details["kwargs"], _ = body
    for key, header in (
        ("parent_task_id", "parent_id"),
        ("root_task_id", "root_id"),
        ("group_id", "group"),
    ):
        _add(details, key, headers.get(header))
    _add(details, "eta", _iso(headers.get("eta")))
    _add(details, "expires", _iso(headers.get("expires")))
    _add(details, "priority", priority_label(properties.get("priority"), broker_scheme))
    return details


def priority_label(priority: Any, broker_scheme: str) -> str | None:
    """Return the brain's label for a message priority, or None when none is set.

    On Redis a smaller number comes first, on AMQP a larger one. Kombu's own transports
    write 0 where the publisher said nothing, so 0 says nothing.
    """
    if type(priority) is not int or priority == 0:
        return None
    urgency = 9 - priority if broker_scheme in _REDIS_LIKE else priority
    if urgency >= 9:  # noqa: PLR2004 -- AMQP's scale of 0 to 9, as the labels are laid on it
        return "critical"
    if urgency >= 6:  # noqa: PLR2004 -- see above
        return "high"
    return "normal" if urgency >= 3 else "low"  # noqa: PLR2004 -- see above


def cause_of(exception: BaseException) -> Cause:
    """Return why a task failed, by the exception that Celery gives."""
    name = type(exception).__name__
    if name == "SoftTimeLimitExceeded":
        return Cause.SOFT_TIME_LIMIT
    if name == "TimeLimitExceeded":
        return Cause.TIME_LIMIT
    if name == "WorkerLostError":
        return Cause.WORKER_LOST
    if name == "Reject":
        return Cause.REJECTED
    if name == "NotRegistered":
        return Cause.UNKNOWN_TASK
    return Cause.EXCEPTION


def failure_details(exception: BaseException, cause: Cause | None = None) -> dict[str, Any]:
    """Return what a ``task.failed`` has of its exception; the cause follows from it."""
    return {
        "exception": exception_text(exception),
        "exception_type": type(exception).__name__,
        "cause": (cause or cause_of(exception)).value,
    }


def exception_text(exception: BaseException) -> str:
    """Return ``Class: message``, the form the brain groups failures by (PROTOCOL §5.8).

    The message comes from the exception's own ``__str__``, which is the application's
    code; the caller is guarded, and a failing one leaves the class name alone.
    """
    inner = getattr(exception, "exc", None)
    if type(exception).__name__ == "ExceptionWithTraceback" and inner is not None:
        exception = inner
    name = type(exception).__name__
    reason = getattr(exception, "reason", None) if name == "Reject" else None
    try:
        message = str(reason or exception)
    except Exception:  # noqa: BLE001 -- a foreign __str__ may do anything
        return name
    if message.startswith(f"{name}("):
        return message
    return f"{name}: {message}" if message else name


def registered_task(name: Any) -> Any:
    """Return the task of this name in the current application, or None."""
    from celery import current_app  # noqa: PLC0415 -- Celery is an extra

    return current_app.tasks.get(name) if isinstance(name, str) else None


def remote_span(headers: Mapping[str, Any]) -> SpanIds | None:
    """Return the span that a message's ``traceparent`` names: the one that sent it."""
    traceparent = headers.get("traceparent")
    if not isinstance(traceparent, str):
        return None
    # As OpenTelemetry's propagator reads it, at a third of the price: it runs per message.
    found = _TRACEPARENT.match(traceparent)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == "ff" or (version == "00" and more) or not trace_id or not span_id:
        return None
    return SpanIds(trace_id, span_id, 0, bool(int(flags, 16) & 1))


def _add(details: dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        details[key] = value


def _iso(moment: Any) -> str | None:
    if isinstance(moment, datetime):
        return moment.isoformat()
    return moment if isinstance(moment, str) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
