"""The course of the demo, and what it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from z4j_otel.cli.demo.brains import BrainView
from z4j_otel.cli.demo.stage import WORKER_NAME, Stage, StageError
from z4j_otel.cli.workload.checks import differences, story_of
from z4j_otel.cli.workload.scenarios import SCENARIOS, Scenario

__all__ = ["Line", "Tour"]

_COMMAND_S = 30.0
_FINAL = frozenset({"success", "failure", "revoked"})


@dataclass(slots=True)
class Line:
    """What is known of one scenario."""

    scenario: Scenario
    task_id: str = ""
    row: dict[str, Any] | None = None
    story: str = ""
    problems: list[str] = field(default_factory=lambda: ["not seen yet"])

    @property
    def is_right(self) -> bool:
        """Whether the brain shows the truth."""
        return not self.problems


@dataclass(slots=True)
class Retry:
    """The retry of the failed task, sent from the brain."""

    status: str = "not sent"
    new_task_id: str = ""
    row: dict[str, Any] | None = None

    @property
    def is_right(self) -> bool:
        """Whether a new run of the failed task was seen to its end."""
        return self.status == "completed" and self.state == "failure"

    @property
    def state(self) -> str:
        """The state of the new run, as the brain shows it."""
        return str(self.row["state"]) if self.row else "unknown"


class Tour:
    """Plays every scenario and compares what the brain made of it with the truth."""

    def __init__(
        self,
        brain: BrainView,
        stage: Stage,
        *,
        show: Callable[[str], None] = lambda _text: None,
        refresh: Callable[[Sequence[Line]], None] = lambda _lines: None,
        scenarios: Sequence[Scenario] = SCENARIOS,
    ) -> None:
        """Prepare a tour.

        Args:
            brain: The brain, running.
            stage: The worker, started.
            show: Told of each step, in a sentence.
            refresh: Given the lines whenever they may have changed.
            scenarios: What to play; "raises" is retried, so it must be among them.
        """
        self._brain = brain
        self._stage = stage
        self._show = show
        self._refresh = refresh
        self.lines = [Line(scenario) for scenario in scenarios]
        self.cancel_status = "not sent"
        """How the cancel of the slow task ended, in the brain's words."""
        self.retry = Retry()

    def run(self, *, start_s: float = 40.0, run_s: float = 45.0) -> bool:
        """Play everything.

        Args:
            start_s: Longest wait for the worker, seconds.
            run_s: Longest wait for the scenarios, seconds.

        Returns:
            Whether all was as it should be.

        Raises:
            StageError: The worker or the publisher did not do its part.
        """
        self._show("starting a Celery worker under opentelemetry-instrument")
        self._wait(self._is_worker_known, start_s, "the brain does not see the worker")
        self._show(f"{WORKER_NAME} is online; a publisher sends {len(self.lines)} kinds of task")
        ids = self._stage.publish(*(line.scenario.name for line in self.lines))
        for line in self.lines:
            line.task_id = ids[line.scenario.name]
        if "revoked" in ids:
            self._stage.revoke(ids["revoked"])
        self._play(run_s)
        self._retry_failed()
        return self.look()

    def look(self) -> bool:
        """Compare everything anew.

        Returns:
            Whether all was as it should be.
        """
        for line in self.lines:
            self._look_at(line)
        self._refresh(self.lines)
        return self.retry.is_right and all(line.is_right for line in self.lines)

    def _is_worker_known(self) -> bool:
        return self._stage.is_ready() and WORKER_NAME in self._brain.workers()

    def _play(self, run_s: float) -> None:
        """Wait until every task is told to its end; cancel the slow one on the way."""
        slow = [line for line in self.lines if line.scenario.name == "cancelled"]
        deadline = time.monotonic() + run_s
        while time.monotonic() < deadline:
            self._stage.is_ready()
            for line in self.lines:
                if not line.is_right:
                    self._look_at(line)
            self._refresh(self.lines)
            if slow and slow[0].row and slow[0].row["state"] == "started":
                self._cancel(slow.pop())
            if all(line.is_right for line in self.lines):
                return
            time.sleep(0.2)

    def _cancel(self, slow: Line) -> None:
        self._show("the brain cancels the task that runs too long")
        ended = self._brain.command("cancel_task", slow.task_id, _COMMAND_S)
        self.cancel_status = str(ended["status"])

    def _retry_failed(self) -> None:
        failed = self._line("raises")
        self._show("the brain retries the task that raised")
        ended = self._brain.command("retry_task", failed.task_id, _COMMAND_S)
        self.retry.status = str(ended["status"])
        self.retry.new_task_id = str((ended.get("result") or {}).get("new_task_id", ""))
        if self.retry.new_task_id:
            self._wait(self._is_retry_over, 15.0, "the retried task was not seen to its end")

    def _is_retry_over(self) -> bool:
        row = self.retry.row = self._brain.task(self.retry.new_task_id)
        return row is not None and row["state"] in _FINAL

    def _look_at(self, line: Line) -> None:
        if not line.task_id:
            return
        events = self._brain.events(line.task_id)
        line.row = self._brain.task(line.task_id)
        line.story = story_of(events)
        line.problems = differences(
            line.scenario,
            line.row,
            events,
            worker=WORKER_NAME,
            is_ordered=self._brain.is_ordered,
        )

    def _line(self, name: str) -> Line:
        return next(line for line in self.lines if line.scenario.name == name)

    def _wait(self, condition: Callable[[], bool], timeout_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise StageError(otherwise, self._stage.log())
            time.sleep(0.1)
