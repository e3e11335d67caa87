"""Talking to the application's broker: one pooled connection, control commands, depths.

No connection of our own is opened: everything borrows one from the Celery app's pool and
gives it back. The pool keeps what it opened, so a heartbeat finds the connection that the
last one used. (A pool that the application switched off, ``broker_pool_limit = 0``, means a
connection for each use: that is what the application asked for.)

Kombu's own way of opening a connection retries for ever. Here it tries twice, so a broker
that is away costs a bounded time.

A connection that the pool kept may be dead: kombu has every forked pool child close the
pool it inherited, and on AMQP that shuts down the socket for its parent too. What does no
harm when it is done twice is therefore done again on a new connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from z4j_otel.errors import AdapterError

__all__ = [
    "broadcast",
    "broker_connection",
    "broker_priority",
    "measure_queues",
]

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_POOL_WAIT_S: Final = 2.0
# Transports without an event loop (filesystem, memory) look for messages once a second, on
# the worker's side as on ours.
_POLLING_FACTOR: Final = 3.0
_CONNECT_S: Final = 4.0
_MAX_QUEUES: Final = 1024
_AMQP_PRIORITY: Final = {"critical": 9, "high": 6, "normal": 3, "low": 0}
_REDIS_PRIORITY: Final = {"critical": 0, "high": 3, "normal": 6, "low": 9}


@contextmanager
def broker_connection(app: Any, *, is_fresh: bool = False) -> Iterator[Any]:
    """Lend a live connection of the app's pool, replaced in the pool after an error.

    Args:
        app: The Celery app.
        is_fresh: Open it anew, even if it looks alive.

    Raises:
        AdapterError: No connection is free within 2 seconds, or the broker cannot be
            reached within 4.
    """
    pool = app.pool
    try:
        connection = pool.acquire(block=True, timeout=_POOL_WAIT_S)
    except Exception as error:
        raise AdapterError(f"no broker connection is free ({type(error).__name__})") from error
    try:
        try:
            if is_fresh:
                connection.collect()
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_CONNECT_S)
        except Exception as error:
            message = f"the broker cannot be reached ({type(error).__name__})"
            raise AdapterError(message) from error
        yield connection
    except BaseException:
        # Its state is unknown: the next borrower must not find it half-way.
        pool.replace(connection)
        raise
    else:
        connection.release()


def _with_connection(app: Any, use: Callable[[Any], _T]) -> _T:
    """Use a connection of the pool, and a new one when that turns out to be dead."""
    lost: tuple[type[BaseException], ...] = ()
    try:
        with broker_connection(app) as connection:
            lost = connection.connection_errors
            return use(connection)
    except lost:
        # Whatever shut this one may have shut all that the pool holds.
        with broker_connection(app, is_fresh=True) as connection:
            return use(connection)


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

    def ask(connection: Any) -> Any:
        is_polling = not connection.transport.implements.asynchronous
        return app.control.broadcast(
            command,
            arguments=dict(arguments),
            destination=None if worker is None else [worker],
            connection=connection,
            reply=True,
            timeout=timeout_s * _POLLING_FACTOR if is_polling else timeout_s,
        )

    try:
        answers = _with_connection(app, ask)
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


def measure_queues(app: Any, queues: Iterable[str]) -> dict[str, int]:
    """Return how many messages wait in each queue, in broker order of priority or not.

    Works on every transport of kombu that can declare passively: RabbitMQ, Redis (all
    priority lists of a queue together), filesystem, memory. A queue that does not exist is
    empty on transports whose queues come and go, and left out on AMQP. Never raises.
    """
    names = list(queues)[:_MAX_QUEUES]

    def measure(connection: Any) -> dict[str, int]:
        found = ((name, _measure(connection, name)) for name in names)
        return {name: depth for name, depth in found if depth is not None}

    try:
        return _with_connection(app, measure)
    except Exception as error:  # noqa: BLE001 -- a heartbeat goes on without depths
        _logger.debug(
            "queue depths cannot be measured: %s",
            type(error).__name__,
            extra={"action": "queue_depths_failed"},
        )
        return {}


def _measure(connection: Any, queue: str) -> int | None:
    if connection.transport.driver_type == "amqp":
        return _measure_amqp(connection, queue)
    # A further channel would open further connections on Redis; the default one is kept.
    channel = connection.default_channel
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return 0


def _measure_amqp(connection: Any, queue: str) -> int | None:
    # AMQP closes the channel on a missing queue, so the default channel must not be used.
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue=queue, passive=True).message_count)
    except connection.channel_errors:
        return None
    finally:
        connection.maybe_close_channel(channel)
