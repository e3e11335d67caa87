"""The agent as its process sees it: made, started, flushed, shut down.

Theory of operation
    All work happens on one daemon thread with its own event loop, with instrumentation
    suppressed; the methods here hand over to it and wait, within a time limit. The agent
    never touches signal handlers and installs no exit hook: its host decides when to call
    :meth:`Agent.shutdown`. In a forked child every method does nothing: the thread stayed
    with the parent, and a child only appends to the journal.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import random as random_module
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from opentelemetry.instrumentation.utils import suppress_instrumentation

from z4j_otel.agent.execution import CommandRunner
from z4j_otel.agent.hello import HelloBuilder, agent_version
from z4j_otel.agent.ledger import Ledger
from z4j_otel.agent.loop import AgentLoop
from z4j_otel.agent.metrics import publish
from z4j_otel.agent.parts import Importer, Parts
from z4j_otel.agent.policy import policy_of, scheduler_tokens
from z4j_otel.agent.schedules.native import Desk, NativeSchedules
from z4j_otel.agent.schedules.ownership import seat_path
from z4j_otel.agent.status import build_status_dict
from z4j_otel.buffer.base import EventBuffer
from z4j_otel.clock import Clock, SystemClock
from z4j_otel.commands import Command, CommandResult
from z4j_otel.config.network import proxy_of, trust_of
from z4j_otel.config.rotation import fresh_key, fresh_secret
from z4j_otel.config.settings import AgentConfig
from z4j_otel.errors import ConfigError
from z4j_otel.forks import GatedSelector, fork_gate
from z4j_otel.guard import guard
from z4j_otel.ids import new_boot_id
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.redaction import Redactor
from z4j_otel.transport.base import Transport
from z4j_otel.transport.fallback import build_transport
from z4j_otel.transport.tls import tls_context

__all__ = ["AgentRuntime"]

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
# The application may have seeded the module's own generator: its numbers stay its own.
_random: Final = random_module.SystemRandom().random
_CONNECT_S: Final = 10.0
_ASK_S: Final = 2.0
_JOIN_S: Final = 2.0


class AgentRuntime:
    """One agent of one process.

    As a context manager, plain or asynchronous, it starts, waits a while for the brain
    (and goes on without it), and shuts down at the end.

    Args:
        config: Resolved settings: signing key, names, heartbeat and flush times are used.
        engines: The acting halves of the engines in this process.
        transport: The way to the brain; the one that the settings ask for when None.
        buffer: Where events wait; the agent closes it.
        importer: Fills the buffer from the journal; the agent closes it.
        redactor: Passed by everything that is not an event: results, worker details.
        clock: The machine's own when None.
        random: Decides the jitter of reconnections; a number in [0, 1).
        framework: ``bare``, ``django``, ``fastapi``, ``flask`` or another word.
        role: What this process is: ``web``, ``task``, ``scheduler``, ``beat``, ``other``;
            the configured role when empty.
        announce: Tells which workers are here; called at start and hourly, on the agent's
            thread: returns at once.
        policy: Raises ``CommandRefused`` for commands that must not run here; made of the
            setting ``commands`` when None.
        ledger: Counts; made when None.
        hello: How it introduces itself; made of the arguments above when None.
        run_command: Carries commands out; on the engines, in this process, when None.
        schedules: The engines' schedulers; those of this process when None.
        home: Where the agents of this machine agree who mirrors the schedules; None where
            this is the only one.

    Raises:
        ConfigError: Signing secret or address are malformed, or two engines have one name.
    """

    def __init__(
        self,
        config: AgentConfig,
        engines: Iterable[EngineAdapter] = (),
        *,
        transport: Transport | None = None,
        buffer: EventBuffer,
        importer: Importer,
        redactor: Redactor,
        clock: Clock | None = None,
        random: Callable[[], float] = _random,
        framework: str = "bare",
        role: str = "",
        announce: Callable[[], None] | None = None,
        policy: Callable[[Command], None] | None = None,
        ledger: Ledger | None = None,
        hello: HelloBuilder | None = None,
        run_command: Callable[[Command], CommandResult] | None = None,
        schedules: Desk | None = None,
        home: Path | None = None,
    ) -> None:
        clock = clock or SystemClock()
        boot_id = new_boot_id()
        self.ledger = ledger or Ledger(buffer_id=boot_id, runtime_id=f"{boot_id}:{os.getpid()}")
        """What became of every record; grows while the agent lives."""
        if ledger is None:
            self.ledger.open(buffer)
        self.announce = announce
        """Tells which workers are here; may be set until :meth:`start`."""
        self.show: Callable[[Mapping[str, Any]], object] | None = None
        """Takes :meth:`status`, every few seconds on the agent's thread; may be set until
        :meth:`start`."""
        self.on_idle: Callable[[Callable[[], None]], object] | None = None
        """Where this process captures: given, before a long sleep, what the next record is to
        call; may be set until :meth:`start`."""
        self._flush_s = config.flush_timeout_seconds
        self._engines: dict[str, EngineAdapter] = {}
        self._hello = hello or HelloBuilder(
            framework=framework,
            agent_name=config.agent_name,
            worker_role=role or config.worker_role,
            started_at_ns=clock.now_ns(),
        )
        self._policy = policy or policy_of(config.commands)
        runner = CommandRunner(
            self._engines, redactor=redactor, policy=self._policy, schedulers=config.schedulers
        )
        self._parts = Parts(
            key=config.signing_key(),
            read_key=fresh_key(config),
            agent_id=config.agent_id,
            heartbeat_s=config.heartbeat_seconds,
            asks_engines=config.heartbeat,
            tells_status=not config.agent_status_disabled,
            resync_s=config.schedule_resync_interval_seconds,
            transport=transport or _transport(config),
            buffer=buffer,
            importer=importer,
            engines=self._engines,
            hello=self._hello,
            ledger=self.ledger,
            redactor=redactor,
            clock=clock,
            random=random,
            run_command=run_command or runner.run,
            announce=self._call_announce,
            show=self._call_show,
            schedules=schedules or NativeSchedules(self._engines, redactor, config.schedulers),
            offered=lambda tokens: scheduler_tokens(tokens, self._policy),
            seat_of=lambda names: home and seat_path(home, config.deployment, names),
        )
        self._pid = os.getpid()
        self._connected = threading.Event()
        self._thread: threading.Thread | None = None
        self._work: AgentLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = False
        for adapter in engines:
            self.register_engine(adapter)

    def __repr__(self) -> str:
        return f"AgentRuntime(engines={sorted(self._engines)}, connected={self.is_connected})"

    @property
    def worker_id(self) -> str:
        """This process's slot at the brain."""
        return self._hello.worker_id

    @property
    def is_connected(self) -> bool:
        """Whether the brain takes our frames at present."""
        return self._is_ours and self._connected.is_set()

    @property
    def _is_ours(self) -> bool:
        return self._pid == os.getpid()

    def register_engine(self, adapter: EngineAdapter) -> None:
        """Add an engine, before :meth:`start`.

        Raises:
            ConfigError: An engine of this name is there already.
            RuntimeError: The agent has been started.
        """
        if self._thread is not None:
            raise RuntimeError("engines are registered before the agent is started")
        if adapter.name in self._engines:
            text = f"two engines are named {adapter.name!r}; give one another name"
            raise ConfigError("engines", "register_engine", text)
        self._engines[adapter.name] = adapter
        self._hello.add_engine(adapter, self._policy)

    def start(self) -> None:
        """Start the thread and return at once; a second call does nothing.

        Raises:
            RuntimeError: The agent has been shut down; make another one.
        """
        if not self._is_ours or self._thread is not None:
            return
        if self._has_ended:
            raise RuntimeError("an agent that was shut down cannot be started again")
        _logger.info("[z4j] agent starting", extra={"action": "agent_starting"})
        guard("metrics")(publish)(self.ledger)
        # The host's policy may choose another kind of loop; this one is ours alone.
        self._loop = asyncio.SelectorEventLoop(GatedSelector())
        is_ready = threading.Event()
        self._thread = threading.Thread(
            target=self._live, args=(self._loop, is_ready), name="z4j-agent", daemon=True
        )
        self._thread.start()
        is_ready.wait(_ASK_S)

    def wait_connected(self, timeout_s: float = _CONNECT_S) -> bool:
        """Wait until the brain has taken a signed frame of ours; False when it did not."""
        return self._is_ours and self._connected.wait(timeout_s)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Deliver everything that was captured before the call.

        Args:
            timeout_s: Most time to take, seconds; the configured time when None.

        Returns:
            True when the brain has acked everything; what it has not stays in the buffer.
        """
        limit_s = self._flush_s if timeout_s is None else timeout_s
        return self._ask(lambda work: work.flush(limit_s), limit_s + _ASK_S) is True

    def shutdown(self, timeout_s: float | None = None) -> bool:
        """Finish commands, deliver what waits, close the connection, end the thread.

        Takes ``timeout_s`` and the time to close the connection, at most two seconds more.
        A second call does nothing.

        Args:
            timeout_s: Most time to take, seconds; the configured time when None.

        Returns:
            True when nothing was left. What is left stays in the buffer's file.
        """
        if not self._is_ours or self._has_ended:
            return True
        self._has_ended = True
        if self._thread is None:
            self._parts.importer.close()
            self._parts.buffer.close()
            return True
        limit_s = self._flush_s if timeout_s is None else timeout_s
        is_delivered = self._ask(lambda work: work.stop(limit_s), limit_s + _ASK_S)
        self._thread.join(_JOIN_S)
        if is_delivered is not True:
            _logger.warning(
                "[z4j] the agent ended with events undelivered; they stay in its buffer until"
                " the next agent here starts, or: z4j-otel buffer drain",
                extra={"action": "undelivered"},
            )
        return is_delivered is True

    def status(self) -> dict[str, Any]:
        """Return a snapshot: plain values, no secrets; see :mod:`z4j_otel.agent.status`."""

        async def snapshot(work: AgentLoop) -> dict[str, Any]:
            return work.status()

        known = self._ask(snapshot, _ASK_S)
        if known is not None:
            return known
        return build_status_dict(
            {"state": "stopped" if self._is_ours else "forked"},
            self.ledger,
            worker_id=self.worker_id,
            capabilities=self._hello.capabilities,
            now_ns=self._parts.clock.now_ns(),
        )

    def __enter__(self) -> AgentRuntime:  # noqa: PYI034 -- typing.Self is new in Python 3.11
        self.start()
        self.wait_connected()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    async def __aenter__(self) -> AgentRuntime:  # noqa: PYI034 -- typing.Self is new in Python 3.11
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.shutdown)

    def _ask(
        self, question: Callable[[AgentLoop], Coroutine[Any, Any, _T]], timeout_s: float
    ) -> _T | None:
        """Run a coroutine on the agent's thread; None when it cannot answer in time."""
        work, loop, thread = self._work, self._loop, self._thread
        if not self._is_ours or work is None or loop is None or thread is None:
            return None
        if not thread.is_alive():
            return None
        future = asyncio.run_coroutine_threadsafe(question(work), loop)
        try:
            return future.result(timeout_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            future.cancel()
            return None

    def _live(self, loop: asyncio.AbstractEventLoop, is_ready: threading.Event) -> None:
        """Run on the agent's own thread, to its end."""
        asyncio.set_event_loop(loop)
        try:
            with fork_gate, suppress_instrumentation():
                loop.run_until_complete(self._main(is_ready))
        except Exception:
            _logger.exception("[z4j] the agent has stopped", extra={"action": "agent_crashed"})
        finally:
            self._connected.clear()
            is_ready.set()
            loop.close()

    async def _main(self, is_ready: threading.Event) -> None:
        self._work = AgentLoop(self._parts, on_state=self._note_state, on_idle=self.on_idle)
        if self._has_ended:  # before there was anybody to ask
            self._work.end()
        is_ready.set()
        await self._work.run()

    def _call_announce(self) -> None:
        if self.announce is not None:
            self.announce()

    def _call_show(self, status: Mapping[str, Any]) -> None:
        if self.show is not None:
            self.show(status)

    def _note_state(self, is_connected: bool) -> None:
        if is_connected:
            self._connected.set()
        else:
            self._connected.clear()


def _transport(config: AgentConfig) -> Transport:
    return build_transport(
        config.transport,
        config.brain_url,
        fresh_secret(config, "token"),
        dev_mode=config.dev_mode,
        tls=partial(tls_context, trust_of(config)),
        proxy=proxy_of(config),
        user_agent=f"z4j-otel/{agent_version()}",
    )
