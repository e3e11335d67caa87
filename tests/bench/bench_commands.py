"""How soon a command is acked while another one hangs, and a flood comes beside it.

The embedded brain and the agent share this process, as threads; what is measured is from
the operator's click to the ack at the brain: two ways over a WebSocket of this machine.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import Any

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.commands import Command
from z4j_otel.config import load_config
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.redaction import Redactor

COMMANDS = 200
FLOOD = 50


class _Engine:
    """An engine whose task ``stuck`` hangs until it is let go."""

    name = "slow"

    def __init__(self) -> None:
        self.free = threading.Event()

    def capabilities(self) -> list[str]:
        return ["cancel_task"]

    def execute(self, command: Command) -> dict[str, Any]:
        if command.parameters["task_id"] == "stuck":
            self.free.wait(60)
        return {"task_id": command.parameters["task_id"], "terminated": False}

    def queue_depths(self) -> dict[str, int]:
        return {}

    def worker_details(self) -> dict[str, dict[str, Any]]:
        return {}


class _NoJournal:
    def import_pending(self, now_ns: int) -> int:
        return 0

    def close(self) -> None:
        """Close nothing."""


def run() -> dict[str, float]:
    """Return milliseconds from click to ack: quiet, beside a hung command, in a flood."""
    engine, buffer = _Engine(), MemoryBuffer()
    with BrainThread() as thread:
        agent = AgentRuntime(
            load_config({}, thread.env()),
            [engine],
            buffer=buffer,
            importer=_NoJournal(),
            redactor=Redactor(),
        )
        agent.start()
        assert agent.wait_connected()
        quiet = _acks_ms(thread.brain, "quiet")
        stuck = _issue(thread.brain, "stuck")
        hung = _acks_ms(thread.brain, "hung")
        begun = time.perf_counter()
        flood = [_issue(thread.brain, f"flood-{number}") for number in range(FLOOD)]
        assert thread.brain.wait_for(lambda: all(each.is_done for each in flood), 30)
        flood_ms = (time.perf_counter() - begun) * 1000
        assert not stuck.is_done
        engine.free.set()
        stuck.wait(10)
        agent.shutdown(2)
    return {
        "quiet_p50_ms": statistics.median(quiet),
        "hung_p50_ms": statistics.median(hung),
        "hung_max_ms": max(hung),
        "flood_ms": flood_ms,
    }


def _acks_ms(brain: DevBrain, name: str) -> list[float]:
    waited = []
    for number in range(COMMANDS):
        begun = time.perf_counter()
        command = _issue(brain, f"{name}-{number}")
        assert brain.wait_for(lambda command=command: command.is_acked, 10)
        waited.append((time.perf_counter() - begun) * 1000)
    return waited


def _issue(brain: DevBrain, task_id: str) -> Any:
    return brain.issue("cancel_task", engine="slow", task_id=task_id)


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:20} {value:8.1f}")  # noqa: T201 -- this is what it is for
