"""Transports without a network: one to an embedded brain, one that breaks on request."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from z4j_otel.devbrain.brain import BrainConnection, CloseWith, DevBrain
from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.transport.base import Connection, Transport

__all__ = ["FaultyTransport", "MemoryTransport"]

_NO_CLOSE_CODE = 1006


class MemoryTransport:
    """Connects to an embedded brain in the same process."""

    def __init__(self, brain: DevBrain, token: str | Callable[[], str]) -> None:
        """Make a transport.

        Args:
            brain: Whom to connect to.
            token: The agent's bearer token, or what returns it at each connect.
        """
        self._brain = brain
        self._token = token
        self.is_refusing = False
        """Whether connects fail, as when no brain listens."""

    async def connect(self) -> Connection:
        """Open a connection; a brain that closes at once says so at the first ``receive``."""
        if self.is_refusing:
            raise ConnectFailed("nobody listens")
        token = self._token if isinstance(self._token, str) else self._token()
        try:
            return _MemoryConnection(self._brain, self._brain.open(token))
        except CloseWith as close:
            return _ClosedConnection(ConnectionLost(close.code, close.reason))


class _MemoryConnection:
    """The agent's end of a connection to an embedded brain."""

    def __init__(self, brain: DevBrain, connection: BrainConnection) -> None:
        self._brain = brain
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._frames: deque[bytes] = deque()
        self._end: ConnectionLost | None = None
        connection.on_change = self._wake

    async def send(self, data: bytes) -> None:
        if self._end is not None:
            raise self._end
        self._connection.feed(data)
        self._changed.set()
        # A real socket lets others run here, too.
        await asyncio.sleep(0)

    async def receive(self) -> bytes:
        while not self._frames:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            try:
                self._frames.extend(self._connection.drain())
            except CloseWith as close:
                self._end = ConnectionLost(close.code, close.reason)
                continue
            if not self._frames:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._delay_s())
        return self._frames.popleft()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._end = self._end or ConnectionLost(code, reason)
        self._connection.disconnected()
        self._changed.set()

    def _delay_s(self) -> float | None:
        due_ns = self._connection.next_wake_ns()
        if due_ns is None:
            return None
        return max(0.0, (due_ns - self._brain.clock.now_ns()) / 1e9)

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)


class _ClosedConnection:
    """A connection the brain closed before anything was said."""

    def __init__(self, end: ConnectionLost) -> None:
        self._end = end

    async def send(self, data: bytes) -> None:
        del data
        raise self._end

    async def receive(self) -> bytes:
        raise self._end

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Do nothing: it is closed."""


class FaultyTransport:
    """Wraps a transport and injects the faults it was asked for, each once."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._refusals: deque[ConnectFailed] = deque()
        self._lost_sends = 0
        self._corrupt_receives = 0
        self._sends_left: int | None = None
        self._receives_left: int | None = None
        self.connects = 0
        """How many connects were tried."""

    async def connect(self) -> Connection:
        """Open a connection of the inner transport, unless a refusal is due."""
        self.connects += 1
        if self._refusals:
            raise self._refusals.popleft()
        return _FaultyConnection(self, await self._inner.connect())

    def refuse(self, count: int = 1, *, http_status: int | None = None) -> None:
        """Fail the next connects."""
        failures = (ConnectFailed("refused", http_status=http_status) for _ in range(count))
        self._refusals.extend(failures)

    def lose_sends(self, count: int = 1) -> None:
        """Swallow the next messages sent, as a network that dies silently does."""
        self._lost_sends += count

    def corrupt_receives(self, count: int = 1) -> None:
        """Change one byte of each of the next messages received."""
        self._corrupt_receives += count

    def cut_after_sends(self, count: int) -> None:
        """Break the connection, without a close code, after so many further sends."""
        self._sends_left = count

    def cut_after_receives(self, count: int) -> None:
        """Break the connection, without a close code, after so many further receives."""
        self._receives_left = count

    def take_send(self) -> bool:
        """Account for one send; False when the message is to be swallowed.

        Raises:
            ConnectionLost: The connection is to break instead.
        """
        if self._sends_left is not None:
            if self._sends_left == 0:
                self._sends_left = None
                raise ConnectionLost(_NO_CLOSE_CODE)
            self._sends_left -= 1
        if self._lost_sends:
            self._lost_sends -= 1
            return False
        return True

    def begin_receive(self) -> None:
        """Account for one receive.

        Raises:
            ConnectionLost: The connection is to break instead.
        """
        if self._receives_left is not None:
            if self._receives_left == 0:
                self._receives_left = None
                raise ConnectionLost(_NO_CLOSE_CODE)
            self._receives_left -= 1

    def alter(self, data: bytes) -> bytes:
        """Return a message received, changed when that is due."""
        if self._corrupt_receives:
            self._corrupt_receives -= 1
            middle = len(data) // 2
            return data[:middle] + bytes((data[middle] ^ 1,)) + data[middle + 1 :]
        return data


class _FaultyConnection:
    """One connection of a faulty transport; broken for good once a cut was due."""

    def __init__(self, faults: FaultyTransport, inner: Connection) -> None:
        self._faults = faults
        self._inner = inner
        self._end: ConnectionLost | None = None

    async def send(self, data: bytes) -> None:
        try:
            self._check()
            if self._faults.take_send():
                await self._inner.send(data)
        except ConnectionLost as end:
            await self._break(end)
            raise

    async def receive(self) -> bytes:
        try:
            self._check()
            self._faults.begin_receive()
            return self._faults.alter(await self._inner.receive())
        except ConnectionLost as end:
            await self._break(self._end or end)
            raise (self._end or end) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._inner.close(code, reason)

    def _check(self) -> None:
        if self._end is not None:
            raise self._end

    async def _break(self, end: ConnectionLost) -> None:
        if self._end is None:
            self._end = end
            await self._inner.close(_NO_CLOSE_CODE)
