"""What a fork must not meet, and what a forked child must let go of.

Theory of operation
    A child that kept a descriptor would hold its parent's ``flock``, the space of removed
    files, and a database connection that SQLite forbids it to use: open objects ask to be
    called in the child.

    A lock that another thread holds at the moment of a fork stays locked in the child for
    ever. SQLite's own mutexes are of that kind: a task that opens a SQLite database in such
    a child never returns (seen: one worker in four, 200 children, a SQLite result backend).
    So a background thread of ours works inside a gate that a fork waits for, and leaves it
    whenever it waits itself. The wait is bounded: the application's fork comes first.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakMethod

__all__ = ["GatedSelector", "call_in_child", "fork_gate"]

_MOST_S: Final = 1.0
"""How long a fork waits for our thread, seconds; what the thread does between two waits
takes milliseconds."""

_methods: list[WeakMethod[Callable[[], None]]] = []


class _Gate:
    """Held by a thread of ours while it works, and by a fork."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._forking_thread = 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Wait for our thread to leave, within the limit."""
        if self._lock.acquire(timeout=_MOST_S):
            self._forking_thread = threading.get_ident()

    def after_fork_in_parent(self) -> None:
        """Let our thread go on."""
        if self._forking_thread == threading.get_ident():
            self._forking_thread = 0
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Make a lock of this process's own."""
        self._forking_thread = 0
        self._lock = threading.RLock()


fork_gate: Final = _Gate()
"""Entered by background threads that use locks which a fork cannot reset."""


class GatedSelector(selectors.DefaultSelector):
    """Leaves the gate while an event loop waits: forks then meet a thread that holds nothing.

    The thread that runs the loop enters the gate before it starts it.
    """

    def select(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """Wait for events, outside the gate."""
        fork_gate.__exit__()
        try:
            return super().select(timeout)
        finally:
            fork_gate.__enter__()


def call_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every child forked from now on, while its object lives."""
    _methods[:] = [known for known in _methods if known() is not None]
    _methods.append(WeakMethod(method))


def _after_fork_in_child() -> None:
    fork_gate.after_fork_in_child()
    for known in _methods:
        method = known()
        if method is not None:
            # Python drops what a handler raises; the methods behind it must be called, too.
            with contextlib.suppress(BaseException):
                method()


os.register_at_fork(
    before=fork_gate.before_fork,
    after_in_parent=fork_gate.after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
