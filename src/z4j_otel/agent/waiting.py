"""Waiting with a time limit that never loses a cancellation, and calls from other threads.

Until Python 3.12, ``asyncio.wait_for`` swallows a cancellation that arrives in the same turn
as the result (the task goes on as if nobody had asked it to end). Everything here is built
on ``asyncio.wait``, which does not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["call_soon", "wait_set", "within"]

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


async def wait_set(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait until an event is set, at most ``timeout_s`` seconds; tell whether it is."""
    if not event.is_set():
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
        finally:
            waiter.cancel()
    return event.is_set()


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call on a loop, from any thread; not at all when the loop has ended."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        _logger.debug("the agent has ended meanwhile")


async def within(work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
    """Run a coroutine to its end, at most ``timeout_s`` seconds.

    Raises:
        asyncio.TimeoutError: It had not ended; it has been cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
    except asyncio.CancelledError:
        _abandon(task)
        raise
    if task.done():
        return task.result()
    _abandon(task)
    raise asyncio.TimeoutError


def _abandon(task: asyncio.Future[Any]) -> None:
    task.cancel()
    # Nobody will ask how it ended; unasked, asyncio would log it as forgotten.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
