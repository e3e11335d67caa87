"""Every way a task can end, played on one broker into one brain, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from z4j_otel.cli.demo.brains import BrainView
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.cli.demo.tour import Line, Tour
from z4j_otel.cli.workload.scenarios import SCENARIOS, Scenario

from .stage import TruthStage

__all__ = ["IMPOSSIBLE", "Truth", "play", "possible_on"]

_ONE_PROCESS = "the task runs in the worker's own process, and its end is the worker's"
_NO_LIMITS = "Celery has no time limits in this pool"
_NO_TERMINATE = "Celery cannot stop a running task in this pool"
_IMPOSSIBLE_IN_PROCESS = {
    "soft_limit": _NO_LIMITS,
    "hard_limit": _NO_LIMITS,
    "sigkill": _ONE_PROCESS,
    "exit": _ONE_PROCESS,
    "redelivered": _ONE_PROCESS,
    "cancelled": _NO_TERMINATE,
}
IMPOSSIBLE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "threads": _IMPOSSIBLE_IN_PROCESS,
        "solo": _IMPOSSIBLE_IN_PROCESS,
        "RabbitMQ": {"expired": "RabbitMQ drops an expired message; no worker learns of it"},
    }
)
"""By pool or broker, the scenarios that cannot happen there, each with the reason."""


def possible_on(place: str) -> tuple[Scenario, ...]:
    """Return the scenarios that can happen with a pool or broker."""
    return tuple(each for each in SCENARIOS if each.name not in IMPOSSIBLE.get(place, {}))


@dataclass(frozen=True, slots=True)
class Truth:
    """What a brain shows after a tour, beside what is true."""

    lines: Sequence[Line]
    retry_status: str
    """How the operator's retry of the failed task ended."""
    retry_state: str
    """State of the run that the retry made."""
    cancel_status: str
    """How the operator's cancel of the slow task ended; ``not sent`` without such a task."""
    exit_status: int | None
    """The worker's."""

    def line(self, name: str) -> Line:
        """Return the line of one scenario."""
        return next(line for line in self.lines if line.scenario.name == name)


class _Tour(Tour):
    """A tour in which a stamped task is revoked as well."""

    def _look_at(self, line: Line) -> None:
        super()._look_at(line)
        if line.scenario.name == "stamped" and line.story == "received":
            assert isinstance(self._stage, TruthStage)
            self._stage.revoke_by_stamp()


def play(
    brain: BrainView,
    stage: Stage,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    run_s: float = 60.0,
) -> Truth:
    """Play scenarios, stop the worker, and look again at all the brain knows.

    Args:
        brain: The brain, running.
        stage: The worker, not started.
        scenarios: What to play.
        run_s: Longest wait for the scenarios, seconds.

    Raises:
        StageError: The worker or the publisher did not do its part.
    """
    with stage:
        tour = _Tour(brain, stage, scenarios=scenarios)
        tour.run(run_s=run_s)
        status = stage.stop()
    tour.look()
    return Truth(tour.lines, tour.retry.status, tour.retry.state, tour.cancel_status, status)
