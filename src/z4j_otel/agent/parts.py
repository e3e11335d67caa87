"""What an agent's loop is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.schedules.native import Desk
from z4j_otel.buffer.base import EventBuffer
from z4j_otel.clock import Clock
from z4j_otel.commands import Command, CommandResult
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.transport.base import Transport

__all__ = ["Importer", "Parts"]


class Importer(Protocol):
    """Moves what processes journalled into the buffer."""

    def import_pending(self, now_ns: int) -> int:
        """Import what is there; returns how many records were read. Quick."""
        ...

    def close(self) -> None:
        """Close the journal."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What an agent is made of; see :class:`z4j_otel.agent.agent.Agent`."""

    key: bytes
    heartbeat_s: float
    transport: Transport
    buffer: EventBuffer
    importer: Importer
    engines: Mapping[str, EngineAdapter]
    hello: HelloBuilder
    ledger: Ledger
    redactor: Redactor
    clock: Clock
    random: Callable[[], float]
    run_command: Callable[[Command], CommandResult]
    announce: Callable[[], None]
    show: Callable[[Mapping[str, Any]], None] = lambda _status: None
    schedules: Desk | None = None
    """The schedulers of the engines."""
    offered: Callable[[Iterable[str]], list[str]] = list
    """Returns what the local policy leaves of a scheduler's tokens."""
    seat_of: Callable[[Iterable[str]], Path | None] = lambda _schedulers: None
    """Returns the lock of who mirrors these schedulers; None where nobody else can."""
    read_key: Callable[[], bytes] | None = None
    """Returns the key of the next connection, where it may change."""
    agent_id: str = ""
    """Whom the user takes this for; empty where the brain's word is enough."""
    asks_engines: bool = True
    """Whether heartbeats tell of queues, workers and tasks."""
    tells_status: bool = True
    resync_s: float = 60.0
    """Time between full comparisons of the schedules, seconds."""

    def __repr__(self) -> str:
        return f"Parts(transport={self.transport!r}, engines={sorted(self.engines)})"
