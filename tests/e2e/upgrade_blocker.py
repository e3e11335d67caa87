"""A proxy before a brain that can refuse WebSockets, as many companies' proxies do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter

_REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class UpgradeBlocker:
    """Forwards bytes to a port of this machine; answers 403 to upgrades while it blocks.

    A context manager; the proxy runs in a thread of its own.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.is_blocking = True
        """Whether upgrades are refused; open ones are left alone."""
        self.counts: Counter[str] = Counter()
        """How many upgrades were ``refused`` and ``upgraded``, and requests ``forwarded``."""
        self.open_sockets = 0
        """Upgraded connections that are open."""
        self._port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address to give to an agent."""
        return f"http://127.0.0.1:{self._port}"

    def cut_sockets(self) -> None:
        """Break every upgraded connection."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self):
        asyncio.run(self._main())

    async def _main(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            is_upgrade = b"\r\nupgrade: websocket" in head.lower()
            if is_upgrade and self.is_blocking:
                self.counts["refused"] += 1
                writer.write(_REFUSED)
                await writer.drain()
            else:
                self.counts["upgraded" if is_upgrade else "forwarded"] += 1
                await self._forward(head, reader, writer, is_upgrade=is_upgrade)
        writer.close()

    async def _forward(self, head, reader, writer, *, is_upgrade):
        brain_reader, brain_writer = await asyncio.open_connection("127.0.0.1", self._target)
        brain_writer.write(head)
        tasks = {
            asyncio.create_task(_copy(reader, brain_writer)),
            asyncio.create_task(_copy(brain_reader, writer)),
        }
        if is_upgrade:
            self.open_sockets += 1
            self._tasks |= tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if is_upgrade:
                self.open_sockets -= 1
                self._tasks -= tasks
            for task in tasks:
                task.cancel()
            brain_writer.close()


async def _copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
