"""A few daemon threads that run what may block, and never hold up the end of a process."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["WorkerPool"]

_logger = logging.getLogger(__name__)

_MAX_REPLACED: Final = 12
"""Threads that may hang before no more are made in their stead."""


class WorkerPool:
    """Runs jobs on at most ``size`` threads that are not stuck.

    The standard pool's threads are joined when the interpreter ends: one hung broker call
    would keep a process alive. These are daemons, made on demand, asleep without work.

    Args:
        size: Jobs that run at a time.
        name: Of the threads.
    """

    def __init__(self, size: int = 4, *, name: str = "z4j-command") -> None:
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._made = 0
        self._idle = 0
        self._replaced = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as a thread is free; what it raises is logged."""
        with self._lock:
            needs_thread = self._idle <= self._jobs.qsize() and self._made < self._size
            if needs_thread:
                self._made += 1
            self._jobs.put(job)
        if needs_thread:
            self._add_thread()

    def replace_stuck(self) -> bool:
        """Allow one more thread because one hangs; False when too many hang already.

        The stuck thread serves again should it ever come back.
        """
        with self._lock:
            if self._replaced >= _MAX_REPLACED:
                return False
            self._replaced += 1
            self._size += 1
            needs_thread = self._jobs.qsize() > 0
            if needs_thread:
                self._made += 1
        if needs_thread:
            self._add_thread()
        return True

    def close(self) -> None:
        """Let the threads end after the jobs they have; does not wait for them."""
        for _ in range(self._made):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        try:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        except RuntimeError as error:
            # The job waits: for a thread that is there, or for the next attempt to add one.
            with self._lock:
                self._made -= 1
            _logger.warning("no thread for a command: %s", error, extra={"action": "no_thread"})

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            job = self._jobs.get()
            with self._lock:
                self._idle -= 1
            if job is None:
                return
            try:
                job()
            except BaseException as error:
                # The rim: a job, SystemExit included, must not cost the pool its thread.
                _logger.warning("a command's thread failed: %s", type(error).__name__)
                _logger.debug("a command's thread failed", exc_info=error)
