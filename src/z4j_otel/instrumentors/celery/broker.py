"""Talking to the application's broker on command: a connection, control commands.

Each command opens a connection of its own and closes it. It never borrows from the
application's pool: kombu has every forked pool child close the connections of the pools it
inherits. On AMQP that shuts down the socket for its parent, too; on Redis the child first
reads the answer the parent waits for, and then either of them waits for ever (seen with
``py-spy``: a worker's new child stood still because a command asked its workers meanwhile).
What a heartbeat measures has a connection that is kept, see
:mod:`z4j_otel.instrumentors.celery.depths`.

Kombu's own way of opening a connection retries for ever. Here it tries twice, so a broker
that is away costs a bounded time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import util
from typing import Any, Final

from z4j_otel.errors import AdapterError

__all__ = [
    "broadcast",
    "broker_connection",
    "broker_priority",
    "hide_from_children",
]

# Transports without an event loop (filesystem, memory) look for messages once a second, on
# the worker's side as on ours.
_POLLING_FACTOR: Final = 3.0
_CONNECT_S: Final = 4.0
_AMQP_PRIORITY: Final = {"critical": 9, "high": 6, "normal": 3, "low": 0}
_REDIS_PRIORITY: Final = {"critical": 0, "high": 3, "normal": 6, "low": 9}


@contextmanager
def broker_connection(app: Any, *, confirms: bool = False) -> Iterator[Any]:
    """Open a connection to the app's broker, for one command.

    Args:
        app: The Celery app.
        confirms: Whether RabbitMQ is to confirm what is published over it.

    Raises:
        AdapterError: The broker cannot be reached within 4 seconds.
    """
    connection = app.connection_for_write()
    try:
        if confirms and connection.transport.driver_type == "amqp":
            connection.transport_options["confirm_publish"] = True
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_CONNECT_S)
        except Exception as error:
            message = f"the broker cannot be reached ({type(error).__name__})"
            raise AdapterError(message) from error
        hide_from_children(connection)
        yield connection
    finally:
        _close(connection)


def hide_from_children(connection: Any) -> None:
    """Keep forked children from closing an open connection, too.

    On Redis every channel of kombu has itself closed in them, for which the child takes a
    lock that this thread may have held at the fork (seen: 1 child in 100 stood still).
    """
    if connection.transport.driver_type != "redis":
        return
    channel = connection.default_channel
    registry = getattr(util, "_afterfork_registry", {})
    for key, known in list(registry.items()):
        if known is channel:
            registry.pop(key, None)


def _close(connection: Any) -> None:
    """Close a connection; never raises."""
    with suppress(Exception):
        channel = connection._default_channel  # noqa: SLF001 -- the public name may connect anew
        if connection.transport.driver_type == "memory":
            # Closing a channel of kombu's memory transport empties the queues of all others.
            # What kombu would do for it at the interpreter's end would keep it until then.
            if channel is not None and channel._qos is not None:  # noqa: SLF001 -- see above
                channel._qos._on_collect.cancel()  # noqa: SLF001 -- see above
            return
        if getattr(channel, "_in_poll", None) is not None:
            # Redis' channel would wait up to a second for an answer that nobody wants.
            channel._in_poll = None  # noqa: SLF001 -- it has no other way to let go
        try:
            connection.release()
        except Exception:  # noqa: BLE001 -- it was broken: its client stumbles, in many ways
            connection.collect()  # closes the socket without a word


def broadcast(
    app: Any,
    command: str,
    arguments: Mapping[str, Any],
    *,
    timeout_s: float,
    worker: str | None = None,
) -> dict[str, Any]:
    """Send a control command and collect what the workers answer.

    Without ``worker`` it takes the whole of ``timeout_s``, because nobody knows how many
    workers there are; with it, no longer than that worker does. On transports that poll
    (filesystem, memory) the time-out is three times as long.

    Args:
        app: The Celery app.
        command: Name of the control command, for example ``revoke``.
        arguments: Its keyword arguments.
        timeout_s: How long to wait for each further answer.
        worker: The only worker to ask; all by default.

    Returns:
        The answers by worker name, for example ``{"ok": "…"}``; empty when none came.

    Raises:
        AdapterError: The broker cannot be reached, or failed on the way.
    """
    try:
        with broker_connection(app) as connection:
            mailbox = app.control.mailbox(connection)
            # Else it would publish over a connection of the application's pool.
            mailbox.producer_pool = None
            is_polling = not connection.transport.implements.asynchronous
            timeout_s *= _POLLING_FACTOR if is_polling else 1
            if worker is None:
                answers = mailbox.multi_call(command, dict(arguments), timeout=timeout_s)
            else:
                answers = mailbox.call([worker], command, dict(arguments), timeout=timeout_s)
    except AdapterError:
        raise
    except Exception as error:
        message = f"the broker failed during {command} ({type(error).__name__})"
        raise AdapterError(message, indeterminate=True) from error
    merged: dict[str, Any] = {}
    for answer in answers or ():
        if isinstance(answer, dict):
            merged.update(answer)
    return merged


def broker_priority(app: Any, label: str) -> int:
    """Return the message priority of a label: AMQP counts upwards, Redis downwards."""
    with app.connection_for_write() as connection:
        driver = connection.transport.driver_type
    return (_REDIS_PRIORITY if driver == "redis" else _AMQP_PRIORITY)[label]
