"""The agent's seat in a process: who captures, who delivers, and what a fork changes.

A process has one of three roles:

* *off*: z4j is not configured here, or its configuration is wrong. Nothing is captured.
* *owner*: it has claimed files of its own in the home directory and starts the agent. A
  worker's main process claims them before its pool is forked, and starts the agent when the
  worker is ready; any other process does both when it captures its first record.
* *guest*: it appends to the journal of a living owner and does no more. Forked children
  are guests through inheritance; spawned and executed ones through the environment
  variable ``Z4J_OTEL_JOURNAL``, which an owner sets. When the owner is gone, a process that
  starts becomes an owner itself, and adopts what was left behind; a pool child never does,
  and writes where the next agent looks. A guest goes on where it is, and follows when its
  journal is removed (see :mod:`z4j_otel.agent.seat`).

When a program's main thread ends, what waits is delivered, and the agent goes on: other
threads may. It ends among the last ``atexit`` handlers; what is captured later still goes to
files of its own, which the next agent adopts.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from z4j_otel.agent.interpreter_exit import at_end_of_main
from z4j_otel.agent.watched import is_watched
from z4j_otel.config import half_configured, is_configured, is_strict_mode
from z4j_otel.errors import ConfigError
from z4j_otel.events import RecordSink
from z4j_otel.guard import guard
from z4j_otel.instrumentors.tracing import flush_spans

if TYPE_CHECKING:
    from z4j_otel.agent.placement import RunningAgent
    from z4j_otel.agent.seat import Seat
    from z4j_otel.config import AgentConfig
    from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["Host", "post_instrument", "pre_instrument", "process_host"]

JOURNAL_VARIABLE = "Z4J_OTEL_JOURNAL"
"""Names the journal of a living owner to the processes it starts."""

_LAST_S = 1.0
"""What an agent without a brain gets at the very end, seconds: it had its time before."""
_SPANS_S = 1.0
"""What the application's exporters get at the end of the interpreter, seconds, before the
agent's own flush; they may lead to a collector that is away."""

_logger = logging.getLogger(__name__)


class Host:
    """What one process does for z4j. One object per process tree, aware of forks."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pid = 0
        self._seat: Seat | None = None
        self._sink: RecordSink | None = None
        self._agent: RunningAgent | None = None
        self._offered: dict[str, Any] = {}
        self._refusal = ""
        self._is_auto = False
        self._is_activating = False
        self._is_worker = self._is_pool_child = False
        self._is_ending = False
        # Settings for what is captured after the agent's end, which has come, or is coming.
        self._late: AgentConfig | None = None
        self._later: AgentConfig | None = None
        self._engines: tuple[EngineAdapter, ...] = ()

    # What instrumentors and exporters ask (see z4j_otel.sinks.ProcessHost).

    def sink(self, settings: Mapping[str, Any] | None = None) -> RecordSink | None:
        """Return the sink of this process, or None when z4j is not configured here."""
        if self._pid == os.getpid():
            return self._sink or self._late_sink()
        with self._lock:
            if self._pid != os.getpid():
                self._take_seat(settings)
            if self._seat is not None and self._seat.is_owner and not self._is_worker:
                self.start_agent()
            return self._sink

    def _late_sink(self) -> RecordSink | None:
        """Open files anew if something is captured after the agent's end."""
        with self._lock:  # a seat and what comes after it change together
            late, self._late = self._late, None
            if late is not None and self._sink is None:
                try:
                    self._seat = self._claim(late)
                    self._sink = self._seat.sink
                except OSError as error:
                    self._refuse(error, is_strict=False)
            if late is not None and not self._is_worker:
                self.start_agent()
            return self._sink

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that nobody knows or that are malformed.

        Raises:
            ConfigError: One of them is wrong; it is named.
        """
        from z4j_otel.config import load_config  # noqa: PLC0415 -- see _take_seat

        load_config(settings, is_partial=True, only_arguments=True)
        # What one exporter was given counts for the process: others may capture first.
        self._offered = self._offered or dict(settings)

    def is_enabled(self, engine: str = "") -> bool:
        """Whether instrumentors should hook their engines, or this one, in this process."""
        is_asked = is_configured(os.environ) or bool(self._offered) or not self._is_auto
        is_on = is_asked if self._is_auto or self._pid == 0 else self._sink is not None
        # What the application's own code hooks is what it means to watch.
        return is_on and (not (engine and self._is_auto) or is_watched(engine, self._offered))

    def defers_upstream(self) -> bool:
        """Whether other instrumentors are still to be activated in this process."""
        return self._is_activating

    def worker_starting(self, engine: str) -> None:
        """Claim the files before the pool is forked; children inherit the journal."""
        del engine
        # The application's code may have started an agent while it was imported. It goes
        # on when the pool is there: no thread of ours lives through the fork.
        with self._lock:  # others may be about to start one
            self._is_worker, self._is_pool_child = True, False
            agent, self._agent = self._agent, None
        if agent is not None and self._pid == os.getpid():
            agent.shutdown()
        # A worker is an owner even where its parent is one: it has its own name and tasks.
        os.environ.pop(JOURNAL_VARIABLE, None)
        if self._pid != os.getpid() or self._seat is None or not self._seat.is_owner:
            self._seat, self._pid = None, 0
        self.sink()

    def worker_ready(self, engine: str, worker: Any) -> None:
        """Start the agent's thread: the pool is there."""
        if self.sink() is not None and self._seat is not None and self._seat.is_owner:
            self.start_agent(worker={engine: worker})

    def worker_stopping(self) -> None:
        """Deliver what is left, within the deadline."""
        self._is_worker = False
        # The program may go on, and publish.
        self._leave(is_over=False)

    def child_started(self) -> None:
        """This process is a pool child: it only appends to the journal."""
        self._is_worker = self._is_pool_child = True
        self.sink()

    def child_leaving(self) -> None:
        """This pool child ends: what waits in memory, and what was lost, goes to the journal."""
        if self._seat is not None and self._pid == os.getpid():
            self._seat.journal.flush()

    # What the application's own code asks.

    def configure(self, settings: Mapping[str, Any]) -> AgentConfig | None:
        """Take this process's seat with explicit settings.

        Returns:
            The settings in force; None where z4j is switched off or another agent is active.

        Raises:
            ConfigError: The settings are wrong, or an agent runs here with others.
        """
        with self._lock:
            if self._pid == os.getpid() and self._seat is not None:
                self._check_same(settings)
            else:
                self._take_seat(settings, is_strict=True)
        return self._seat.config if self._seat is not None else None

    def _check_same(self, settings: Mapping[str, Any]) -> None:
        from z4j_otel.config import load_config  # noqa: PLC0415 -- see _new_seat

        assert self._seat is not None
        if settings and load_config(settings) != self._seat.config:
            wanted = "an agent with other settings is active in this process; stop it first"
            raise ConfigError("agent", "argument", wanted)

    def start_agent(
        self,
        *,
        worker: Mapping[str, Any] | None = None,
        engines: Sequence[EngineAdapter] = (),
    ) -> RunningAgent | None:
        """Start the agent of this process, once.

        Args:
            worker: The engine's own worker object by engine name, in a worker.
            engines: Adapters to serve commands with; those of the engines in use otherwise.

        Returns:
            The running agent; None where this process has none.
        """
        with self._lock:
            seat = self._seat
            self._engines = tuple(engines) or self._engines
            is_wanted = self._agent is None and seat is not None and seat.is_owner
            if is_wanted and not self._is_ending and at_end_of_main(self._flush):
                assert seat is not None
                # Loaded here: no pool child needs any of it.
                from z4j_otel.agent.start import make_agent  # noqa: PLC0415 -- see above

                self._agent = make_agent(seat, self._engines, worker or {}, release=self._release)
                if seat.config.autostart:
                    self._agent.start()
            return self._agent

    def _release(self) -> None:
        """Let go of the journal: the agent process is about to remove it."""
        if (seat := self._seat) is not None:
            self._rise_from(seat)
            seat.journal.close()

    def _rise_from(self, seat: Seat) -> None:
        """Give up a seat; what is captured from now on has another one, if it can."""
        with self._lock:
            if self._seat is seat:
                os.environ.pop(JOURNAL_VARIABLE, None)
                self._late = self._later
                self._agent = self._seat = self._sink = None
                self._engines = ()

    @property
    def agent(self) -> RunningAgent | None:
        """The agent that runs in this process, if any."""
        return self._agent if self._pid == os.getpid() else None

    @guard("stop of the agent")
    def stop(self) -> None:
        """Deliver what is left within the deadline, and end the agent's thread."""
        self._leave(is_over=True)

    @guard("stop of the agent")
    def _leave(self, *, is_over: bool, timeout_s: float | None = None) -> None:
        """End the agent and give up its files; unless it is over, new ones can be had."""
        agent, seat = self._agent, self._seat
        if seat is None or not seat.is_owner or self._pid != os.getpid():
            return
        from z4j_otel.agent.start import end_agent, leave_files  # noqa: PLC0415 -- see start_agent

        self._later = None if is_over else seat.config
        if agent is not None:
            end_agent(agent, timeout_s)
        self._rise_from(seat)
        leave_files(seat, agent)

    @guard("delivery at the end of the main thread")
    def _flush(self) -> None:
        """Deliver what there is, first what finished spans have still to tell."""
        if (agent := self.agent) is not None:
            flush_spans(_SPANS_S)
            agent.flush()

    @guard("end of the agent")
    def end(self) -> None:
        """End with the interpreter."""
        agent, seat = self._agent, self._seat
        if seat is not None and seat.is_owner and self._pid == os.getpid():
            self._is_ending = True
            is_away = agent is not None and not agent.is_connected
            self._leave(is_over=False, timeout_s=_LAST_S if is_away else None)

    def _take_seat(self, settings: Mapping[str, Any] | None, *, is_strict: bool = False) -> None:
        """Find this process's role: first use, or first use after a fork."""
        inherited = self._seat
        self._agent = None
        try:
            # A pool child runs no agent: if its own is dead, the next one finds the journal.
            is_guest = inherited is not None and (
                self._is_pool_child or inherited.is_journal_served()
            )
            if inherited is not None and is_guest:
                self._seat = inherited.as_guest()
            else:
                self._seat = self._new_seat(settings or self._offered)
        except (ConfigError, OSError) as error:
            self._refuse(error, is_strict=is_strict)
        self._sink = self._seat.sink if self._seat is not None else None
        self._pid = os.getpid()
        self._late = None

    def _new_seat(self, settings: Mapping[str, Any] | None) -> Seat | None:
        if not settings and not is_configured(os.environ):
            return None
        # Imported here: most processes have the package installed and no use for it.
        from z4j_otel.agent.logs import set_up_logs  # noqa: PLC0415 -- see above
        from z4j_otel.agent.seat import Seat as seat  # noqa: N813, PLC0415 -- a local name
        from z4j_otel.config import load_config  # noqa: PLC0415 -- see above

        config = load_config(settings)
        set_up_logs(config)
        if config.disabled:
            return None
        if other := _other_agent():
            _logger.warning(
                "z4j-otel stays off: %s is active in this process and would report every "
                "task twice; uninstall one of the two",
                other,
                extra={"action": "other_agent"},
            )
            return None
        journal = os.environ.get(JOURNAL_VARIABLE)
        found = seat.guest_of(Path(journal), config) if journal else None
        return found or self._claim(config)

    def _claim(self, config: AgentConfig) -> Seat:
        from z4j_otel.agent.seat import Seat as seat  # noqa: N813, PLC0415 -- see _new_seat

        found = seat.stray(config) if self._is_pool_child else seat.owner(config)
        os.environ[JOURNAL_VARIABLE] = str(found.journal_dir)
        return found

    def _refuse(self, error: ConfigError | OSError, *, is_strict: bool) -> None:
        self._seat = None
        if is_strict:
            raise error
        if is_strict_mode(os.environ) or getattr(error, "is_strict", False):
            # An Exception would end in a hook's or a loader's log.
            raise SystemExit(f"z4j-otel: {error}") from error
        if str(error) != self._refusal:  # the parent of this process may have told it
            self._refusal = str(error)
            _logger.error(
                "z4j-otel is off in this process: %s; correct it and start the process again",
                error,
                extra={"action": "configuration_refused"},
            )

    # What opentelemetry-instrument calls.

    def before_instrumentors(self) -> None:
        """Note that the loader is about to activate every instrumentor."""
        self._is_auto = self._is_activating = True
        if missing := half_configured(os.environ):
            _logger.warning(
                "z4j-otel is off in this process: %s is not set; set it, or unset the other Z4J_*",
                missing,
                extra={"action": "half_configured"},
            )
        if is_strict_mode(os.environ) and is_configured(os.environ):
            from z4j_otel.config import load_config  # noqa: PLC0415 -- see _new_seat

            try:
                load_config()
            except ConfigError as error:
                self._refuse(error, is_strict=False)

    def after_instrumentors(self) -> None:
        """Activate what our instrumentors stand on, now that the others had their turn."""
        self._is_activating = False
        module = sys.modules.get("z4j_otel.instrumentors.celery.instrumentor")
        if module is not None:
            module.Z4JCeleryInstrumentor().activate_upstream()

    def after_fork(self) -> None:
        """Make a lock of our own: another thread of the parent may hold the old one."""
        self._lock = threading.RLock()


def _other_agent() -> str | None:
    return next((name for name in ("z4j_bare", "z4j_celery") if name in sys.modules), None)


_HOST = Host()
# Handlers run last in, first out: this one comes after the application's, which may publish.
atexit.register(_HOST.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_HOST.after_fork)


def process_host() -> Host:
    """Return the host of this process."""
    return _HOST


@guard("z4j's part of opentelemetry-instrument")
def pre_instrument() -> None:
    """Entry point ``opentelemetry_pre_instrument``."""
    _HOST.before_instrumentors()


@guard("z4j's part of opentelemetry-instrument")
def post_instrument() -> None:
    """Entry point ``opentelemetry_post_instrument``."""
    _HOST.after_instrumentors()
