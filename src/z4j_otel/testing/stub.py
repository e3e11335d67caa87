"""A brain for the tests of applications: in process, without sockets or threads.

Theory of operation: while entered, it takes the place of the process's host, so that every
hook of z4j-otel gets its sink here. A record then goes the agent's own way - gate, arbiter,
signed frame - to an embedded brain, synchronously and on the thread that captured it: once
the application's call has returned, the event is there. What the brain does not acknowledge,
because a fault was asked for, stays in line and is sent again before the next record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from types import TracebackType
from typing import Any

from z4j_otel import sinks
from z4j_otel.agent.arbiter import Arbiter
from z4j_otel.clock import Clock
from z4j_otel.commands import Command, CommandStatus
from z4j_otel.devbrain.brain import BrainConnection, CloseWith, DevBrain
from z4j_otel.devbrain.orders import IssuedCommand
from z4j_otel.devbrain.rows import EventRow, TaskRow
from z4j_otel.events import RecordSink
from z4j_otel.exporter.sink import EventSink
from z4j_otel.ids import new_frame_id
from z4j_otel.instrumentors.registry import find_engines
from z4j_otel.redaction import Redactor
from z4j_otel.testing.transports import MemoryTransport
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import BatchAcked, CommandReceived, Role, Session
from z4j_otel.wire.signing import decode_secret

__all__ = ["StubBrain"]

_CAPABILITIES = ["cancel_task", "retry_by_reference_v1", "retry_task", "submit_task"]

_MAX_TRIES = 10

Handler = Callable[[Command], dict[str, Any] | None]


class StubBrain:
    """What the ``stub_brain`` fixture gives a test. A context manager."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.brain = DevBrain(clock)
        """The embedded brain itself, with all it can be asked."""
        self.credentials = self.brain.mint_agent("stub")
        self._link = _Link(self.brain, self.credentials.token, self.credentials.hmac_secret)
        self._host = _StubHost(EventSink(self._link, Redactor(), clock=self.brain.clock))
        self._hooked: list[Any] = []

    def __enter__(self) -> StubBrain:  # noqa: PYI034 -- Self needs Python 3.11
        sinks.set_opener(lambda: self._host)
        for engine in find_engines().values():
            if engine.is_installed:
                instrumentor = engine.instrumentor()
                if not instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.instrument(skip_dep_check=True)
                    self._hooked.append(instrumentor)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._hooked:
            self._hooked.pop().uninstrument()
        sinks.set_opener(None)
        self._link.close()

    @property
    def events(self) -> list[EventRow]:
        """All events the brain has stored, oldest first.

        Each has ``kind`` (``task.sent``), ``event_type`` (``task_sent``), ``task_id`` and
        ``data``, redacted as it would have left the process.
        """
        self._link.flush()
        return self.brain.events()

    @property
    def commands(self) -> list[IssuedCommand]:
        """All commands issued, oldest first."""
        return self.brain.commands

    def task(self, task_id: str, engine: str = "celery") -> TaskRow | None:
        """Return the brain's row of a task, or None."""
        self._link.flush()
        return self.brain.task(engine, task_id)

    def wait_for(self, what: str | Callable[[EventRow], bool], timeout_s: float = 5.0) -> EventRow:
        """Return the first event of a kind, or that a predicate accepts, waiting for it.

        Args:
            what: ``task.sent`` or ``task_sent``, or a predicate.
            timeout_s: How long to wait for other threads to produce it.

        Raises:
            TimeoutError: No such event came.
        """
        self._link.settle()

        def found() -> EventRow | None:
            for event in self.brain.events():
                if what(event) if callable(what) else what in {event.kind, event.event_type}:
                    return event
            return None

        event = self.brain.wait_for(found, timeout_s)
        assert event is not None  # wait_for returns what holds
        return event

    def on_command(self, action: str, handler: Handler) -> None:
        """Say what the stub agent does with a command; what it raises becomes a failure."""
        self._link.handlers[action] = handler

    def issue(
        self, action: str, *, engine: str = "celery", task_id: str | None = None, **parameters: Any
    ) -> IssuedCommand:
        """Issue a command, as an operator would; it has ended when this returns, if handled.

        Raises:
            IssueRefused: The real brain would refuse it.
        """
        self._link.flush()
        command = self.brain.issue(action, engine=engine, task_id=task_id, **parameters)
        self._link.flush()
        return command

    def fail_next(self, count: int = 1, *, close: int | None = None) -> None:
        """Let the next batches fail: not stored nor acked, or closed with a code."""
        if close is None:
            self.brain.faults.lose_batches(count)
        else:
            self.brain.faults.close_at_batch(close, count=count)

    def transport(self) -> MemoryTransport:
        """Return a transport for an agent of your own, with the stub's credentials."""
        return MemoryTransport(self.brain, self.credentials.token)


class _Link:
    """The agent's half of the stub: what the gate appends goes out at once."""

    def __init__(self, brain: DevBrain, token: str, hmac_secret: str) -> None:
        self._brain = brain
        self._token = token
        self._key = decode_secret(hmac_secret)
        self._arbiter = Arbiter()
        self._waiting: list[bytes] = []
        self._connection: BrainConnection | None = None
        self._session = Session(Role.AGENT, self._key)
        self._acked: set[str] = set()
        self._lock = RLock()
        self.handlers: dict[str, Handler] = {}

    def count_lost(self, reason: str, count: int = 1) -> None:
        """Nothing: an event that cannot be encoded is missing, and the log says so."""

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Take one encoded event and send what waits; always True."""
        del now_ns  # the brain's clock decides
        with self._lock:
            event = self._arbiter.judge(record)
            if event is not None:
                self._waiting.append(event)
            self.flush()
        return True

    def flush(self) -> None:
        """Send what waits and handle what came; a fault leaves events waiting."""
        with self._lock:
            try:
                self._connect()
                self._receive(self._connection_now().drain())
                if self._waiting:
                    self._send_waiting()
            except CloseWith:
                self._connection = None

    def settle(self) -> None:
        """Send until nothing waits, or it has failed too often."""
        for _ in range(_MAX_TRIES):
            self.flush()
            if not self._waiting:
                return

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.disconnected()
                self._connection = None

    def _connection_now(self) -> BrainConnection:
        assert self._connection is not None  # after _connect
        return self._connection

    def _connect(self) -> None:
        if self._connection is not None:
            return
        self._session = Session(Role.AGENT, self._key)
        engines = sorted(find_engines())
        hello = Hello(
            agent_version="stub",
            framework="pytest",
            engines=engines,
            capabilities=dict.fromkeys(engines, _CAPABILITIES),
            worker_id="stub",
        )
        self._connection = self._brain.open(self._token)
        self._receive(
            self._connection.receive(self._session.send_hello(hello, frame_id="hello_stub"))
        )

    def _send_waiting(self) -> None:
        frame_id = new_frame_id("ev")
        now_ns = self._brain.clock.now_ns()
        batch = list(self._waiting)
        frame = self._session.send_event_batch(batch, frame_id=frame_id, now_ns=now_ns)
        self._receive(self._connection_now().receive(frame))
        if frame_id in self._acked:
            self._acked.discard(frame_id)
            del self._waiting[: len(batch)]

    def _receive(self, frames: list[bytes]) -> None:
        for frame in frames:
            received = self._session.receive(frame, now_ns=self._brain.clock.now_ns())
            if isinstance(received, BatchAcked):
                self._acked.add(received.acked_id)
            elif isinstance(received, CommandReceived):
                self._carry_out(received.command)

    def _carry_out(self, command: Command) -> None:
        connection, clock = self._connection_now(), self._brain.clock
        self._receive(
            connection.receive(
                self._session.send_command_ack(
                    command.id, command.claim_token, now_ns=clock.now_ns()
                )
            )
        )
        handler = self.handlers.get(command.action)
        if handler is None:
            return
        payload = {**_outcome(handler, command), "delivery_claim_token": command.claim_token}
        frame = self._session.send_command_result(
            command.id, canonical.encode(payload), now_ns=clock.now_ns()
        )
        self._receive(connection.receive(frame))


def _outcome(handler: Handler, command: Command) -> dict[str, Any]:
    try:
        result = handler(command) or {}
    except Exception as error:  # noqa: BLE001 -- a test's handler; its error is the outcome
        return {"status": CommandStatus.FAILED.value, "result": None, "error": str(error)}
    return {"status": CommandStatus.SUCCESS.value, "result": result, "error": None}


class _StubHost:
    """Hosts this process: one sink, and no agent to start or stop."""

    def __init__(self, sink: RecordSink) -> None:
        self._sink = sink

    def sink(self, settings: Mapping[str, Any] | None = None) -> RecordSink:
        del settings
        return self._sink

    def is_enabled(self, engine: str = "") -> bool:
        del engine
        return True

    def defers_upstream(self) -> bool:
        # Spans are the application's own business in its tests.
        return True

    def worker_starting(self, engine: str) -> None:
        """Do nothing: there is no agent."""

    def worker_ready(self, engine: str, worker: Any) -> None:
        """Do nothing, as above."""

    def worker_stopping(self) -> None:
        """Do nothing, as above."""

    def child_started(self) -> None:
        """Do nothing: a forked child's events stay in the child."""
