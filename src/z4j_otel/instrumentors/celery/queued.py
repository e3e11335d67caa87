"""The message of a task that still waits in a queue, or lies in a dead-letter queue.

Redis lets a queue be read: its lists are looked through in chunks, the oldest messages
first, and stay as they are. On RabbitMQ messages are taken and given back, see
:mod:`z4j_otel.instrumentors.celery.browsing`: dead letters first, because a task that is to
run again is more likely there, and then the queues that the task may wait in.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final

from z4j_otel.clock import SystemClock
from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery.broker import broker_connection
from z4j_otel.instrumentors.celery.browsing import Allowance, browse, headers_of
from z4j_otel.instrumentors.celery.dead_queues import dead_letter_queues
from z4j_otel.instrumentors.celery.letters import route_of, task_id_of
from z4j_otel.instrumentors.celery.queue_access import is_amqp
from z4j_otel.instrumentors.celery.recent import RecentMessage

__all__ = ["find_queued"]

_CHUNK: Final = 100
_MOST_MESSAGES: Final = 5000
"""Looked at in all, before the search is given up."""
_MOST_QUEUES: Final = 64


class Seen:
    """What was seen in RabbitMQ's queues, for a command about many tasks.

    Workers have to do without the messages that are looked at; so each queue is looked into
    once, and not once for each task. Holds 5000 messages and 16 MiB of bodies at most.
    """

    def __init__(self) -> None:
        self.messages: dict[str, RecentMessage] = {}
        self.queues: set[str] = set()
        self.allowance = Allowance(SystemClock())


def find_queued(
    app: Any, task_id: str, queues: Iterable[str], seen: Seen | None = None
) -> RecentMessage | None:
    """Return the waiting message of a task; None where there is none, or none can be read.

    Args:
        app: The Celery app.
        task_id: The task.
        queues: Where to look; the first 64 are read, and 5000 messages in all. On RabbitMQ
            the app's dead-letter queues come before them.
        seen: What earlier calls saw; this one adds to it. None for a single task.

    Raises:
        AdapterError: The broker cannot be reached, or failed.
    """
    names = list(dict.fromkeys(queues))[:_MOST_QUEUES]

    def look(connection: Any) -> RecentMessage | None:
        if is_amqp(connection):
            return _find_on_amqp(app, connection, task_id, names, seen)
        if connection.transport.driver_type != "redis":
            return None
        needle = task_id.encode()
        # Whoever wrote a message may have put anything into it: parse the few that could fit.
        fitting = (raw for raw in _waiting(connection.default_channel, names) if needle in raw)
        read = (_read(raw, task_id) for raw in fitting)
        return next((message for message in read if message is not None), None)

    try:
        with broker_connection(app) as connection:
            return look(connection)
    except CommandError:
        raise
    except Exception as error:
        text = f"the broker does not tell what waits in its queues ({type(error).__name__})"
        raise AdapterError(text) from error


def _find_on_amqp(
    app: Any, connection: Any, task_id: str, names: list[str], seen: Seen | None
) -> RecentMessage | None:
    known = seen or Seen()
    for name in dict.fromkeys([*dead_letter_queues(app), *names]):
        if task_id in known.messages:
            break
        if name in known.queues:
            continue
        known.queues.add(name)
        with suppress(CommandRefused), browse(app, connection, name, known.allowance) as look:
            for message in look.messages():
                found = task_id_of(headers_of(message))
                if found is not None and (seen is not None or found == task_id):
                    _keep(known.messages, found, message, name)
                    if seen is None:
                        break
    return known.messages.get(task_id)


def _keep(messages: dict[str, RecentMessage], task_id: str, message: Any, queue: str) -> None:
    read = _from_amqp(message, queue)
    if read is not None:
        messages.setdefault(task_id, read)


def _from_amqp(message: Any, queue: str) -> RecentMessage | None:
    headers, properties = headers_of(message), message.properties
    if headers.get("compression"):
        return None
    # A dead letter came by the dead-letter exchange, and is not to go there again.
    route = route_of(headers, queue) or message.delivery_info
    return RecentMessage(
        headers=headers,
        body=message.body,
        content_type=properties.get("content_type"),
        content_encoding=properties.get("content_encoding"),
        delivery_info={**route, "priority": properties.get("priority")},
        properties=properties,
    )


def _waiting(channel: Any, names: list[str]) -> Iterator[bytes]:
    left = _MOST_MESSAGES
    # Kombu's client puts its prefix before the keys of what kombu itself uses, not of LRANGE.
    prefix = getattr(channel, "global_keyprefix", "")
    with channel.conn_or_acquire() as client:
        for name in names:
            for step in channel.priority_steps:
                key = prefix + channel._q_for_pri(name, step)  # noqa: SLF001 -- no public way names the lists
                end = -1
                while left > 0:
                    # Messages enter at the head: the oldest are at the tail.
                    chunk = client.lrange(key, end - _CHUNK + 1, end)
                    yield from reversed(chunk)
                    left -= len(chunk)
                    end -= _CHUNK
                    if len(chunk) < _CHUNK:
                        break


def _read(raw: bytes, task_id: str) -> RecentMessage | None:
    try:
        message = json.loads(raw)
        headers, properties = message["headers"], message["properties"]
        if headers.get("id") != task_id:
            return None
        body = message["body"]
        if properties.get("body_encoding") == "base64":
            body = base64.b64decode(body)
        if headers.get("compression"):
            return None
        info = properties.get("delivery_info") or {}
        return RecentMessage(
            headers=headers,
            body=body,
            content_type=message["content-type"],
            content_encoding=message["content-encoding"],
            delivery_info={**info, "priority": properties.get("priority")},
            properties=properties,
        )
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None
