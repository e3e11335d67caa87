"""One Celery app, and the worker of this process where there is one: what actions share."""

from __future__ import annotations

import logging
from typing import Any

from z4j_otel.clock import Clock, SystemClock
from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.results import StoredResult, read_result
from z4j_otel.instrumentors.celery.worker import Whereabouts, WorkerView

__all__ = ["CeleryHandle", "log_unreadable"]

_logger = logging.getLogger(__name__)


class CeleryHandle:
    """The app that is acted on, and what this process knows of it."""

    def __init__(
        self, app: Any = None, *, clock: Clock | None = None, reply_timeout_s: float = 1.0
    ) -> None:
        """Hold an app; opens nothing.

        Args:
            app: The Celery app; the current app of the process by default.
            clock: Where the time comes from.
            reply_timeout_s: How long to wait for the workers' answers to a broadcast.
        """
        self.given_app = app
        """What was given, None for nothing."""
        self._app = app
        self._hint: Any = None
        self.clock = clock or SystemClock()
        self.reply_timeout_s = reply_timeout_s
        self.worker: WorkerView | None = None
        """The worker of this process, or None outside a worker."""

    @property
    def app(self) -> Any:
        """The Celery app."""
        if self._app is None:
            of_worker = self.worker.app if self.worker is not None else None
            self._app = of_worker or self._hint or instances.app_of_process()
        return self._app

    def take_hint(self) -> None:
        """Remember this thread's app, for when an app is needed and none was given."""
        self._hint = instances.app_of_thread()

    def locate(self, task_id: str) -> Whereabouts:
        """Tell where a task is in the worker of this process."""
        return Whereabouts.ABSENT if self.worker is None else self.worker.locate(task_id)

    def stored(self, task_id: str) -> StoredResult:
        """Return the result backend's row; as good as empty where none can be read."""
        try:
            found = read_result(self.app, task_id)
        except AdapterError as error:
            log_unreadable("result backend", error)
            found = None
        return found or StoredResult("PENDING")


def log_unreadable(what: str, error: Exception) -> None:
    """Note at debug level that something of Celery's could not be read."""
    _logger.debug(
        "Celery's %s cannot be read: %s",
        what,
        type(error).__name__,
        extra={"action": "celery_unreadable"},
    )
