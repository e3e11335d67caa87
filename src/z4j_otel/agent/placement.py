"""Where the agent of this process runs: on a thread of it, or in a process beside it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Protocol

from z4j_otel.agent.spawning import can_spawn
from z4j_otel.config import AgentConfig
from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["RunningAgent", "green_library", "runs_beside"]

_logger = logging.getLogger(__name__)


class RunningAgent(Protocol):
    """What a process can do with its agent, wherever that runs."""

    @property
    def worker_id(self) -> str:
        """This process's slot at the brain."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether the brain takes our frames at present."""
        ...

    def register_engine(self, adapter: EngineAdapter) -> None:
        """Add an engine, before :meth:`start`."""
        ...

    def start(self) -> None:
        """Start and return at once."""
        ...

    def wait_connected(self, timeout_s: float = ...) -> bool:
        """Wait until the brain has taken a signed frame of ours."""
        ...

    def flush(self, timeout_s: float | None = None) -> bool:
        """Deliver everything that was captured before the call."""
        ...

    def shutdown(self, timeout_s: float | None = None) -> bool:
        """Deliver what waits, and end."""
        ...

    def status(self) -> dict[str, Any]:
        """Return a snapshot: plain values, no secrets."""
        ...


def green_library() -> str | None:
    """Return ``gevent`` or ``eventlet`` where it has replaced this process's threads.

    Their threads take turns, on one thread of the system, wherever the code would wait. An
    event loop of another library never waits in a way they know: it would stop them all.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet"
    return None


def runs_beside(
    config: AgentConfig,
    *,
    green: Callable[[], str | None] = green_library,
    is_possible: Callable[[], bool] = can_spawn,
) -> bool:
    """Decide whether the agent runs in a process of its own, and say what was not granted.

    Args:
        config: ``agent_host`` is what the user wants.
        green: Names the library that has replaced threads here, if any.
        is_possible: Whether a process can be started.
    """
    library = green()
    wanted = config.agent_host == "process" or library is not None
    if wanted and not is_possible():
        _logger.warning(
            "[z4j] no agent process can be started here; the agent runs on a thread",
            extra={"action": "agent_host"},
        )
        return False
    if library is not None and config.agent_host == "thread":
        _logger.warning(
            "[z4j] agent_host=thread would stop a worker under %s; a process is used",
            library,
            extra={"action": "agent_host"},
        )
    return wanted
