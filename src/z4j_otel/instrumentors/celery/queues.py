"""``purge_queue``: delete what waits in a queue, when it is what the operator saw."""

from __future__ import annotations

from typing import Any

from z4j_otel.errors import AdapterError, CommandRefused
from z4j_otel.instrumentors.celery.broker import broker_connection
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.queue_access import purge_queue, queue_depth
from z4j_otel.instrumentors.parameters import MAX_NAME_CHARS, read_text, require_text
from z4j_otel.instrumentors.purging import check_purge
from z4j_otel.instrumentors.rules import LocalRules

__all__ = ["QueueControl"]

_MAX_TOKEN_CHARS = 128


class QueueControl:
    """Empties queues."""

    def __init__(self, handle: CeleryHandle) -> None:
        self._handle = handle
        self.rules = LocalRules()
        """What the owner of this process decided."""

    def purge(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Delete the messages that wait in a queue; those that workers hold stay.

        Returns:
            ``queue``, ``depth_before``, ``purged`` and ``force``.

        Raises:
            CommandRefused: There is no such queue, or the purge is not confirmed.
            AdapterError: The broker failed, or deleted nothing.
        """
        queue = require_text(parameters, "queue", max_chars=MAX_NAME_CHARS)
        token = read_text(parameters, "confirm_token", max_chars=_MAX_TOKEN_CHARS)
        force = parameters.get("force", False)
        if not isinstance(force, bool):
            raise CommandRefused("force must be true or false")
        before = self._depth(queue)
        if not force:
            check_purge(self.rules, queue, before, token)
        purged = self._purge(queue)
        after = queue_depth(self._handle.app, queue)
        if before and not purged and after is not None and after >= before:
            raise AdapterError(f"the broker deleted nothing; queue {queue} has {after} messages")
        return {"queue": queue, "depth_before": before, "purged": purged, "force": force}

    def _depth(self, queue: str) -> int:
        depth = queue_depth(self._handle.app, queue)
        if depth is None or (not depth and not self._is_known(queue)):
            raise CommandRefused(f"there is no queue {queue} on this broker; check its name")
        return depth

    def _is_known(self, queue: str) -> bool:
        """Whether a queue is one of ours; brokers that drop empty queues cannot say."""
        app, worker = self._handle.app, self._handle.worker
        if queue in app.amqp.queues or (worker is not None and queue in worker.queues()):
            return True
        with broker_connection(app) as connection:
            return bool(connection.transport.driver_type == "amqp")

    def _purge(self, queue: str) -> int:
        app = self._handle.app
        try:
            with broker_connection(app) as connection:
                return purge_queue(connection, queue)
        except AdapterError:
            raise
        except Exception as error:
            message = f"the broker failed during the purge ({type(error).__name__})"
            raise AdapterError(message, indeterminate=True) from error
