"""The one guard around our code on the application's threads.

An instrumented task must never notice that it is watched. Every hook of ours that runs on
an application's thread is wrapped in :func:`guard`: an error of ours is counted and logged
at most once a minute per place, and never leaves. The hooks that run for every single task
catch it themselves and give it to :func:`note_failure`: the wrapper's call, with arguments
of any kind, costs 1 µs each time, four times in the run of a task.

``SystemExit``, ``KeyboardInterrupt`` and other ``BaseException`` pass: they are the
application's (a pool child is stopped by a signal handler that raises ``SystemExit``
wherever the child happens to be).
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["failures", "guard", "note_failure"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_logger = logging.getLogger(__name__)
_LOG_EVERY_S = 60.0

failures: dict[str, int] = {}
"""How often each guarded place has failed in this process."""
_logged_at: dict[str, float] = {}


def guard(what: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R | None]]:
    """Keep a function's own errors away from its caller.

    Args:
        what: The place, in the words of a log line: ``"capture of task start"``.

    Returns:
        A decorator. The decorated function returns None where it would have raised.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R | None]:
        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R | None:
            try:
                return function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 -- the guard: nothing of ours leaves
                note_failure(what, error)
                return None

        return guarded

    return decorate


def note_failure(what: str, error: Exception) -> None:
    """Count an error of ours that was caught, and log it at most once a minute per place.

    Args:
        what: The place, as for :func:`guard`.
        error: What was caught; only its type is told.
    """
    count = failures.get(what, 0) + 1
    failures[what] = count
    now = time.monotonic()
    if now - _logged_at.get(what, -_LOG_EVERY_S) < _LOG_EVERY_S:
        return
    _logged_at[what] = now
    # The type only: a message or a traceback may hold the task's data.
    _logger.warning(
        "%s failed (%s, %d times so far); the application is not affected",
        what,
        type(error).__name__,
        count,
        extra={"action": "guarded_failure"},
    )
    _logger.debug("%s failed", what, exc_info=error)
