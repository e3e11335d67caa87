"""Everything that runs on the agent's event loop, put together.

Theory of operation
    Two tasks live as long as the agent: the supervisor keeps a connection, and the importer
    moves the journal into the buffer. The importer looks four times a second while records
    come, and less and less often while none do (:mod:`z4j_otel.agent.import_pace`). Before a
    long sleep it has the next record of this process call it, so that an idle agent wakes less
    than once a second and a first task is seen at once. Commands run on threads beside the
    loop; their answers come back to it, so the buffer has one user.

    The end: commands are drained, what waits is delivered, the connection is closed with
    1000. Each part has its share of the time that is given.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from z4j_otel.agent.braintime import BrainTime
from z4j_otel.agent.command_memory import CommandMemory
from z4j_otel.agent.connection import BrainConnection
from z4j_otel.agent.dispatcher import Dispatcher
from z4j_otel.agent.health import HealthProbe
from z4j_otel.agent.heartbeat import AgentReports
from z4j_otel.agent.import_pace import ImportPace
from z4j_otel.agent.parts import Parts
from z4j_otel.agent.pool import WorkerPool
from z4j_otel.agent.registry import RegistryNews
from z4j_otel.agent.schedules.commands import ScheduleCommands
from z4j_otel.agent.schedules.memory import ToldMemory
from z4j_otel.agent.schedules.mirror import ScheduleMirror
from z4j_otel.agent.schedules.native import Desk
from z4j_otel.agent.schedules.ownership import MirrorSeat, told_path
from z4j_otel.agent.schedules.service import ScheduleService
from z4j_otel.agent.status import build_status_dict
from z4j_otel.agent.supervisor import Supervisor
from z4j_otel.agent.uploader import Uploader
from z4j_otel.agent.waiting import call_soon
from z4j_otel.buffer.base import EntryKind
from z4j_otel.commands import Command
from z4j_otel.errors import BufferError_, BufferFull
from z4j_otel.guard import guard
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.transport.backoff import Backoff
from z4j_otel.wire.frames import DEFAULT_MAX_FRAME_BYTES
from z4j_otel.wire.session import Role, Session

__all__ = ["AgentLoop"]

_logger = logging.getLogger(__name__)

_FLUSH_LOOK_S: Final = 0.02
_ANNOUNCE_S: Final = 3_600.0
_SHOW_S: Final = 5.0
_STATS_S: Final = 1.0
_LOST_S: Final = 5.0
_DRAIN_SHARE: Final = 0.5
_CLOSE_S: Final = 1.0


class AgentLoop:
    """The agent's work; every method is called on its event loop.

    Args:
        parts: What it is made of.
        on_state: Told at every change whether the agent is connected.
        on_idle: Given what the next record is to call, before a long sleep; None where
            records come from other processes only.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        on_state: Callable[[bool], None],
        on_idle: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._parts = parts
        self._pool = WorkerPool()
        self._probes = WorkerPool(len(parts.engines), name="z4j-health")
        self._time = BrainTime(parts.clock)
        self._uploader = Uploader(parts.buffer, parts.ledger, parts.clock, brain_clock=self._time)
        self._supervisor = Supervisor(
            self._open_connection,
            backoff=Backoff(parts.random),
            ledger=parts.ledger,
            on_state=self._note_state,
        )
        self._on_state = on_state
        engines: Sequence[EngineAdapter] = tuple(parts.engines.values())
        registry = RegistryNews(parts.redactor)
        self._reports = AgentReports(
            parts.buffer,
            parts.ledger,
            HealthProbe(
                engines if parts.asks_engines else (),
                parts.redactor,
                clock=parts.clock,
                spawn=self._probes.submit,
                on_tasks=registry.note,
            ),
            registry,
            engines=[engine.name for engine in engines],
            streaks=lambda: self._supervisor.streaks,
            clock=parts.clock,
            clock_offset_s=lambda: self._time.offset_s,
        )
        run = parts.run_command
        self._schedules: ScheduleService | None = None
        if parts.schedules is not None and self._introduce_schedulers(parts.schedules):
            mirror = self._mirror(parts.schedules)
            run = ScheduleCommands(run, mirror).run
            self._schedules = self._serve_schedules(mirror)
        self._dispatcher = Dispatcher(
            run,
            pool=self._pool,
            memory=CommandMemory(parts.buffer, parts.engines.keys(), parts.clock),
            result_sink=self._take_result,
            loop=asyncio.get_running_loop(),
        )
        self._hello = parts.hello.build()
        self._import_once = guard("journal import")(self._import_or_tell)
        self._is_import_failing = False
        self._announce = guard("worker announcement")(parts.announce)
        self._show = guard("status file")(lambda: parts.show(self.status()))
        self._stopping = asyncio.Event()
        self._pace = ImportPace(on_idle)

    async def run(self) -> None:
        """Work until :meth:`stop` has been called; then everything is closed."""
        tasks = [
            asyncio.create_task(self._supervisor.run()),
            asyncio.create_task(self._import_forever()),
        ]
        if self._schedules is not None:
            tasks.append(asyncio.create_task(self._schedules.run()))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            self._show()
            self._pool.close()
            self._probes.close()
            if self._schedules is not None:
                self._schedules.close()
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
        try:
            await self._dispatcher.drain(timeout_s * _DRAIN_SHARE)
            left_s = deadline_s - clock.monotonic_s()
            return await self.flush(max(0.0, left_s - min(_CLOSE_S, timeout_s / 5)))
        finally:
            # Also when whoever asked waits no longer: the files are given up behind us.
            self.end()

    def end(self) -> None:
        """Let :meth:`run` end now, whatever is left."""
        self._stopping.set()

    def status(self) -> dict[str, Any]:
        """Return a snapshot for status displays; see :mod:`z4j_otel.agent.status`."""
        self._reports.stats()
        parts = self._parts
        link = {
            **self._supervisor.describe(parts.clock.now_ns()),
            "transport": getattr(parts.transport, "way", "ws"),
            "batch_limit": self._uploader.batch_limit,
            "clock_offset_s": round(self._time.offset_s, 1),
            "commands_held": self._dispatcher.held_commands,
            "schedulers": {name: self._hello.capabilities[name] for name in self._hello.schedulers},
        }
        if self._schedules is not None:
            link["schedules"] = self._schedules.describe()
        return build_status_dict(
            link,
            parts.ledger,
            worker_id=self._hello.worker_id or "",
            capabilities={name: self._hello.capabilities[name] for name in self._hello.engines},
            now_ns=parts.clock.now_ns(),
        )

    def _open_connection(
        self, on_proven: Callable[[], None], on_stable: Callable[[], None]
    ) -> BrainConnection:
        parts = self._parts
        features = [] if self._schedules is None else self._schedules.connecting()
        return BrainConnection(
            parts.transport,
            Session(Role.AGENT, parts.read_key() if parts.read_key else parts.key),
            parts.hello.build(features),
            uploader=self._uploader,
            reports=self._reports,
            on_command=self._take_command,
            on_proven=on_proven,
            on_stable=on_stable,
            time=self._time,
            heartbeat_s=parts.heartbeat_s,
            tells_status=parts.tells_status,
            agent_id=parts.agent_id,
        )

    def _introduce_schedulers(self, desk: Desk) -> bool:
        """Say which schedulers there are, as far as they may be mirrored; False for none."""
        parts = self._parts
        offered = {name: parts.offered(can) for name, can in desk.capabilities().items()}
        for name, tokens in offered.items():
            parts.hello.add_scheduler(name, tokens)
        # The policy is the same for all of them.
        return any(offered.values())

    def _mirror(self, desk: Desk) -> ScheduleMirror:
        loop = asyncio.get_running_loop()
        return ScheduleMirror(
            desk,
            self._parts.buffer,
            self._parts.clock,
            on_stored=lambda: call_soon(loop, self._supervisor.wake),
            frame_bytes=self._frame_bytes,
            memory=ToldMemory(told_path(self._parts.seat_of(desk.capabilities()))),
        )

    def _serve_schedules(self, mirror: ScheduleMirror) -> ScheduleService:
        parts = self._parts
        return ScheduleService(
            mirror,
            MirrorSeat(parts.seat_of(mirror.owners)),
            parts.clock,
            reconnect=self._supervisor.renew,
            is_taken=self._brain_takes_schedules,
            random=parts.random,
            thorough_s=parts.resync_s,
        )

    def _brain_takes_schedules(self) -> bool:
        """Whether this connection is one over which a brain may ask for schedules."""
        connection = self._supervisor.connection
        version = "" if connection is None else connection.session.brain_version
        is_websocket = getattr(self._parts.transport, "way", "ws") != "longpoll"
        return is_websocket and not re.match(r"(?:0|1\.[0-7])\.", version)

    def _frame_bytes(self) -> int:
        connection = self._supervisor.connection
        return DEFAULT_MAX_FRAME_BYTES if connection is None else connection.session.max_frame_bytes

    def _note_state(self, is_connected: bool) -> None:
        if self._schedules is not None:
            self._schedules.connected(is_connected)
        self._on_state(is_connected)

    def _take_command(self, command: Command) -> None:
        if self._schedules is not None:
            self._schedules.received(command)
        self._dispatcher.submit(command)

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

    def _import_or_tell(self, now_ns: int) -> int:
        """Import; a disk that fails is told once, and once that it is well again."""
        try:
            count = self._parts.importer.import_pending(now_ns)
        except BufferFull:
            return 0  # the buffer has told of its disk; the journal keeps what it has
        except OSError as error:
            _logger.log(
                logging.DEBUG if self._is_import_failing else logging.WARNING,
                "the journal %s cannot be read (%s): see that user %d may read and write it; "
                "until then nothing new is delivered, and it keeps what comes",
                error.filename or "",
                error.strerror or type(error).__name__,
                os.geteuid(),
                extra={"action": "journal_unreadable"},
            )
            self._is_import_failing = True
            return 0
        if self._is_import_failing:
            self._is_import_failing = False
            _logger.info("the journal can be read again", extra={"action": "journal_readable"})
        return count

    def _import(self) -> int:
        count = self._import_once(self._parts.clock.now_ns()) or 0
        if count:
            self._parts.ledger.imported += count
            self._supervisor.wake()
        return count

    async def _import_forever(self) -> None:
        clock = self._parts.clock
        announce_due_s = show_due_s = stats_due_s = lost_due_s = clock.monotonic_s()
        pace = self._pace
        while True:
            if clock.monotonic_s() >= announce_due_s:
                announce_due_s = clock.monotonic_s() + _ANNOUNCE_S
                self._announce()
            if clock.monotonic_s() >= show_due_s:
                show_due_s = clock.monotonic_s() + _SHOW_S
                self._show()
            if pace.note(self._import()):
                pace.note(self._import())
            if clock.monotonic_s() >= lost_due_s:
                # After the import: files that were adopted by it tell of commands, too.
                lost_due_s = clock.monotonic_s() + _LOST_S
                self._dispatcher.answer_lost()
            if clock.monotonic_s() >= stats_due_s:
                # What other threads read of the ledger is put together here.
                stats_due_s = clock.monotonic_s() + _STATS_S
                if self._reports.stats().entries:
                    # Not all that comes in is told in the count of an import: an adoption
                    # ends runs, and a disk may fail behind the first of several chunks.
                    self._supervisor.wake()
            await pace.rest()
