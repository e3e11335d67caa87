"""A process in small, in which one configuration holds, and what can be watched in it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import socket
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.virtual_time import LoopClock, virtual_loop

import z4j_otel.config
from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.agent.engines import introduce
from z4j_otel.agent.host import Host
from z4j_otel.agent.loop import AgentLoop
from z4j_otel.agent.seat import Seat, redactor_of
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.errors import ConfigError, ConnectFailed, ConnectionLost
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.journal.reader import JournalReader
from z4j_otel.testing import ScriptedBrain
from z4j_otel.wire.session import BatchReceived
from z4j_otel.wire.signing import decode_secret

from .observation import REFUSED, Observation
from .places import PLACES, Given

__all__ = ["KEY_TEXT", "Engine", "Lab", "Listener", "play"]

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
_BASE = {"brain_url": "http://127.0.0.1:9", "token": "t0ken-of-tests", "hmac_secret": KEY_TEXT}


class Engine:
    """An engine of which everything can be asked."""

    name = "celery"

    def __init__(self, schedulers: tuple[Any, ...] = ()) -> None:
        self.rules: Any = None
        self.is_watching = False
        self._schedulers = schedulers

    def capabilities(self) -> list[str]:
        """Return what it can do."""
        return ["purge_queue"]

    def execute(self, _command: Any) -> dict[str, Any]:
        """Do it."""
        return {"purged": 1}

    def queue_depths(self) -> dict[str, int]:
        """Return one queue."""
        return {"celery": 3}

    def worker_details(self) -> dict[str, dict[str, Any]]:
        """Return nothing."""
        return {}

    def obey(self, rules: Any) -> None:
        """Take the local rules."""
        self.rules = rules

    def watch_sources(self, *, uses_events: bool) -> str:
        """Watch files, or so it says."""
        self.is_watching = True
        return ""

    def schedulers(self) -> tuple[Any, ...]:
        """Return the schedulers."""
        return self._schedulers


class _ExactClock(LoopClock):
    """A clock whose differences are exact.

    What is left of a time limit is never almost nothing, which virtual time could wait for
    without passing.
    """

    def monotonic_s(self) -> float:
        """Return the monotonic clock, seconds."""
        return int(super().monotonic_s() * 2**20) / 2**20


class _NoJournal:
    """Nothing is captured."""

    def import_pending(self, _now_ns: int) -> int:
        return 0

    def close(self) -> None:
        pass


@dataclass
class Talk:
    """What the brain saw of an agent."""

    hello: Any = None
    frames: list[tuple[float, Any]] = field(default_factory=list)
    """Frames with the virtual time of their arrival, seconds."""

    def times_of(self, kind: type) -> list[float]:
        """Return when frames of a kind arrived."""
        return [at for at, frame in self.frames if isinstance(frame, kind)]

    def of(self, kind: type) -> list[Any]:
        """Return the frames of a kind."""
        return [frame for _, frame in self.frames if isinstance(frame, kind)]


class Lab:
    """One configuration in force, in a directory of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.given = Given()
        self.logged: list[logging.LogRecord] = []
        """What the package has logged."""
        self.closing = contextlib.ExitStack()

    @functools.cached_property
    def config(self) -> Any:
        """The configuration, resolved as an agent does it."""
        return z4j_otel.config.load_config(self.given.arguments)

    def host(self) -> Host:
        """Return the host of a process that has done nothing yet."""
        self.patch.setattr("z4j_otel.agent.host.at_end_of_main", lambda _flush: True)
        host = Host()
        self.closing.callback(host.stop)
        return host

    def seat(self) -> Seat:
        """Claim files."""
        seat = Seat.owner(self.config)
        assert seat.files is not None
        self.closing.callback(seat.files.close)
        self.closing.callback(seat.journal.close)
        return seat

    def event(self, **arguments: Any) -> dict[str, Any]:
        """Capture a task with these arguments; return the event in the journal."""
        seat = self.seat()
        facts = TaskFacts("celery", "t-1", "shop.pay")
        seat.sink.emit(LifecycleRecord(EventKind.TASK_RECEIVED, facts, 1, {"kwargs": arguments}))
        reader = JournalReader(seat.journal_dir, None)
        (body,) = reader.read(10, 1 << 20).records
        reader.close()
        event: dict[str, Any] = json.loads(body)
        return {**event["data"], "bytes": len(body)}

    def agent(self, *engines: Any, **options: Any) -> AgentRuntime:
        """Build an agent that is not started."""
        agent = AgentRuntime(
            self.config,
            engines,
            buffer=MemoryBuffer(),
            importer=_NoJournal(),
            redactor=redactor_of(self.config),
            # A pause of nothing would be repeated for ever where only virtual time passes.
            random=lambda: 0.5,
            hello=introduce(self.config, engines, is_worker=False),
            **options,
        )
        self.closing.callback(agent.shutdown, 0)
        return agent

    def talk(
        self,
        seconds: float = 1.0,
        *engines: Any,
        key: str = KEY_TEXT,
        acks: bool = True,
        prepare: Any = None,
    ) -> Talk:
        """Let an agent talk to a brain, in virtual time; return what the brain saw.

        Args:
            seconds: How long.
            engines: What the agent serves.
            key: The brain's signing secret.
            acks: Whether the brain acknowledges batches.
            prepare: A coroutine function that is given agent and loop before time passes.
        """
        seen = Talk()
        _ = self.config  # what is no good stops here, before anything is open
        with virtual_loop() as loop:
            clock = _ExactClock(loop)

            async def script(peer: Any) -> None:
                seen.hello = await peer.accept(heartbeat_interval_seconds=3600)
                with contextlib.suppress(ConnectionLost):
                    while True:
                        frame = await peer.receive()
                        seen.frames.append((loop.now_s, frame))
                        if acks and isinstance(frame, BatchReceived):
                            await peer.ack(frame)

            brain = ScriptedBrain(script, key=decode_secret(key), clock=clock)
            agent = self.agent(*engines, transport=brain, clock=clock)
            loop.run_until_complete(_live(agent, seconds, prepare))
            loop.close()
        return seen

    def request(self) -> list[str]:
        """Let the agent's transport connect; return the head of its first HTTP request."""
        listener = self.listener
        transport = self.agent()._parts.transport

        async def connect() -> None:
            with contextlib.suppress(ConnectFailed):
                await transport.connect()
            close = getattr(transport, "close", None)
            if close is not None:
                await close()

        asyncio.run(connect())
        return listener.heads[0].splitlines() if listener.heads else []

    @functools.cached_property
    def listener(self) -> Listener:
        """Somebody who listens where a brain could be."""
        listener = Listener()
        self.closing.callback(listener.close)
        return listener


async def _live(agent: AgentRuntime, seconds: float, prepare: Any) -> None:
    work = AgentLoop(agent._parts, on_state=lambda _is_connected: None)
    task = asyncio.ensure_future(work.run())
    await asyncio.sleep(0.1)
    if prepare is not None:
        await prepare(agent, work)
    await asyncio.sleep(seconds)
    work.end()
    await task


class Listener:
    """Notes the head of every HTTP request, and answers that there is nothing here."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.heads: list[str] = []
        self.certificates: list[str] = []
        """Whose certificate was shown at each request, over TLS."""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.settimeout(5)
            with connection, contextlib.suppress(OSError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            head = b""
            while b"\r\n\r\n" not in head and (data := connection.recv(4096)):
                head += data
            self.heads.append(head.decode())
            if isinstance(connection, ssl.SSLSocket):
                self.certificates.append("one" if connection.getpeercert() else "none")
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class _Log(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.emit = records.append  # type: ignore[method-assign]


def play(observation: Observation, place: str, folder: Path) -> tuple[str, str]:
    """Put a setting in one place, and look at its effect.

    Returns:
        What should be seen, and what was.
    """
    row = next(each for each in z4j_otel.config.SETTINGS if each.name == observation.name)
    for name in ("user", "here"):
        (folder / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        lab = Lab(folder, patch)
        with lab.closing:
            value = _made(observation.value, lab)
            more = {name: _made(each, lab) for name, each in observation.base.items()}
            base = {**_BASE, "home": str(folder / "user" / ".z4j"), **more}
            base.pop(row.name, None)
            lab.given.environ = {f"Z4J_{name.upper()}": text for name, text in base.items()}
            PLACES[place](lab.given, row, value, folder / "here")
            _put_in_force(lab)
            is_distrusted = place == "[tool.z4j]" and (row.decides_trust or row.is_secret)
            is_unset = place == "default" or is_distrusted
            try:
                seen = observation.look(lab)
            except ConfigError:
                seen = REFUSED
    return (observation.default if is_unset else observation.seen), seen


def _made(value: Any, lab: Lab) -> Any:
    return value(lab) if callable(value) else value


def _put_in_force(lab: Lab) -> None:
    """Make the environment, the directory and the log those of a process of its own."""
    patch, given = lab.patch, lab.given
    for name in [each for each in os.environ if each.startswith(("Z4J_", "OTEL_"))]:
        patch.delenv(name)
    for name, text in {**given.environ, "HOME": str(lab.folder / "user")}.items():
        patch.setenv(name, text)
    patch.chdir(lab.folder / "here")
    patch.setattr("z4j_otel.config.resolver._told", set())
    # As an integration of a framework calls it, and a command with --config.
    load = functools.partial(z4j_otel.config.load_config, host_settings=given.host, file=given.file)
    patch.setattr(z4j_otel.config, "load_config", load, raising=False)
    logger, root = logging.getLogger("z4j_otel"), logging.getLogger()
    before = logger.level, logger.propagate, list(logger.handlers)
    handler = _Log(lab.logged)
    root.addHandler(handler)

    def restore() -> None:
        root.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate, logger.handlers[:] = before[1:]

    lab.closing.callback(restore)
