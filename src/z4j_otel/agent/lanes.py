"""Lets work on the same thing run one after the other, and everything else at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Jobs", "Lanes"]


class Jobs(Protocol):
    """Where jobs run."""

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job elsewhere."""
        ...


class Lanes:
    """Submits jobs, of each lane one at a time; used by one thread.

    Args:
        jobs: Where they run.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        """For each lane in use, what comes after the job that runs."""

    def enter(self, lane: str, job: Callable[[], None]) -> None:
        """Run a job when the lane is free; at once where the lane's name is empty."""
        if not lane:
            self._jobs.submit(job)
        elif lane in self._waiting:
            self._waiting[lane].append(job)
        else:
            self._waiting[lane] = deque()
            self._jobs.submit(job)

    def leave(self, lane: str) -> None:
        """Let the next one run: a job of this lane has ended."""
        waiting = self._waiting.get(lane)
        if waiting:
            self._jobs.submit(waiting.popleft())
        else:
            self._waiting.pop(lane, None)
