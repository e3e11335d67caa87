"""A TCP proxy that breaks connections on request, for tests and drills on real sockets.

It runs on a thread of its own and forwards bytes, of whatever protocol, to one server::

    with FaultyProxy(brain.port) as proxy:
        agent = start_agent(brain_url=proxy.url)
        proxy.vanish()      # as when a machine loses its network
        proxy.heal()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final

__all__ = ["FaultyProxy"]

_CHUNK_BYTES: Final = 65_536
_START_S: Final = 10.0
# l_onoff and l_linger: close() sends a reset.
_RESET: Final = struct.pack("ii", 1, 0)


class _Pipe:
    """The two sockets of one connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.writers = (near, far)
        self.active_s = asyncio.get_running_loop().time()

    def reset(self) -> None:
        """Break both sides without a word."""
        for writer in self.writers:
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.transport.abort()


class FaultyProxy:
    """Forwards TCP connections to a server on this machine; a context manager.

    Every method may be called from any thread. ``up`` is from the client to the server.
    """

    def __init__(self, target_port: int, *, port: int = 0) -> None:
        """Prepare to forward.

        Args:
            target_port: Where the server listens, on 127.0.0.1.
            port: Where to listen; 0 takes any free port.
        """
        self.connections = 0
        """How many connections were accepted."""
        self._target_port = target_port
        self._port = port
        self._pipes: set[_Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_refusing = False
        self._is_vanished = False
        self._cut_up: int | None = None
        self._cut_down: int | None = None
        self._idle_s: float | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="z4j-proxy", daemon=True)
        self._started = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """Its address as a brain's base URL."""
        return f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """Hang up on every new connection."""
        self._is_refusing = True

    def vanish(self) -> None:
        """Swallow all bytes of all connections from now on, and close nothing."""
        self._is_vanished = True

    def stall(self) -> None:
        """Read nothing any more, so that the senders' buffers fill."""
        self._do(self._flowing.clear)

    def heal(self) -> None:
        """Forward again: what was swallowed stays lost, what stalled goes on."""
        self._is_refusing = self._is_vanished = False
        self._cut_up = self._cut_down = self._idle_s = None
        self._do(self._flowing.set)

    def reset(self) -> None:
        """Break all connections."""
        self._do(self._reset_all)

    def cut_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Break each new connection after exactly so many bytes in one direction."""
        self._cut_up, self._cut_down = up, down

    def cut_idle(self, after_s: float | None) -> None:
        """Break connections on which no byte has passed for so long."""
        self._idle_s = after_s

    def __enter__(self) -> FaultyProxy:  # noqa: PYI034 -- Self needs Python 3.11
        self._thread.start()
        if not self._started.wait(_START_S):
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._loop.stop)
        self._thread.join()

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait(_START_S)

    def _live(self) -> None:
        loop = self._loop
        self._flowing.set()
        server = loop.run_until_complete(
            asyncio.start_server(self._accept, "127.0.0.1", self._port)
        )
        self._port = server.sockets[0].getsockname()[1]
        watch = loop.create_task(self._watch())
        self._started.set()
        loop.run_forever()
        server.close()
        self._reset_all()
        for task in (watch, *self._tasks):
            task.cancel()
        loop.run_until_complete(asyncio.gather(watch, *self._tasks, return_exceptions=True))
        loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None  # asyncio calls us in one
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            # Cancelled only at the proxy's end.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        pipe = _Pipe(writer, far_writer)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(
                self._pump(pipe, reader, far_writer, self._cut_up),
                self._pump(pipe, far_reader, writer, self._cut_down),
            )
        finally:
            self._pipes.discard(pipe)
            pipe.reset()

    async def _pump(
        self,
        pipe: _Pipe,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: int | None,
    ) -> None:
        writer.transport.set_write_buffer_limits(0)
        while data := await reader.read(_CHUNK_BYTES if left is None else max(1, left)):
            await self._flowing.wait()
            pipe.active_s = self._loop.time()
            if self._is_vanished:
                continue
            writer.write(data if left is None else data[:left])
            await writer.drain()
            if left is not None:
                left -= len(data)
                if left <= 0:
                    pipe.reset()
                    return
        if not self._is_vanished and writer.can_write_eof():
            writer.write_eof()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            if self._idle_s is not None:
                for pipe in list(self._pipes):
                    if self._loop.time() - pipe.active_s > self._idle_s:
                        pipe.reset()

    def _reset_all(self) -> None:
        for pipe in list(self._pipes):
            pipe.reset()
