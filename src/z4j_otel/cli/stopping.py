"""Ending a command that runs until somebody stops it."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["StopRequest", "stop_signals"]


class StopRequest:
    """Whether somebody asked for the end; a signal handler may set it.

    A ``threading.Event`` may not be set there: the handler runs on the thread that waits, and
    hangs where it interrupts ``Event.wait`` with the event's lock in its hands.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Ask for the end."""
        self._asked.put(None)

    def is_set(self) -> bool:
        """Tell whether the end was asked for."""
        return not self._asked.empty()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the end is asked for.

        Args:
            timeout: How long to wait, seconds; for ever by default.

        Returns:
            Whether it was asked for.
        """
        try:
            self._asked.get(timeout=timeout)
        except queue.Empty:
            return False
        self._asked.put(None)  # for whoever asks next
        return True


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request, and give the signals back at the end."""
    asked = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: asked.set()) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
