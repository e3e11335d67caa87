"""From the trace that an earlier task left to the message that runs it again.

What the new task keeps of the old one, and why:

* name, arguments, queue (or exchange and routing key), priority, time limits, serializer,
  delivery mode, ``ignore_result``, ``reply_to``, ``shadow``, the stamps and the user's own
  headers: it is to run as the first one would.
* ``root_id`` stays and ``parent_id`` becomes the old task: the new run shows below the run
  it repeats.
* The callbacks, the errbacks and the rest of the chain stay: what should have followed a
  failed task follows its repetition.

What it does not keep:

* ``id``: it is a new task. ``retries`` starts at 0: otherwise a task that used up its
  retries could not use any.
* ``expires``: that moment has usually passed, and the new task would die unrun.
* ``group`` and ``chord``: a chord counts its parts, and one part more spoils the count.
* The trace headers and those of z4j: publishing writes fresh ones.

From the result backend only name, arguments and queue are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kombu.exceptions import ContentDisallowed
from kombu.exceptions import SerializationError as KombuSerializationError
from kombu.serialization import loads, prepare_accept_content, registry

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.letters import BROKER_NOTES
from z4j_otel.instrumentors.celery.recent import RecentMessage
from z4j_otel.instrumentors.celery.results import StoredResult

__all__ = ["MessageCopy", "from_message", "from_result"]

_PROTOCOL_HEADERS: Final = frozenset(
    {
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "stamps", "compression"),
        *("meth", "argsmeta", "chord", "errbacks", "callbacks", "chain"),
    }
)
_STALE_PREFIXES: Final = (
    *("traceparent", "tracestate", "b3", "x-b3-", "uber-", "x-datadog-", "sentry-trace"),
    *("x-amzn-trace-id", "z4j"),
    *BROKER_NOTES,
)
_DELAYED_DELIVERY: Final = "celery_delayed"


@dataclass(frozen=True, slots=True)
class MessageCopy:
    """What is known of a task that is to run again; None stands for unknown."""

    name: str | None = None
    args: list[Any] | tuple[Any, ...] | None = None
    kwargs: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of ``Celery.send_task``."""


def from_result(task_id: str, stored: StoredResult) -> MessageCopy:
    """Build from a row of the result backend."""
    options: dict[str, Any] = {"root_id": task_id, "parent_id": task_id}
    if stored.queue is not None:
        options["queue"] = stored.queue
    return MessageCopy(stored.name, stored.args, stored.kwargs, options)


def from_message(app: Any, task_id: str, message: RecentMessage) -> MessageCopy:
    """Build from the message that a worker received.

    Raises:
        CommandRefused: The body is in a form that the app does not accept, or is damaged.
    """
    args, kwargs, embed = _decode(app, message)
    headers = message.headers
    time_limit, soft_time_limit = headers.get("timelimit") or (None, None)
    options: dict[str, Any] = {
        "root_id": headers.get("root_id") or task_id,
        "parent_id": task_id,
        "time_limit": time_limit,
        "soft_time_limit": soft_time_limit,
        "ignore_result": bool(headers.get("ignore_result")),
        "link": embed.get("callbacks"),
        "link_error": embed.get("errbacks"),
        "chain": embed.get("chain"),
        "serializer": registry.type_to_name.get(message.content_type),
        "shadow": headers.get("shadow"),
        "reply_to": message.properties.get("reply_to"),
        "delivery_mode": message.properties.get("delivery_mode"),
        "priority": message.delivery_info.get("priority"),
        "headers": _user_headers(headers),
        **_destination(message.delivery_info),
    }
    options = {key: value for key, value in options.items() if value is not None}
    # An absent limit must be said: the task class may have got one since.
    options |= {"time_limit": time_limit, "soft_time_limit": soft_time_limit}
    return MessageCopy(headers.get("task"), args, kwargs, _with_stamps(options, headers))


def _decode(
    app: Any, message: RecentMessage
) -> tuple[list[Any] | tuple[Any, ...], dict[str, Any], Mapping[str, Any]]:
    try:
        args, kwargs, embed = loads(  # type: ignore[no-untyped-call]  # kombu has no types
            message.body,
            message.content_type,
            message.content_encoding,
            accept=prepare_accept_content(app.conf.accept_content),  # type: ignore[no-untyped-call]  # same
        )
    except ContentDisallowed as error:
        raise CommandRefused(
            f"the task was sent as {message.content_type}, which accept_content of the Celery"
            " app does not allow"
        ) from error
    except (KombuSerializationError, ValueError, TypeError) as error:
        raise CommandRefused("the task's own message cannot be read any more") from error
    return args, kwargs, embed or {}


def _destination(delivery_info: Mapping[str, Any]) -> dict[str, Any]:
    exchange = delivery_info.get("exchange") or ""
    routing_key = delivery_info.get("routing_key")
    if not routing_key or exchange.startswith(_DELAYED_DELIVERY):
        # A delayed message comes through Celery's own exchanges: route it by its name again.
        return {}
    if not exchange:
        return {"queue": routing_key}
    return {"exchange": exchange, "routing_key": routing_key}


def _user_headers(headers: Mapping[str, Any]) -> dict[str, Any] | None:
    stamps = set(headers.get("stamped_headers") or ())
    kept = {
        key: value
        for key, value in headers.items()
        if key not in _PROTOCOL_HEADERS
        and key not in stamps
        and not key.lower().startswith(_STALE_PREFIXES)
    }
    return kept or None


def _with_stamps(options: dict[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    stamps = headers.get("stamps") or {}
    # send_task takes stamps among its options; one that is named as an option cannot go.
    names = [
        name
        for name in headers.get("stamped_headers") or ()
        if name in stamps and name not in options
    ]
    if not names:
        return options
    return {**options, "stamped_headers": names, **{name: stamps[name] for name in names}}
