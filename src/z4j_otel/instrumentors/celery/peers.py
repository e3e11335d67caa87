"""Asking one worker for something: is it there, what does it say, did it do it.

A worker is asked whether it is there before anything is sent to it, so that a name nobody
has ends as a failure in which nothing was done. Once an order is sent, silence says nothing
about whether it was carried out: that is told as indeterminate.

Workers go by the names that the brain knows them by; see
:func:`z4j_otel.translation.worker_name_from_wire`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery.broker import broadcast
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.translation import wire_worker_name, worker_name_from_wire

__all__ = ["Peers", "WorkerDeclined"]

_PATIENCE: Final = 3.0
"""An addressed worker may take so many times the reply time-out: its answer ends the wait."""
_ORDER_PATIENCE: Final = 10.0
_LOOKS: Final = 60
_PAUSE_S: Final = 0.2
_MAX_NAMED: Final = 5
_MAX_TEXT_CHARS: Final = 300


class WorkerDeclined(CommandRefused):
    """The addressed worker answered that it will not, or cannot; nothing is in doubt."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"worker {worker} answered: {reason}")
        self.reason = reason


class Peers:
    """The workers that answer on the app's broker."""

    def __init__(
        self, handle: CeleryHandle, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._handle = handle
        self._sleep = sleep

    def require(self, worker: str) -> None:
        """See that a worker is there, before it is sent anything else.

        Raises:
            CommandRefused: It does not answer; nothing was done.
            AdapterError: The broker failed.
        """
        own = self._handle.worker
        if own is not None and own.name == worker_name_from_wire(worker):
            return
        if self._answers("ping", {}, worker, _PATIENCE):
            return
        names = [wire_worker_name(name) for name in self._answers("ping", {}, None, 1.0)]
        if worker in names:
            return
        shown = ", ".join(sorted(names)[:_MAX_NAMED]) or "none"
        raise CommandRefused(
            f"worker {worker} does not answer, so nothing was sent to it; workers that do:"
            f" {shown}. Is it running, with worker_enable_remote_control, and not busy in a"
            " solo pool?"
        )

    def order(self, worker: str, command: str, **arguments: Any) -> Any:
        """Have a worker do something.

        Returns:
            What it says with its ``ok``.

        Raises:
            WorkerDeclined: It answered that it did not.
            AdapterError: It did not answer (indeterminate), or the broker failed.
        """
        answers = self._answers(command, arguments, worker, _ORDER_PATIENCE)
        if not answers:
            raise AdapterError(
                f"worker {worker} did not answer {command} in time; look at the worker before"
                " repeating it",
                indeterminate=True,
            )
        return accepted(worker, next(iter(answers.values())))

    def order_all(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have all workers do something; return their raw answers by name, maybe none."""
        return self._answers(command, arguments, None, 1.0)

    def look(self, worker: str, what: str) -> Any:
        """Return what a worker says of itself, or None when it does not answer.

        Args:
            worker: Whom to ask.
            what: An inspect command: ``stats``, ``active_queues``.
        """
        for _ in range(2):
            answers = self._answers(what, {}, worker, _PATIENCE)
            if answers:
                return next(iter(answers.values()))
        return None

    def wait_for(self, is_so: Callable[[], bool]) -> bool:
        """Look again and again, for about 12 seconds, whether an order has taken effect.

        A prefork pool makes its new processes at its next maintenance, up to 5 seconds on.
        """
        for left in reversed(range(_LOOKS)):
            try:
                if is_so():
                    return True
            except CommandError:
                # A worker may be deaf for a moment, as while its pool restarts.
                if not left:
                    raise
            self._sleep(_PAUSE_S)
        return False

    def _answers(
        self, command: str, arguments: Mapping[str, Any], worker: str | None, patience: float
    ) -> dict[str, Any]:
        return broadcast(
            self._handle.app,
            command,
            arguments,
            timeout_s=self._handle.reply_timeout_s * patience,
            worker=None if worker is None else worker_name_from_wire(worker),
        )


def accepted(worker: str, answer: Any) -> Any:
    """Return what a worker says with its ``ok``.

    Raises:
        WorkerDeclined: It said something else.
    """
    if isinstance(answer, dict) and "ok" in answer:
        return answer["ok"]
    reason = answer.get("error") if isinstance(answer, dict) else answer
    raise WorkerDeclined(worker, str(reason)[:_MAX_TEXT_CHARS])
