"""The workload's result backend: Celery's own on SQLite, which outlives the pool's forks.

Celery's main process keeps the ends of tasks whose process was killed, and forks the
replacement at the same time in another thread. SQLite notes in memory, for all connections
of a process, which locks it has on a file; a child that was forked amid a transaction takes
its parent's locks for its own, and waits for them as long as it lives.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, final

from celery.backends.database import DatabaseBackend

__all__ = ["Results"]

_IN_USE = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_IN_USE.acquire, after_in_parent=_IN_USE.release, after_in_child=_IN_USE.release
    )


def _unforked(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have forks wait until a transaction is over."""

    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _IN_USE:
            return method(*args, **kwargs)

    return run


@final
class Results(DatabaseBackend):  # type: ignore[misc] # Celery is untyped
    """Results in an SQLite file, each of whose transactions is in one process alone."""


for _name in (
    *("_store_result", "_get_task_meta_for", "_forget"),
    *("_save_group", "_restore_group", "_delete_group", "cleanup"),
):
    setattr(Results, _name, _unforked(getattr(DatabaseBackend, _name)))
