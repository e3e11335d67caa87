"""How many messages wait: measured over one connection that is kept.

Theory of operation
    Depths are measured at every heartbeat. The app's own pool is no place for that: it may
    be switched off or hold a single connection, which a publisher would wait for; and every
    forked pool child closes the pool it inherited, on AMQP with its parent's sockets. So a
    meter opens one connection of its own, when it is first asked, and keeps it. It is opened
    again when the broker has closed it, at most once per question.

    It stays because nothing else serves: the worker's own connections belong to the thread
    of its event loop (a forked child that closes them reads the answer which another thread
    waits for), and one for each heartbeat costs the broker more than one that is silent.
    On Redis kombu opens a second one to listen on; the meter closes that.

    In a forked child it is neither used nor closed: closing would shut down the parent's
    socket. The child keeps it to its end, so that nothing collects it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from z4j_otel.forks import call_in_child
from z4j_otel.instrumentors.celery.broker import hide_from_children

__all__ = ["MAX_QUEUES", "QueueMeter", "count_waiting"]

MAX_QUEUES: Final = 1024
"""The brain reads no more of a heartbeat (PROTOCOL §4.3)."""
_CONNECT_S: Final = 4.0

_of_parents: Final[list[object]] = []
"""Connections of processes that this one was forked from: never closed, never collected."""


class QueueMeter:
    """Measures queues of one app, on one connection.

    Args:
        app: Returns the Celery app; called at each measurement.
    """

    def __init__(self, app: Callable[[], Any]) -> None:
        self._app = app
        self._kept = _Kept()
        self._lock = threading.Lock()
        weakref.finalize(self, self._kept.close)

    def measure(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each queue; see :func:`count_waiting`.

        While another thread measures, nothing is known.

        Raises:
            Exception: Of the broker's client library: it cannot be reached, or failed twice.
        """
        if not self._lock.acquire(blocking=False):
            return {}
        try:
            names = list(queues)[:MAX_QUEUES]
            is_kept, connection = self._kept.take(self._app())
            try:
                return self._count(connection, names)
            except (*connection.connection_errors, *connection.channel_errors):
                if not is_kept:
                    raise
                # The broker closed it while nobody looked: idle for long, or started again.
                return self._count(self._kept.take(self._app())[1], names)
        finally:
            self._lock.release()

    def _count(self, connection: Any, names: list[str]) -> dict[str, int]:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_CONNECT_S)
            hide_from_children(connection)
            _stop_listening(connection)
            return count_waiting(connection, names)
        except BaseException:
            # Its state is unknown: the next question must not find it half-way.
            self._kept.close()
            raise


class _Kept:
    """One connection of this process, or none."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._pid = 0
        call_in_child(self._let_go)

    def take(self, app: Any) -> tuple[bool, Any]:
        """Return whether it was there already, and the connection, not opened yet."""
        is_kept = self._connection is not None
        if not is_kept:
            self._connection, self._pid = app.connection_for_read(), os.getpid()
        return is_kept, self._connection

    def close(self) -> None:
        """Close it, if it is this process's; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            with contextlib.suppress(Exception):
                connection.release()

    def _let_go(self) -> None:
        _of_parents.append(self._connection)
        self._connection = None


def _stop_listening(connection: Any) -> None:
    """Close what kombu's Redis channel would receive messages on; it asks over another one."""
    if connection.transport.driver_type == "redis":
        connection.default_channel.async_pool.disconnect()


def count_waiting(connection: Any, queues: Iterable[str]) -> dict[str, int]:
    """Return how many messages wait in each queue, delivered ones not counted.

    Works on every transport of kombu that can declare passively: RabbitMQ (classic and
    quorum queues), Redis (all priority lists of a queue together), filesystem, memory. A
    queue that does not exist is empty on transports whose queues come and go, and left out
    on AMQP.

    Args:
        connection: An open connection.
        queues: Their names.

    Raises:
        Exception: Of the broker's client library: the connection broke.
    """
    if connection.transport.driver_type == "amqp":
        return _count_amqp(connection, queues)
    # A further channel would open further connections on Redis; the default one is kept.
    channel = connection.default_channel
    depths = {}
    for queue in queues:
        try:
            if getattr(channel, "global_keyprefix", ""):
                # Redis: whether a queue exists, kombu asks without the prefix, and it never does.
                depths[queue] = int(channel._size(queue))  # noqa: SLF001 -- no public way counts
            else:
                depths[queue] = int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            depths[queue] = 0
    return depths


def _count_amqp(connection: Any, queues: Iterable[str]) -> dict[str, int]:
    depths = {}
    channel = connection.channel()
    try:
        for queue in queues:
            try:
                depths[queue] = int(channel.queue_declare(queue=queue, passive=True).message_count)
            except connection.channel_errors:
                # AMQP closes the channel on a queue that is missing or another's; the client
                # may have opened it again by itself.
                connection.maybe_close_channel(channel)
                channel = connection.channel()
    finally:
        connection.maybe_close_channel(channel)
    return depths
