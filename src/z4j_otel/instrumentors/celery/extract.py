"""What Celery's objects say, as task facts: the only place that knows their attributes.

Everything here takes an object of Celery's (a worker's ``Request``, a task's ``Context``,
the arguments of a signal) and returns plain values. Nothing is decoded that Celery has not
decoded already, and nothing is changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from z4j_otel.events import Cause, SpanIds, TaskFacts
from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.beat_runs import SCHEDULE_HEADER, schedule_of

__all__ = [
    "SENT_AT_HEADER",
    "broker_scheme_of",
    "cause_of",
    "eager_details",
    "exception_text",
    "facts_of_context",
    "facts_of_headers",
    "facts_of_request",
    "failure_details",
    "hard_limit_behind",
    "has_stamp",
    "headers_of_publish",
    "priority_label",
    "process_of",
    "queue_of",
    "queue_of_publish",
    "received_details",
    "remote_span",
    "revoked_details",
    "sent_details",
]

SENT_AT_HEADER = "z4j_sent_ns"
"""Message header with the publisher's clock, nanoseconds; gives ``queue_wait_ms``."""

_REDIS_LIKE = ("redis", "rediss", "sentinel", "valkey")
_GREATEST_PID = 2**22
"""Of Linux; other systems have lesser ones."""
_DELAYS = re.compile(r"(?:[01]\.){28}")
"""What RabbitMQ's native delayed delivery puts before a routing key: the seconds, in bits."""
_STAND_IN = "UnpickleableExceptionWrapper"
"""What Celery makes of an exception that cannot leave its process."""
_SAMPLED_DIGITS = "13579bdf"
_OPTIONAL_HEADERS = (("group", "group_id"), ("shadow", "shadow"))
_USUAL_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_TRACEPARENT = re.compile(
    r"\s*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\s*\Z"
)


def facts_of_request(engine: str, request: Any) -> TaskFacts:
    """Read a worker's ``Request``, in the worker's main process."""
    headers = request.request_dict
    retries = headers.get("retries")
    return TaskFacts(
        instances.name_for(request, engine),
        request.id,
        # Its own name; `request.name` may be one for the log (`shadow`).
        str(headers.get("task") or request.name),
        queue_of(request.delivery_info),
        request.hostname,
        _count(retries) if retries else 0,
    )


def facts_of_context(engine: str, task_id: str, task: Any, context: Any) -> TaskFacts:
    """Read the ``Context`` a task runs in, in the process that executes it."""
    delivery = context.delivery_info or {}
    return TaskFacts(
        instances.name_for(task, engine),
        task_id,
        task.name,
        queue_of(delivery),
        context.hostname,
        _count(context.retries) if context.retries else 0,
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


def headers_of_publish(headers: Mapping[str, Any], body: Any) -> Mapping[str, Any] | None:
    """Return what a published message says of its task, as protocol 2 has it in its headers.

    With ``task_protocol=1`` its body says it. None for what is no task's message.
    """
    if "id" in headers:
        return headers
    if type(body) is not dict or "id" not in body:
        return None
    return {**body, "eta": _iso(body.get("eta"))}


def received_details(request: Any, now_ns: int, broker_scheme: str) -> dict[str, Any]:
    """Return what a ``task.received`` has beyond the facts."""
    headers = request.request_dict
    details: dict[str, Any] = {
        "args": headers.get("args"),
        "kwargs": headers.get("kwargs"),
        "parent_task_id": headers.get("parent_id"),
        "root_task_id": headers.get("root_id"),
    }
    # This runs for every message: no call for what most of them do not have.
    for header, key in _OPTIONAL_HEADERS:
        value = headers.get(header)
        if value is not None:
            details[key] = value
    if SCHEDULE_HEADER in headers:
        _add(details, "schedule", schedule_of(headers))
    if headers.get("eta") is not None:
        _add(details, "eta", _iso(request.eta))
    if headers.get("expires") is not None:
        _add(details, "expires", _iso(request.expires))
    delivery = request.delivery_info
    priority = delivery.get("priority")
    if priority:
        _add(details, "priority", priority_label(priority, broker_scheme))
    sent_ns = headers.get(SENT_AT_HEADER)
    if type(sent_ns) is int:
        # Clocks of two machines may disagree; a negative wait is no information.
        details["queue_wait_ms"] = max(0, (now_ns - sent_ns) // 1_000_000)
    if delivery.get("redelivered"):
        details["redelivered"] = True
    return details


def eager_details(context: Any) -> dict[str, Any]:
    """Return what the ``task.received`` of a task has that is called in place."""
    return {
        "args": context.args,
        "kwargs": context.kwargs,
        "parent_task_id": context.parent_id,
        "root_task_id": context.root_id,
        "eager": True,
    }


def sent_details(
    headers: Mapping[str, Any], body: Any, properties: Mapping[str, Any], broker_scheme: str
) -> dict[str, Any]:
    """Return what a ``task.sent`` has beyond the facts."""
    details: dict[str, Any] = {}
    if type(body) in (tuple, list) and len(body) == 3:  # noqa: PLR2004 -- protocol 2: args, kwargs, embed
        details["args"], details["kwargs"], _ = body
    elif type(body) is dict:  # protocol 1
        details["args"], details["kwargs"] = body.get("args"), body.get("kwargs")
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


def broker_scheme_of(app: Any) -> str:
    """Return which kind of broker an app has: ``redis``, ``amqp``; of several the first."""
    url = app.conf.broker_url if app is not None else None
    if isinstance(url, (list, tuple)):
        url = url[0] if url else None
    return urlsplit(url).scheme.partition("+")[0] if url else "celery"


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


def queue_of(delivery_info: Mapping[str, Any]) -> str | None:
    """Return the queue that a message came from, as its routing key tells it."""
    routing_key = delivery_info.get("routing_key")
    if not isinstance(routing_key, str) or not routing_key:
        return None
    if not routing_key.startswith(("0.", "1.")):
        return routing_key
    return _DELAYS.sub("", routing_key, count=1) or None


def queue_of_publish(exchange: Any, routing_key: Any, declare: Any) -> str | None:
    """Return the queue that a publish goes to: the declared one, or what the routing key tells.

    A publish with an exchange of its own still declares the default queue, which gets nothing.
    The exchange is an ``Exchange``, its name, or None where it is not known.
    """
    if exchange == "":
        # The nameless exchange knows every queue by its name.
        return _text(routing_key)
    queue = declare[0] if declare else None
    if exchange is not None and queue is not None:
        bound = getattr(getattr(queue, "exchange", None), "name", None)
        if bound != getattr(exchange, "name", exchange):
            queue = None
    return getattr(queue, "name", None) or queue_of({"routing_key": routing_key})


def cause_of(exception: BaseException) -> Cause:
    """Return why a task failed, by the exception that Celery gives."""
    name = _class_name(exception)
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
        "exception_type": _class_name(_unwrapped(exception)),
        "cause": (cause or cause_of(exception)).value,
    }


def process_of(request: Any) -> dict[str, int]:
    """Return which process ran a request, so that its end finds its run among several."""
    pid = getattr(request, "worker_pid", None)
    if not isinstance(pid, int):
        return {}
    # Pools of greenlets put the number of a greenlet there, an address in this process.
    return {"pid": pid if pid <= _GREATEST_PID else os.getpid()}


def hard_limit_behind(exception: BaseException, task: Any) -> Exception | None:
    """Return what Celery makes of a greenlet's time-out: its own hard time limit exceeded.

    Celery's gevent pool enforces the limit with gevent's ``Timeout``, which unwinds the
    task. None for every other exception, and for a task without a limit.
    """
    kind = type(exception)
    if kind.__name__ != "Timeout" or kind.__module__.partition(".")[0] != "gevent":
        return None
    limit_s = (task.request.timelimit or (None,))[0] or task.time_limit
    if not limit_s:
        return None
    from billiard.exceptions import TimeLimitExceeded  # noqa: PLC0415 -- comes with Celery

    exceeded: Exception = TimeLimitExceeded(limit_s)
    return exceeded


def revoked_details(
    *, terminated: Any = None, signum: Any = None, expired: Any = None
) -> dict[str, Any]:
    """Return what a ``task.revoked`` has beyond the facts."""
    details: dict[str, Any] = {"terminated": bool(terminated), "expired": bool(expired)}
    if signum is not None:
        details["signum"] = int(signum) if isinstance(signum, int) else str(signum)
    return details


def exception_text(exception: BaseException) -> str:
    """Return ``Class: message``, the form the brain groups failures by (PROTOCOL §5.8).

    The message comes from the exception's own ``__str__``, which is the application's
    code; the caller is guarded, and a failing one leaves the class name alone.
    """
    exception = _unwrapped(exception)
    name = _class_name(exception)
    try:
        message = _message(exception, name)
    except Exception:  # noqa: BLE001 -- a foreign __str__ may do anything
        return name
    if message.startswith(f"{name}("):
        return message
    return f"{name}: {message}" if message else name


def _unwrapped(exception: BaseException) -> BaseException:
    """Return what a task raised, where Celery has put it into something of its own."""
    inner = getattr(exception, "exc", None)
    is_wrapper = type(exception).__name__ == "ExceptionWithTraceback"
    return inner if is_wrapper and isinstance(inner, BaseException) else exception


def _class_name(exception: BaseException) -> str:
    """Return the name of an exception's class, also of one that could not be pickled."""
    name = type(exception).__name__
    if name == _STAND_IN:
        return str(getattr(exception, "exc_cls_name", name))
    return name


def _message(exception: BaseException, name: str) -> str:
    if name == "Reject":
        return str(getattr(exception, "reason", None) or exception)
    if type(exception).__name__ == _STAND_IN:
        args = tuple(getattr(exception, "exc_args", ()))
        return str(args[0]) if len(args) == 1 else str(args or "")
    return str(exception)


def has_stamp(request: Any, wanted: Mapping[str, Any]) -> bool:
    """Whether a ``Request`` carries one of these stamps: header names, each with values."""
    headers = request.request_dict
    stamps = headers.get("stamps") or {}
    for name in headers.get("stamped_headers") or ():
        values = _listed(stamps.get(name))
        if any(value in _listed(wanted.get(name)) for value in values):
            return True
    return False


def remote_span(headers: Mapping[str, Any]) -> SpanIds | None:
    """Return the span that a message's ``traceparent`` names: the one that sent it."""
    traceparent = headers.get("traceparent")
    if not isinstance(traceparent, str):
        return None
    # As OpenTelemetry's propagator reads it, at a third of the price: it runs per message.
    if _USUAL_TRACEPARENT.match(traceparent):
        trace, span, flags = traceparent[3:35], traceparent[36:52], traceparent[53:]
    else:
        found = _TRACEPARENT.match(traceparent)
        if found is None:
            return None
        version, trace, span, flags, more = found.groups()
        if version == "ff" or (version == "00" and more):
            return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return SpanIds(trace_id, span_id, 0, flags[-1] in _SAMPLED_DIGITS)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


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
