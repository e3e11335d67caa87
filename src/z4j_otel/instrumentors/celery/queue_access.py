"""What commands need of a single queue: its depth, its form, an end to its messages."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

from kombu.entity import Queue

from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery.broker import broker_connection
from z4j_otel.instrumentors.celery.depths import count_waiting

__all__ = ["form_of", "is_amqp", "purge_queue", "queue_depth", "refuse_other_declaration"]

_T = TypeVar("_T")


def is_amqp(connection: Any) -> bool:
    """Whether a connection leads to a broker whose queues exist on their own."""
    return bool(connection.transport.driver_type == "amqp")


def queue_depth(app: Any, queue: str) -> int | None:
    """Return how many messages wait in a queue, or None where AMQP has no such queue.

    Raises:
        AdapterError: The broker cannot be reached, or failed.
    """
    found = _use(app, lambda connection: count_waiting(connection, [queue]))
    return found.get(queue)


def purge_queue(connection: Any, queue: str) -> int:
    """Delete what waits in a queue; return how many messages the broker deleted."""
    if not is_amqp(connection):
        return int(connection.default_channel.queue_purge(queue))
    channel = connection.channel()
    try:
        return int(channel.queue_purge(queue))
    finally:
        connection.maybe_close_channel(channel)


def refuse_other_declaration(app: Any, queue: str) -> None:
    """Declare a queue as a worker of this app would, to see whether it could.

    Does nothing on brokers whose queues have no form. On AMQP the queue exists afterwards,
    as it would when the worker consumes from it.

    Raises:
        CommandRefused: It exists in another form.
        AdapterError: The broker cannot be reached, or failed.
    """
    _use(app, lambda connection: _declare(app, connection, queue))


def form_of(app: Any, queue: str) -> Any:
    """Return a queue as a worker of this app would declare it; the caller may change it."""
    queues = app.amqp.queues
    limit = queues.max_priority
    arguments = None if limit is None else {"x-max-priority": limit}
    unlisted = Queue(queue, queue_arguments=arguments)  # type: ignore[no-untyped-call]  # kombu has no types
    # Unlike indexing, this makes no entry in the application's table.
    return copy(queues.get(queue, unlisted))


def _declare(app: Any, connection: Any, queue: str) -> None:
    if not is_amqp(connection):
        return
    channel = connection.channel()
    try:
        form_of(app, queue)(channel).queue_declare()
    except connection.channel_errors as error:
        raise CommandRefused(
            f"queue {queue} exists in another form than this Celery app gives it; list it in"
            " task_queues as it is"
        ) from error
    finally:
        connection.maybe_close_channel(channel)


def _use(app: Any, use: Callable[[Any], _T]) -> _T:
    try:
        with broker_connection(app) as connection:
            return use(connection)
    except CommandError:
        raise
    except Exception as error:
        text = f"the broker does not tell about the queue ({type(error).__name__})"
        raise AdapterError(text) from error
