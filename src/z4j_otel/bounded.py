"""Calls that nobody can interrupt, given a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["bounded"]

_T = TypeVar("_T")


def bounded(work: Callable[[], _T], timeout_s: float) -> _T:
    """Return what a call returns, or raise what it raises, within a time limit.

    The call has a daemon thread of its own: the resolver of the C library and the clients
    of brokers cannot be interrupted. One that never returns ends with the process.

    Args:
        work: What to call.
        timeout_s: How long it may take, seconds.

    Raises:
        TimeoutError: It has not returned.
    """
    values: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(work())
        except BaseException as error:  # noqa: BLE001 -- raised again on the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="z4j-bounded", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not values:
        raise TimeoutError(f"no answer within {timeout_s:g} s")
    return values[0]
