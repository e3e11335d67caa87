"""Everything that runs on the agent's event loop, put together.

Theory of operation
    Two tasks live as long as the agent: the supervisor keeps a connection, and the importer
    moves the journal into the buffer. The importer looks every 50 ms while records come, and
    less and less often, down to every 1.2 s, while none do: an idle agent wakes about once
    a second. Commands run on threads beside the loop; their answers come back to it, so the
    buffer has one user.

    The end: commands are drained, what waits is delivered, the connection is closed with
    1000. Each part has its share of the time that is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from z4j_otel.agent.connection import BrainConnection
from z4j_otel.agent.dispatcher import Dispatcher
from z4j_otel.agent.health import HealthProbe
from z4j_otel.agent.inventory import HelloBuilder
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.pool import WorkerPool
from z4j_otel.agent.reports import AgentReports
from z4j_otel.agent.supervisor import Supervisor
from z4j_otel.agent.uploader import Uploader
from z4j_otel.buffer.base import EntryKind, EventBuffer
from z4j_otel.clock import Clock
from z4j_otel.commands import Command, CommandResult
from z4j_otel.errors import BufferError_
from z4j_otel.guard import guard
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.transport.backoff import Backoff
from z4j_otel.transport.base import Transport
from z4j_otel.wire.session import Role, Session

__all__ = ["AgentLoop", "Importer", "Parts"]

_logger = logging.getLogger(__name__)

_BUSY_S: Final = 0.05
_IDLE_S: Final = 2.0
"""The longest that the first task after a quiet time waits to be seen. With heartbeats
every 10 s it keeps an idle agent below one wake-up a second."""
_FLUSH_LOOK_S: Final = 0.02
_ANNOUNCE_S: Final = 86_400.0
_DRAIN_SHARE: Final = 0.5
_CLOSE_S: Final = 1.0


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

    def __repr__(self) -> str:
        return f"Parts(transport={self.transport!r}, engines={sorted(self.engines)})"


class AgentLoop:
    """The agent's work; every method is called on its event loop.

    Args:
        parts: What it is made of.
        on_state: Told at every change whether the agent is connected.
    """

    def __init__(self, parts: Parts, *, on_state: Callable[[bool], None]) -> None:
        self._parts = parts
        self._pool = WorkerPool()
        self._uploader = Uploader(parts.buffer, parts.ledger, parts.clock)
        self._supervisor = Supervisor(
            self._open_connection,
            backoff=Backoff(parts.random),
            ledger=parts.ledger,
            on_state=on_state,
        )
        engines: Sequence[EngineAdapter] = tuple(parts.engines.values())
        self._reports = AgentReports(
            parts.buffer,
            parts.ledger,
            HealthProbe(engines, parts.redactor, clock=parts.clock),
            engines=[engine.name for engine in engines],
            streaks=lambda: self._supervisor.streaks,
            clock=parts.clock,
        )
        self._dispatcher = Dispatcher(
            parts.run_command,
            pool=self._pool,
            memory=parts.buffer,
            result_sink=self._take_result,
            clock=parts.clock,
            loop=asyncio.get_running_loop(),
        )
        self._hello = parts.hello.build()
        self._import_once = guard("journal import")(parts.importer.import_pending)
        self._announce = guard("worker announcement")(parts.announce)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop` has been called; then everything is closed."""
        tasks = [
            asyncio.create_task(self._supervisor.run()),
            asyncio.create_task(self._import_forever()),
        ]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self._pool.close()
            self._parts.importer.close()
            self._parts.buffer.close()

    async def flush(self, timeout_s: float) -> bool:
        """Import the journal and deliver everything; False when time ran out first."""
        clock = self._parts.clock
        deadline_s = clock.monotonic_s() + timeout_s
        self._supervisor.retry_now()
        self._uploader.lingers = False
        try:
            while True:
                self._import()
                self._supervisor.wake()
                if self._reports.stats().entries == 0:
                    return True
                left_s = deadline_s - clock.monotonic_s()
                if left_s <= 0:
                    return False
                await asyncio.sleep(min(left_s, _FLUSH_LOOK_S))
        finally:
            self._uploader.lingers = True

    async def stop(self, timeout_s: float) -> bool:
        """Drain commands, flush, and let :meth:`run` end; False when something was left."""
        clock = self._parts.clock
        deadline_s = clock.monotonic_s() + timeout_s
        await self._dispatcher.drain(timeout_s * _DRAIN_SHARE)
        left_s = deadline_s - clock.monotonic_s()
        is_delivered = await self.flush(max(0.0, left_s - min(_CLOSE_S, timeout_s / 5)))
        self._stopping.set()
        return is_delivered

    def status(self) -> dict[str, Any]:
        """Return a snapshot for status displays: plain values without secrets."""
        stats = self._reports.stats()
        return {
            **self._supervisor.describe(),
            "worker_id": self._hello.worker_id,
            "engines": list(self._hello.engines),
            "capabilities": {name: list(can) for name, can in self._hello.capabilities.items()},
            "buffer": {
                "entries": stats.entries,
                "bytes": stats.bytes,
                "oldest_ns": stats.oldest_ns,
            },
            "batch_limit": self._uploader.batch_limit,
            "commands_held": self._dispatcher.held_commands,
            "counts": self._parts.ledger.snapshot(),
        }

    def _open_connection(
        self, on_proven: Callable[[], None], on_stable: Callable[[], None]
    ) -> BrainConnection:
        parts = self._parts
        return BrainConnection(
            parts.transport,
            Session(Role.AGENT, parts.key),
            self._hello,
            uploader=self._uploader,
            reports=self._reports,
            on_command=self._dispatcher.submit,
            on_proven=on_proven,
            on_stable=on_stable,
            clock=parts.clock,
            heartbeat_s=parts.heartbeat_s,
        )

    def _take_result(self, body: bytes) -> None:
        try:
            self._parts.buffer.append(
                [(EntryKind.COMMAND_RESULT, body)], now_ns=self._parts.clock.now_ns()
            )
        except BufferError_ as error:
            _logger.warning(
                "a command's result could not be stored (%s); it is sent from memory only",
                type(error).__name__,
                extra={"action": "result_not_stored"},
            )
        self._uploader.hurry(body)
        self._supervisor.wake()

    def _import(self) -> int:
        count = self._import_once(self._parts.clock.now_ns()) or 0
        if count:
            self._parts.ledger.imported += count
            self._supervisor.wake()
        return count

    async def _import_forever(self) -> None:
        clock = self._parts.clock
        announce_due_s = clock.monotonic_s()
        pause_s = _BUSY_S
        while True:
            if clock.monotonic_s() >= announce_due_s:
                announce_due_s = clock.monotonic_s() + _ANNOUNCE_S
                self._announce()
            pause_s = _BUSY_S if self._import() else min(pause_s * 2, _IDLE_S)
            await asyncio.sleep(pause_s)
