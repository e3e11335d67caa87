"""Calls open objects in forked children, so that they let go of what they inherited.

A child that kept a descriptor would hold its parent's ``flock``, the space of removed files, and a
database connection that SQLite forbids it to use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

__all__ = ["call_in_child"]

_methods: list[WeakMethod[Callable[[], None]]] = []


def call_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every child forked from now on, while its object lives."""
    _methods[:] = [known for known in _methods if known() is not None]
    _methods.append(WeakMethod(method))


def _after_fork_in_child() -> None:
    for known in _methods:
        method = known()
        if method is not None:
            method()


os.register_at_fork(after_in_child=_after_fork_in_child)
