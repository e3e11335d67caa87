"""Soft time limits that hit a pool child while it works for us and not for its task.

The main process sends SIGUSR1, and the child's handler raises ``SoftTimeLimitExceeded``
wherever the child happens to be. Within a receiver of a signal, Celery logs what is raised
and goes on, as our guard does: the task would never hear of its limit and run on to the hard
one (seen: 5 of 60 tasks that published in a loop). So a limit that would be lost there is
sent again a little later, as long as the same run goes on.
"""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

__all__ = ["SoftLimits"]

_AGAIN_S: Final = 0.005
_GUARD: Final = "z4j_otel.guard"
_SIGNALS: Final = "celery.utils.dispatch.signal"
_KEPT_IN: Final = ("z4j_otel.", "opentelemetry.instrumentation.celery", _SIGNALS)
"""Modules of whose receivers, or of the dispatcher itself, the limit would be lost."""


class SoftLimits:
    """Puts off the soft time limits of a pool child that are not to be lost.

    Args:
        current_run: Gives the run that goes on in this process, or None.
    """

    def __init__(self, current_run: Callable[[], Any]) -> None:
        self._current_run = current_run
        self._put_off: Any = None
        """The run whose limit has been sent again, until it comes."""

    def around_limit(self, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        """``soft_timeout_sighandler(signum, frame)``: raise the limit, now or a little later."""
        signum, frame = args
        run, put_off = self._current_run(), self._put_off
        self._put_off = None
        if put_off is not None and run is not put_off:
            return None  # its run ended meanwhile; between two tasks a limit would end the child
        if run is None or not would_be_lost(frame):
            return wrapped(*args, **kwargs)
        self._put_off = run
        # Not a `threading.Thread`: a signal may have come while its locks are held.
        _thread.start_new_thread(_send_again, (signum,))
        return None


def would_be_lost(frame: FrameType | None) -> bool:
    """Whether an exception raised in a frame would end in a hook and not in the task.

    Two places keep it: our guard, and Celery's dispatcher around a receiver that is ours or
    upstream's. What the application's own receivers make of a limit stays as it is.
    """
    inner = _SIGNALS
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == _GUARD or (module == _SIGNALS and inner.startswith(_KEPT_IN)):
            return True
        inner, frame = module, frame.f_back
    return False


def _send_again(signum: int) -> None:
    time.sleep(_AGAIN_S)
    os.kill(os.getpid(), signum)
