"""The agent as a process of its own, as the process it serves sees it: theory of operation.

Constraints
    Under gevent and eventlet a thread with an event loop stops the whole worker, and some
    want nothing in their workers' interpreter but the append to the journal. So the agent
    can run beside, in a clean interpreter, on the same files.

Operation
    The *owner*, this process, claims the files and starts the agent process with the lock's
    descriptor: both hold the lock, so the files stay theirs while either lives. It hands
    settings over the line (:mod:`z4j_otel.agent.link`), never by arguments or environment.
    The agent process reads the journal, keeps the buffer and the connection. It asks the
    owner for what only the owner can do (:mod:`z4j_otel.agent.service`): carry out a command
    on the engine, measure queues, describe its worker.

    One thread of the owner (a greenlet, where threads are greenlets) serves the line; it
    sleeps unless something is asked. When the line ends, so has the agent process, and it
    is started again, with growing pauses.

The end
    The owner stops: it tells so, the agent process delivers within the deadline, asks the
    owner to let go of the journal, gives up the files and ends. The owner is killed: the
    line ends, and the agent process does the same by itself.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import msgspec

from z4j_otel.agent.handover import Handover, pack_settings
from z4j_otel.agent.hello import HelloBuilder, capabilities_of
from z4j_otel.agent.link import Link, LinkBroken
from z4j_otel.agent.policy import policy_of
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.agent.seat import Seat, redactor_of
from z4j_otel.agent.service import OwnerService
from z4j_otel.agent.spawning import reap, spawn_agent
from z4j_otel.errors import ConfigError
from z4j_otel.instrumentors.adapter import EngineAdapter

__all__ = ["AgentProcess"]

_logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_STABLE_S: Final = 60.0
"""An agent process that lived so long was not at fault from its start."""
_ASK_S: Final = 2.0
_CONNECT_S: Final = 10.0
_GRACE_S: Final = 6.0
"""Beyond the deadline for delivery: the start of an interpreter, and the files."""
_LOOK_S: Final = 0.02


class AgentProcess:
    """The agent of this process, run beside it; used like ``AgentRuntime``.

    Args:
        seat: This process's place, with files.
        adapters: The engines to serve.
        hello: How the agent introduces itself.
        release: Stops this process's capture and closes its journal; called right before
            the agent process gives up the files.
        spawn: Starts the process; see :func:`z4j_otel.agent.spawning.spawn_agent`.
    """

    def __init__(
        self,
        seat: Seat,
        adapters: Iterable[EngineAdapter],
        *,
        hello: HelloBuilder,
        release: Callable[[], None],
        spawn: Callable[[socket.socket, int], int] = spawn_agent,
    ) -> None:
        assert seat.files is not None
        self._config = seat.config
        self._files = seat.files
        self._hello = hello
        self._spawn = spawn
        self._engines: dict[str, EngineAdapter] = {}
        self._service = OwnerService(
            self._engines,
            redactor=redactor_of(seat.config),
            policy=policy_of(seat.config.commands),
            release=release,
            schedulers=seat.config.schedulers,
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._ending: dict[str, Any] | None = None
        self._wake = threading.Event()
        self._keeper: threading.Thread | None = None
        self._child = 0
        self._has_begun = threading.Event()
        self._has_left = False
        self._problem = ""
        for adapter in adapters:
            self.register_engine(adapter)

    def __repr__(self) -> str:
        return f"AgentProcess(engines={sorted(self._engines)}, pid={self._child})"

    @property
    def worker_id(self) -> str:
        """This process's slot at the brain."""
        return self._hello.worker_id

    @property
    def pid(self) -> int:
        """The agent process that runs, or 0."""
        return self._child

    @property
    def has_left(self) -> bool:
        """Whether the agent process has given up the files, as it was told."""
        return self._has_left

    @property
    def is_connected(self) -> bool:
        """Whether the brain takes our frames at present."""
        return self._ask("is_connected", None, _ASK_S) is True

    def register_engine(self, adapter: EngineAdapter) -> None:
        """Add an engine, before :meth:`start`.

        Raises:
            ConfigError: An engine of this name is there already.
            RuntimeError: The agent has been started.
        """
        if self._keeper is not None:
            raise RuntimeError("engines are registered before the agent is started")
        if adapter.name in self._engines:
            text = f"two engines are named {adapter.name!r}; give one another name"
            raise ConfigError("engines", "register_engine", text)
        self._engines[adapter.name] = adapter

    def start(self) -> None:
        """Start the process and return at once; a second call does nothing."""
        if self._pid != os.getpid() or self._keeper is not None:
            return
        self._keeper = threading.Thread(target=self._keep, name="z4j-agent-line", daemon=True)
        self._keeper.start()

    def wait_connected(self, timeout_s: float = _CONNECT_S) -> bool:
        """Wait until the brain has taken a signed frame of ours; False when it did not."""
        deadline_s = time.monotonic() + timeout_s
        if self._pid != os.getpid() or not self._has_begun.wait(timeout_s):
            return False
        left_s = max(0.0, deadline_s - time.monotonic())
        return self._ask("wait_connected", left_s, left_s + _ASK_S) is True

    def flush(self, timeout_s: float | None = None) -> bool:
        """Deliver everything that was captured before the call.

        Args:
            timeout_s: Most time to take, seconds; the configured time when None.

        Returns:
            True when the brain has acked everything; what it has not stays in the buffer.
        """
        limit_s = self._config.flush_timeout_seconds if timeout_s is None else timeout_s
        if self._pid != os.getpid() or not self._has_begun.wait(limit_s):
            return False
        return self._ask("flush", limit_s, limit_s + _ASK_S) is True

    def shutdown(self, timeout_s: float | None = None) -> bool:
        """Finish commands, deliver what waits, and end the process.

        A second call does nothing.

        Args:
            timeout_s: Most time for the delivery, seconds; the configured time when None.

        Returns:
            True when nothing was left.
        """
        return self._shut_down(timeout_s, is_leaving=False)

    def finish(self, timeout_s: float | None = None) -> bool:
        """Shut down, and have the files given up; they are deleted when nothing is left.

        This process has to close its own copy of their lock; see :attr:`has_left`.
        """
        return self._shut_down(timeout_s, is_leaving=True)

    def _shut_down(self, timeout_s: float | None, *, is_leaving: bool) -> bool:
        if self._pid != os.getpid() or self._keeper is None:
            return True
        if self._ending is not None:
            return bool(self._ending["is_delivered"])
        limit_s = self._config.flush_timeout_seconds if timeout_s is None else timeout_s
        ending = {"timeout_s": limit_s, "is_leaving": is_leaving, "is_delivered": False}
        with self._lock:
            self._ending = ending
            link = self._link
        self._wake.set()
        if link is not None:
            link.tell("end", ending)
        self._keeper.join(limit_s + _GRACE_S)
        if self._keeper.is_alive():
            self._kill("it does not end")
            self._keeper.join(_ASK_S)
        return bool(ending["is_delivered"])

    def status(self) -> dict[str, Any]:
        """Return a snapshot: state, problem, buffer, counts; plain values, no secrets."""
        known = self._ask("status", None, _ASK_S)
        if isinstance(known, dict):
            return {**known, "agent_pid": self._child}
        return {
            "state": "stopped" if self._pid == os.getpid() else "forked",
            "worker_id": self.worker_id,
            "engines": sorted(self._engines),
        }

    def _ask(self, name: str, value: Any, timeout_s: float) -> Any:
        link = self._link
        if self._pid != os.getpid() or link is None:
            return None
        try:
            return link.ask(name, value, timeout_s=timeout_s)
        except LinkBroken as error:
            _logger.debug("the agent process does not answer: %s", error)
            return None

    def _keep(self) -> None:
        """Keep an agent process running, on a thread of its own, until the end."""
        pause_s = _FIRST_PAUSE_S
        while True:
            begun_s = time.monotonic()
            problem = self._live()
            if self._ending is not None:
                if problem:
                    self._tell(problem, "what is left waits for the next agent")
                return
            if time.monotonic() - begun_s >= _STABLE_S:
                pause_s = _FIRST_PAUSE_S
            self._tell(problem or "it ended", f"it is started again in {pause_s:.0f} s")
            # An end that is asked for meanwhile gets one more, to deliver.
            self._wake.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _tell(self, problem: str, then: str) -> None:
        is_news, self._problem = problem != self._problem, problem
        _logger.log(
            logging.WARNING if is_news else logging.DEBUG,
            "[z4j] the agent process has ended (%s); %s",
            problem,
            then,
            extra={"action": "agent_process_ended"},
        )

    def _live(self) -> str:
        """Run one agent process from its start to its end.

        Returns:
            What went wrong, in words; empty when it ended as it was told.
        """
        try:
            ours = self._start_child()
        except OSError as error:
            return f"it cannot be started: {error.strerror or error}"
        link = Link(ours, {**self._service.handlers(), "ended": self._note_end}, quick={"release"})
        link.tell("begin", msgspec.to_builtins(self._handover()))
        with self._lock:
            self._link, ending = link, self._ending
        if ending is not None:
            link.tell("end", ending)
        self._has_begun.set()
        link.serve()
        self._has_begun.clear()
        with self._lock:
            self._link = None
        link.close()
        return self._collect()

    def _start_child(self) -> socket.socket:
        """Start an agent process; return our end of the line to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = self._spawn(theirs, self._files.fileno())
            except OSError:
                ours.close()
                raise
        return ours

    def _handover(self) -> Handover:
        return Handover(
            lock=str(self._files.lock_path),
            settings=pack_settings(self._config),
            engines={name: capabilities_of(each) for name, each in self._engines.items()},
            schedulers=NativeSchedules(
                self._engines, redactor_of(self._config), self._config.schedulers
            ).capabilities(),
            hello=self._hello.facts(),
            log_level=logging.getLogger("z4j_otel").getEffectiveLevel(),
        )

    def _note_end(self, done: dict[str, bool]) -> None:
        self._has_left = done["has_left"]
        if self._ending is not None:
            self._ending["is_delivered"] = done["is_delivered"]

    def _collect(self) -> str:
        """Wait for the end of a process whose line has ended; end it if it does not."""
        deadline_s = time.monotonic() + _ASK_S
        while (code := reap(self._child)) is None:
            if time.monotonic() > deadline_s:
                self._kill("its line is broken")
                code = reap(self._child, is_to_wait=True)
                break
            time.sleep(_LOOK_S)
        self._child = 0
        if not code:
            return ""
        return f"signal {-code}" if code < 0 else f"exit status {code}"

    def _kill(self, why: str) -> None:
        # Not collected yet, so the number still means it.
        if self._child:
            _logger.debug("the agent process is killed: %s", why)
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
