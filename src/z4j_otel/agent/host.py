"""The agent's seat in a process: who captures, who delivers, and what a fork changes.

A process has one of three roles:

* *off*: z4j is not configured here, or its configuration is wrong. Nothing is captured.
* *owner*: it has claimed files of its own in the home directory and runs the agent. A
  worker's main process claims them before its pool is forked, and starts the agent's thread
  when the worker is ready; any other process does both when it captures its first record.
* *guest*: it appends to the journal of a living owner and does no more. Forked children
  are guests through inheritance; spawned and executed ones through the environment
  variable ``Z4J_OTEL_JOURNAL``, which an owner sets. When the owner is gone, a process that
  starts becomes an owner itself, and adopts what was left behind.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from z4j_otel.config import half_configured, is_configured
from z4j_otel.errors import ConfigError
from z4j_otel.events import RecordSink
from z4j_otel.guard import guard
from z4j_otel.instrumentors.tracing import flush_spans

if TYPE_CHECKING:
    from z4j_otel.agent.agent import AgentRuntime
    from z4j_otel.agent.seat import Seat
    from z4j_otel.config import AgentConfig
    from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["Host", "post_instrument", "pre_instrument", "process_host"]

JOURNAL_VARIABLE = "Z4J_OTEL_JOURNAL"
"""Names the journal of a living owner to the processes it starts."""

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
        self._agent: AgentRuntime | None = None
        self._offered: dict[str, Any] = {}
        self._refusal = ""
        self._is_auto = False
        self._is_activating = False
        self._is_worker = False
        self._engines: tuple[EngineAdapter, ...] = ()

    # What instrumentors and exporters ask (see z4j_otel.sinks.ProcessHost).

    def sink(self, settings: Mapping[str, Any] | None = None) -> RecordSink | None:
        """Return the sink of this process, or None when z4j is not configured here."""
        if self._pid == os.getpid():
            return self._sink
        with self._lock:
            if self._pid != os.getpid():
                self._take_seat(settings)
        if self._seat is not None and self._seat.is_owner and not self._is_worker:
            self.start_agent()
        return self._sink

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that nobody knows or that are malformed.

        Raises:
            ConfigError: One of them is wrong; it is named.
        """
        from z4j_otel.config import load_config  # noqa: PLC0415 -- see _take_seat

        load_config(settings, {}, is_partial=True)
        # What one exporter was given counts for the process: others may capture first.
        self._offered = self._offered or dict(settings)

    def is_enabled(self) -> bool:
        """Whether instrumentors should hook their engines in this process."""
        if self._is_auto or self._pid == 0:
            return is_configured(os.environ) or bool(self._offered) or not self._is_auto
        return self._sink is not None

    def defers_upstream(self) -> bool:
        """Whether other instrumentors are still to be activated in this process."""
        return self._is_activating

    def worker_starting(self, engine: str) -> None:
        """Claim the files before the pool is forked; children inherit the journal."""
        del engine
        self._is_worker = True
        # The application's code may have started an agent while it was imported. It goes
        # on when the pool is there: no thread of ours lives through the fork.
        self._suspend()
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
        self.stop()

    def child_started(self) -> None:
        """This process is a pool child: it appends to the journal and does no more."""
        self._is_worker = True
        self.sink()

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
            text = "an agent with other settings is active in this process; stop it first"
            raise ConfigError("agent", "argument", text)

    def start_agent(
        self,
        *,
        worker: Mapping[str, Any] | None = None,
        engines: Sequence[EngineAdapter] = (),
    ) -> AgentRuntime | None:
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
            if self._agent is None and seat is not None and seat.is_owner:
                try:
                    _at_exit(self._end)
                except RuntimeError:
                    # The interpreter ends: what is captured from here on waits for the
                    # next agent of the deployment.
                    return None
                # Loaded here: no pool child needs the network, nor the database.
                from z4j_otel.agent.assembly import build_agent  # noqa: PLC0415 -- see above

                self._agent = build_agent(seat, worker=worker or {}, engines=self._engines)
                if seat.config.autostart:
                    self._agent.start()
            return self._agent

    @property
    def agent(self) -> AgentRuntime | None:
        """The agent that runs in this process, if any."""
        return self._agent if self._pid == os.getpid() else None

    @guard("stop of the agent")
    def stop(self) -> None:
        """Deliver what is left within the deadline, and end the agent's thread."""
        agent, seat = self._agent, self._seat
        if seat is None or not seat.is_owner or self._pid != os.getpid():
            return
        self._suspend()
        self._seat = self._sink = None
        self._engines = ()
        os.environ.pop(JOURNAL_VARIABLE, None)
        from z4j_otel.agent.assembly import leave  # noqa: PLC0415 -- loaded with the agent

        leave(seat, agent.ledger if agent is not None else None)

    @guard("end of the agent")
    def _end(self) -> None:
        """End with the interpreter: first what finished spans have still to tell."""
        if self._agent is not None and self._pid == os.getpid():
            flush_spans(_SPANS_S)
        self.stop()

    def _suspend(self) -> None:
        """End the agent's thread and keep the seat: what is captured goes on to the journal."""
        agent, seat = self._agent, self._seat
        if agent is not None and seat is not None and self._pid == os.getpid():
            self._agent = None
            agent.shutdown(seat.config.flush_timeout_seconds)

    # How a process gets its role.

    def _take_seat(self, settings: Mapping[str, Any] | None, *, is_strict: bool = False) -> None:
        """Find this process's role: first use, or first use after a fork."""
        inherited = self._seat
        self._agent = None
        try:
            if inherited is not None and inherited.is_journal_served():
                self._seat = inherited.as_guest()
            else:
                self._seat = self._new_seat(settings or self._offered)
        except (ConfigError, OSError) as error:
            self._refuse(error, is_strict=is_strict)
        self._sink = self._seat.sink if self._seat is not None else None
        self._pid = os.getpid()

    def _new_seat(self, settings: Mapping[str, Any] | None) -> Seat | None:
        if not settings and not is_configured(os.environ):
            return None
        # Imported here: most processes have the package installed and no use for it.
        from z4j_otel.agent.seat import Seat as seat  # noqa: N813, PLC0415 -- a local name
        from z4j_otel.config import load_config  # noqa: PLC0415 -- see above

        config = load_config(settings)
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
        if found is None:
            found = seat.owner(config)
            os.environ[JOURNAL_VARIABLE] = str(found.journal_dir)
        return found

    def _refuse(self, error: ConfigError | OSError, *, is_strict: bool) -> None:
        self._seat = None
        if is_strict:
            raise error
        if _is_strict():
            # An Exception would end in a hook's or a loader's log.
            raise SystemExit(f"z4j-otel: {error}") from error
        if str(error) == self._refusal:
            return  # the parent of this process has told it
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
        if _is_strict() and is_configured(os.environ):
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


def _at_exit(stop: Callable[[], object]) -> None:
    """Call a function when the interpreter ends, while threads can still be started.

    At atexit the executors are closed already, and a connection to a host name needs one.
    """
    register = getattr(threading, "_register_atexit", atexit.register)
    register(stop)


def _is_strict() -> bool:
    return os.environ.get("Z4J_STRICT_MODE", "").strip().lower() in {"1", "true", "yes", "on"}


def _other_agent() -> str | None:
    return next((name for name in ("z4j_bare", "z4j_celery") if name in sys.modules), None)


_HOST = Host()
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
