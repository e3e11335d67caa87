"""The agent of this process, put together and taken apart, on a thread or beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from z4j_otel.agent.engines import adapters_in_use, introduce
from z4j_otel.agent.placement import RunningAgent, runs_beside
from z4j_otel.agent.seat import Seat
from z4j_otel.forks import fork_gate
from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["end_agent", "leave_files", "make_agent"]


def make_agent(
    seat: Seat,
    given: Sequence[EngineAdapter],
    worker: Mapping[str, Any],
    *,
    release: Callable[[], None],
) -> RunningAgent:
    """Put the agent of this process together; it is not started yet.

    Args:
        seat: This process's place, with files.
        given: Adapters that the application built, or none.
        worker: The engine's own worker object by engine name, in a worker.
        release: Stops the capture of this process and closes its journal.
    """
    adapters = adapters_in_use(seat.config, given, worker)
    hello = introduce(seat.config, adapters, is_worker=bool(worker))
    if runs_beside(seat.config):
        from z4j_otel.agent.process import AgentProcess  # noqa: PLC0415 -- only where it is used

        return AgentProcess(seat, adapters, hello=hello, release=release)
    # Network and database are loaded where the agent runs, and nowhere else.
    from z4j_otel.agent.assembly import build_agent  # noqa: PLC0415 -- see above

    with fork_gate:
        agent = build_agent(seat, adapters, hello=hello)
        agent.on_idle = seat.sink.call_at_next
        return agent


def end_agent(agent: RunningAgent, timeout_s: float | None = None) -> None:
    """Have an agent deliver what waits, and end; one that runs beside leaves its files, too."""
    finish = getattr(agent, "finish", agent.shutdown)
    finish(timeout_s)


def leave_files(seat: Seat, agent: RunningAgent | None) -> None:
    """Give up the files after the agent's end; they are deleted when nothing is left."""
    if seat.files is not None and getattr(agent, "has_left", False):
        seat.files.close()
        return
    from z4j_otel.agent.assembly import leave  # noqa: PLC0415 -- loaded with the agent

    with fork_gate:
        leave(seat, getattr(agent, "ledger", None))
