"""Which queues hold dead letters, as the Celery app declares its queues.

RabbitMQ moves a message that was rejected, has expired or found its queue full to the queue's
``x-dead-letter-exchange``, with its ``x-dead-letter-routing-key``. The queues that such a
message then lies in follow from the app's own list of queues; nothing is asked of the broker,
so the answer is the same in every process of the app.

What a broker's *policy* says is not to be seen from here. Neither is a queue that somebody
else bound to the exchange, unless the exchange is the default one, where key and queue have
one name.

Quorum queues and streams are left out: see :mod:`z4j_otel.instrumentors.celery.browsing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from z4j_otel.instrumentors.celery.browsing import is_declared_classic

__all__ = ["dead_letter_queues"]


def dead_letter_queues(app: Any) -> dict[str, list[str]]:
    """Return the queues that hold dead letters, each with the queues that they come from."""
    queues = list(app.amqp.queues.values())
    found: dict[str, list[str]] = {}
    for source in queues:
        for name in _targets(queues, source):
            if name != source.name and is_declared_classic(app, name):
                found.setdefault(name, []).append(source.name)
    return found


def _targets(queues: list[Any], source: Any) -> Iterator[str]:
    """Yield the names of the queues that a queue's dead letters go to, each once."""
    arguments = source.queue_arguments or {}
    exchange = arguments.get("x-dead-letter-exchange")
    if not isinstance(exchange, str):
        return
    key = arguments.get("x-dead-letter-routing-key")
    # Without one a letter keeps its own: Celery publishes with the queue's name, or its key.
    keys = {str(key)} if key is not None else {source.name, source.routing_key or source.name}
    if not exchange:
        yield from sorted(keys)
        return
    for queue in queues:
        if any(_leads_to(binding, exchange, keys) for binding in _bindings(queue)):
            yield queue.name


def _bindings(queue: Any) -> list[tuple[Any, str]]:
    """Return the exchanges that a queue is bound to, with the keys."""
    more = [(binding.exchange, binding.routing_key or "") for binding in queue.bindings or ()]
    return [(queue.exchange, queue.routing_key or ""), *more]


def _leads_to(binding: tuple[Any, str], exchange: str, keys: set[str]) -> bool:
    bound, pattern = binding
    if bound is None or bound.name != exchange:
        return False
    if bound.type == "fanout":
        return True
    if bound.type == "topic":
        return any(_fits(pattern.split("."), key.split(".")) for key in keys)
    return bound.type == "direct" and pattern in keys


def _fits(pattern: list[str], key: list[str]) -> bool:
    """Whether a topic binding takes a key: ``*`` is one word, ``#`` any number of them."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_fits(rest, key[skipped:]) for skipped in range(len(key) + 1))
    return bool(key) and first in {"*", key[0]} and _fits(rest, key[1:])
