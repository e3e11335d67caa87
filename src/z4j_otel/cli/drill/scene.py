"""A worker, its tasks and a brain, with hands to break each of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage, StageError
from z4j_otel.cli.drill.notes import Notes

__all__ = ["Call", "Scene"]

Call = tuple[str, tuple[object, ...]]
"""A task's name and its arguments."""
_READY_S = 60.0


class Scene:
    """One worker at a time of one application, and the brain it reports to."""

    def __init__(self, brain: EmbeddedBrain, stage: Stage, notes: Notes) -> None:
        """Prepare; nothing runs yet.

        Args:
            brain: The brain, running.
            stage: The worker, whose application has the drill's tasks.
            notes: What these tasks note.
        """
        self.brain = brain
        self.stage = stage
        self.folder = stage.folder
        self.notes = notes
        self.ids: list[str] = []
        """Every task that was published."""
        self.ended_s: list[float] = []
        """When workers were gone that were stopped or killed, seconds since the epoch."""
        self._groups: list[int] = []

    def start_worker(self) -> None:
        """Start a worker and wait until it takes tasks.

        Raises:
            StageError: It ended, or was not ready within a minute.
        """
        self.stage.start()
        pid = self.stage.worker_pid
        self._groups.append(pid)

        def is_ready() -> bool:
            if not self.stage.has_worker:
                raise StageError("the worker ended at its start", self.stage.log())
            return self.notes.is_ready(pid)

        self.wait(is_ready, _READY_S, "start of the worker")

    def stop_worker(self, signal_number: int = signal.SIGTERM) -> None:
        """Stop the worker: SIGTERM warmly, SIGQUIT coldly."""
        self.stage.stop(signal_number)
        self.ended_s.append(time.time())

    def kill_worker(self, *, whole_group: bool) -> None:
        """SIGKILL the worker's main process, or with it all its children at once."""
        self.stage.kill(whole_group=whole_group)
        self.ended_s.append(time.time())

    @property
    def workers(self) -> int:
        """How many workers were started."""
        return len(self._groups)

    def kill_child(self, pid: int, signal_number: int) -> None:
        """Send a signal to a process of a worker of this scene, and to no other."""
        with contextlib.suppress(ProcessLookupError):
            # A number from the notes may have become another process's in the meantime.
            if os.getpgid(pid) in self._groups:
                os.kill(pid, signal_number)

    def kill_orphans(self) -> None:
        """SIGKILL what is left of every worker of this scene."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def children(self) -> list[int]:
        """Return the pool's processes."""
        text = Path(f"/proc/{self.stage.worker_pid}/task/{self.stage.worker_pid}/children")
        with contextlib.suppress(FileNotFoundError):
            return [int(pid) for pid in text.read_text("ascii").split()]
        return []

    def begun(self) -> int:
        """Count the runs that began."""
        return sum(map(len, self.notes.runs().values()))

    def running(self) -> list[str]:
        """Return the tasks that run now."""
        return [each for each, runs in self.notes.runs().items() if not runs[-1].is_over]

    def stop_brain(self) -> None:
        """Take the brain away; it keeps what it knows."""
        self.brain.__exit__(None, None, None)

    def start_brain(self) -> None:
        """Bring the brain back, on the same port."""
        self.brain.__enter__()

    def wait(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait for something.

        Raises:
            StageError: It did not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise StageError(f"no {what} within {timeout_s:.0f} s", self.stage.log())
            time.sleep(0.05)
