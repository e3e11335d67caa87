"""What a dead letter says of itself: where, when and why it died, and what it was.

RabbitMQ notes each death in the header ``x-death``, the latest first: an object for each pair
of queue and reason. A message may have died several times: queues with a time to live that
lead back to where the message came from are a common way to run a task again later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Final

from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.instrumentors.celery.extract import SENT_AT_HEADER
from z4j_otel.instrumentors.dead_letters import DeadLetter
from z4j_otel.instrumentors.parameters import MAX_ID_CHARS, MAX_NAME_CHARS

__all__ = [
    "BROKER_NOTES",
    "expired_at",
    "headers_to_send",
    "origin_of",
    "read_letter",
    "route_of",
    "task_id_of",
]

_REASONS: Final = {
    "rejected": "rejected by a worker",
    "expired": "expired before a worker took it",
    "maxlen": "pushed out: the queue was full",
    "delivery_limit": "delivered too often",
}
_TRIED: Final = frozenset({"rejected", "delivery_limit"})
BROKER_NOTES: Final = ("x-death", "x-first-death", "x-last-death", "x-delivery-count")
"""How the headers begin in which RabbitMQ notes earlier deliveries."""
_NS: Final = 1_000_000_000

Headers = Mapping[str, Any]


def task_id_of(headers: Headers) -> str | None:
    """Return the id of a message's task; None for what is no task of Celery's protocol 2."""
    task_id = headers.get("id")
    is_one = isinstance(task_id, str) and 0 < len(task_id) <= MAX_ID_CHARS and "task" in headers
    return str(task_id) if is_one else None


def origin_of(headers: Headers, found_in: str, sources: list[str]) -> str | None:
    """Return the queue that a letter died in; None where nothing tells.

    Args:
        headers: The letter's.
        found_in: The queue that it lies in.
        sources: The queues whose letters come there; if it is only one, it is that.
    """
    death = _death(headers, found_in)
    if death is not None:
        return str(death["queue"])
    return sources[0] if len(sources) == 1 else None


def route_of(headers: Headers, found_in: str) -> dict[str, Any] | None:
    """Return ``exchange`` and ``routing_key`` that a letter was last published with."""
    death = _death(headers, found_in)
    if death is None:
        return None
    keys = death.get("routing-keys")
    key = keys[0] if isinstance(keys, list) and keys else None
    exchange = death.get("exchange")
    if not isinstance(exchange, str) or not isinstance(key, str):
        return {"exchange": "", "routing_key": death["queue"]}
    return {"exchange": exchange, "routing_key": key}


def read_letter(headers: Headers, found_in: str, sources: list[str]) -> DeadLetter | None:
    """Return a letter as it is shown; None for a message that is no task."""
    task_id = task_id_of(headers)
    if task_id is None:
        return None
    death = _death(headers, found_in) or {}
    reason = death.get("reason")
    died_at = death.get("time")
    retries = headers.get("retries")
    attempts = retries if type(retries) is int and retries >= 0 else 0
    return DeadLetter(
        task_id=task_id,
        task_name=str(headers["task"]),
        queue=origin_of(headers, found_in, sources) or found_in,
        failed_at_ns=_utc_ns(died_at) if isinstance(died_at, datetime) else None,
        error_excerpt=_REASONS.get(str(reason), ""),
        attempts=attempts + (reason in _TRIED) if death else None,
    )


def headers_to_send(headers: Headers) -> dict[str, Any]:
    """Return a letter's headers without what was said of its earlier deliveries.

    With its deaths the broker would take one that expires again for a message that goes
    round in circles, and drop it; with ``CC`` it would go to further queues once more.
    """
    return {
        key: value
        for key, value in headers.items()
        if key not in {"CC", SENT_AT_HEADER} and not key.startswith(BROKER_NOTES)
    }


def expired_at(headers: Headers, now_ns: int) -> str | None:
    """Return when a task expired; None where it has not, and would still be run."""
    moment = headers.get("expires")
    if not isinstance(moment, str):
        return None
    for text in (moment, f"{moment}+00:00"):
        try:
            at_ns = parse_iso_ns(text)
        except ValueError:
            continue
        return iso_utc(at_ns) if at_ns <= now_ns else None
    return None


def _death(headers: Headers, found_in: str) -> dict[str, Any] | None:
    """Return the latest death in another queue than the one that the letter lies in."""
    deaths = headers.get("x-death")
    for death in deaths if isinstance(deaths, list) else ():
        queue = death.get("queue") if isinstance(death, dict) else None
        if isinstance(queue, str) and 0 < len(queue) <= MAX_NAME_CHARS and queue != found_in:
            return dict(death)
    return None


def _utc_ns(moment: datetime) -> int:
    # AMQP's times are UTC, and the client library leaves that out.
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    return int(aware.timestamp()) * _NS
