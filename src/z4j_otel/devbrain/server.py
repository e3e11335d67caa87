"""The embedded brain on a loopback port: in the caller's loop, or in a thread.

WebSockets and the HTTP routes for agents share the port, see ``http``.

The server adds nothing to what :class:`BrainConnection` decides. It moves bytes, wakes
when a frame has become due, and lets time pass. Close code 1009 (a message over 16 MiB)
and pings are the WebSocket library's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from threading import Event, Thread
from types import TracebackType
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from z4j_otel.devbrain.brain import BrainConnection, BrainSettings, CloseWith, Credentials, DevBrain
from z4j_otel.devbrain.http import PortConnection

__all__ = ["BrainServer", "BrainThread"]

_log = logging.getLogger(__name__)

# At DEBUG the library logs the handshake's headers, and with them the agents' tokens.
_library_log = logging.getLogger("z4j_otel.devbrain.server.library")
_library_log.setLevel(logging.WARNING)

_ROUTE: Final = "/ws/agent"
_HARD_CAP_BYTES: Final = 16 * 1024 * 1024
_MAX_FRAMES_WAITING: Final = 16
"""Messages the library reads ahead; beyond them the peer feels backpressure."""
_TICK_S: Final = 0.25
_START_TIMEOUT_S: Final = 10.0


class BrainServer:
    """Serves one brain on ``127.0.0.1``; an asynchronous context manager."""

    def __init__(self, brain: DevBrain, *, port: int = 0) -> None:
        """Prepare to serve.

        Args:
            brain: Whom to serve; may outlive the server and be served again.
            port: 0 takes any free port.
        """
        self.brain = brain
        self._port = port
        self._server: Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._others: set[PortConnection] = set()

    @property
    def port(self) -> int:
        """The port in use; it stays the same when the server is entered again."""
        return self._port

    @property
    def url(self) -> str:
        """The brain's base URL, as an operator would write it."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> BrainServer:  # noqa: PYI034 -- Self needs Python 3.11
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self._port,
            process_request=_check_route,
            max_size=_HARD_CAP_BYTES,
            max_queue=_MAX_FRAMES_WAITING,
            ping_interval=60,
            ping_timeout=60,
            create_connection=self._kind_of_connection(),
            logger=_library_log,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None  # entered
        assert self._ticker is not None  # entered
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        # Agents see what a real brain's shutdown shows them (PROTOCOL §1.6).
        self._server.close(close_connections=False)
        sockets = list(self._server.connections)
        await asyncio.gather(*(socket.close(1012, "service restart") for socket in sockets))
        for connection in list(self._others):
            connection.end()
        await self._server.wait_closed()

    def _kind_of_connection(self) -> type[PortConnection]:
        brain, connections = self.brain, self._others

        class Connection(PortConnection):
            desk = brain.longpoll
            faults = brain.faults
            others = connections

        return Connection

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self.brain.tick()

    async def _serve(self, socket: ServerConnection) -> None:
        peer = str(socket.remote_address[0])
        try:
            connection = self.brain.open(_token_of(socket), peer=peer)
        except CloseWith as close:
            await socket.close(close.code, close.reason)
            return
        await _Pump(self.brain, connection, socket).run()


class _Pump:
    """Moves bytes between one socket and one connection until either ends."""

    def __init__(
        self, brain: DevBrain, connection: BrainConnection, socket: ServerConnection
    ) -> None:
        self._brain = brain
        self._connection = connection
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._resumed = asyncio.Event()
        connection.on_change = self._changed

    async def run(self) -> None:
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connection.disconnected()
            for task in (reader, writer):
                task.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
        await self._close(results)

    async def _close(self, results: Iterable[BaseException | None]) -> None:
        for result in results:
            if isinstance(result, CloseWith):
                await self._socket.close(result.code, result.reason)
            elif isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                _log.error("embedded brain failed: %s", result, extra={"action": "devbrain_failed"})
                await self._socket.close(1011, "internal error")

    async def _read(self) -> None:
        while True:
            while self._brain.faults.is_stalled:
                self._resumed.clear()
                await self._resumed.wait()
            self._connection.feed(await self._socket.recv())
            self._wake.set()

    async def _write(self) -> None:
        # The only place that sends: frames are numbered when they are drained.
        while True:
            self._wake.clear()
            for frame in self._connection.drain():
                await self._socket.send(frame)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._delay_s())

    def _delay_s(self) -> float | None:
        due_ns = self._connection.next_wake_ns()
        if due_ns is None:
            return None
        return max(0.0, (due_ns - self._brain.clock.now_ns()) / 1e9)

    def _changed(self) -> None:
        # The loop may have ended while another thread still issues commands.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)
            self._loop.call_soon_threadsafe(self._resumed.set)


class BrainThread:
    """A served brain for synchronous code; a context manager, may be entered again.

    Leaving stops the server and keeps the brain with all it knows, so that entering again
    is a restart: on the same port, with the same agents.
    """

    def __init__(
        self,
        brain: DevBrain | None = None,
        *,
        port: int = 0,
        settings: BrainSettings | None = None,
        agent_name: str = "agent",
    ) -> None:
        """Prepare to serve, and mint one agent.

        Args:
            brain: Whom to serve; by default a new one.
            port: 0 takes any free port.
            settings: For a new brain.
            agent_name: Name of the minted agent.
        """
        self.brain = brain or DevBrain(settings=settings or BrainSettings())
        self.credentials = self.brain.mint_agent(agent_name)
        self._server = BrainServer(self.brain, port=port)
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The brain's base URL; known once entered."""
        return self._server.url

    def env(self, credentials: Credentials | None = None) -> dict[str, str]:
        """Return the environment of an agent; by default of the one minted at the start."""
        agent = credentials or self.credentials
        return {
            "Z4J_BRAIN_URL": self.url,
            "Z4J_TOKEN": agent.token,
            "Z4J_HMAC_SECRET": agent.hmac_secret,
            "Z4J_PROJECT_ID": agent.project,
        }

    def __enter__(self) -> BrainThread:  # noqa: PYI034 -- Self needs Python 3.11
        started = Event()
        failure: list[BaseException] = []
        self._thread = Thread(
            target=self._run, args=(started, failure), name="z4j-devbrain", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S) or failure:
            raise RuntimeError("the embedded brain did not start") from next(iter(failure), None)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loop is not None  # entered
        assert self._stop is not None  # entered
        assert self._thread is not None  # entered
        if not self._loop.is_closed():  # whoever took the brain away may leave once more
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: Event, failure: list[BaseException]) -> None:
        try:
            asyncio.run(self._main(started))
        except OSError as error:
            failure.append(error)
        finally:
            started.set()

    async def _main(self, started: Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with self._server:
            started.set()
            await self._stop.wait()


def _check_route(socket: ServerConnection, request: Request) -> Response | None:
    """Refuse every other path as the real brain does (PROTOCOL §1.1)."""
    return None if request.path == _ROUTE else socket.respond(403, "forbidden\n")


def _token_of(socket: ServerConnection) -> str | None:
    assert socket.request is not None  # the upgrade is done
    # get_all: a repeated header must not raise.
    values = socket.request.headers.get_all("Authorization")
    scheme, _, token = values[0].strip().partition(" ") if values else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else None
