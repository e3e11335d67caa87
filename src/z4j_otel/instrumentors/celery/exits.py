"""How pool children ended, by their exit status: Celery's own message is sometimes wrong.

Where a pool works with threads (brokers without an event loop), billiard keeps a lost run
for a while, and looks at it again whenever another child is reaped. By then it has forgotten
the status and notes 0, so that a task killed by SIGKILL fails with ``exitcode 0`` (seen in
billiard 4.3: 48 of 50 tasks). The status is known for certain at one moment: when the child
is reaped, and its queues are flushed.
"""

from __future__ import annotations

import signal
from collections import OrderedDict
from typing import Any, Final

from z4j_otel.guard import guard

__all__ = ["ChildExits"]

_MOST: Final = 1000
_UNKNOWN: Final = "exitcode 0"


class ChildExits:
    """The exit status of every child that was reaped, the latest thousand."""

    def __init__(self) -> None:
        self._statuses: OrderedDict[int, int] = OrderedDict()

    def around_flush(self, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        """``Pool.process_flush_queues``: a child was reaped, its status is known."""
        self._note(args[0] if args else next(iter(kwargs.values()), None))
        return wrapped(*args, **kwargs)

    @guard("capture of a child's exit status")
    def _note(self, worker: Any) -> None:
        status = getattr(worker, "exitcode", None)
        if type(status) is int:
            self._statuses.pop(worker.pid, None)
            self._statuses[worker.pid] = status
            if len(self._statuses) > _MOST:
                self._statuses.popitem(last=False)

    def corrected(self, text: str, pid: Any) -> str:
        """Return the message of a ``WorkerLostError`` with the status that the child had.

        Args:
            text: Celery's message.
            pid: Process that ran the task, if that is known.
        """
        status = self._statuses.get(pid) if type(pid) is int else None
        return text.replace(_UNKNOWN, _words(status), 1) if status else text


def _words(status: int) -> str:
    """Say a status as billiard does."""
    if status > 0:
        return f"exitcode {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
