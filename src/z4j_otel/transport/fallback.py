"""Chooses the way to the brain: a WebSocket, and long-poll where none comes through.

Theory of operation
    *Away.* Two attempts in a row that ended before the WebSocket said anything let the next
    thing tried be long-poll: refused upgrades, connections cut or left unanswered. Refused
    credentials do not count, on either way. Long-poll is taken only if it works at that moment
    and a WebSocket, tried once more, still does not: a brain that was away serves both again.

    *Back.* Between two polls, when no command is under way, a WebSocket is tried: 30 s after
    the change, then at distances that double up to ten minutes. One that opens is kept:
    what is being posted is waited for, the long-poll session ends as superseded, and the
    next connection is the WebSocket that is open already. Whatever was not confirmed is
    sent again, and the brain knows it by its ids.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from z4j_otel.errors import ConnectFailed, ConnectionLost, ConnectionSuperseded, TransportError
from z4j_otel.transport.base import Connection, Transport
from z4j_otel.transport.open_failures import PROXY_CAUSES, TLS_CAUSES
from z4j_otel.transport.proxies import DIRECT, ProxyChoice
from z4j_otel.transport.tls import tls_context
from z4j_otel.transport.websocket import WebSocketTransport

__all__ = ["FallbackTransport", "PollingConnection", "PollingTransport", "build_transport"]

_logger = logging.getLogger(__name__)

_FAILURES: Final = 2
_FIRST_PROBE_S: Final = 30.0
_LAST_PROBE_S: Final = 600.0
_LONGEST_POLL_S: Final = 30.0
_NOT_THE_WAY: Final = frozenset({401, 429})
"""Statuses that long-poll would meet, too."""
_BROKEN: Final = 1006
_NO_WAY: Final = frozenset({"dns", "refused", *PROXY_CAUSES, *TLS_CAUSES})
"""Causes that meet every way to the same host."""


class PollingConnection(Connection, Protocol):
    """What the fallback needs of a long-poll connection beyond the port."""

    before_poll: Callable[[], Awaitable[float]] | None
    """Called before each poll; returns how long the poll may wait, seconds."""

    async def settle(self) -> None:
        """Wait for the request that is out, and let no further one follow."""
        ...


class PollingTransport(Protocol):
    """Opens long-poll connections."""

    async def connect(self) -> PollingConnection:
        """Open one; errors as for :class:`z4j_otel.transport.base.Transport`."""
        ...


class FallbackTransport:
    """Opens WebSockets, or long-poll sessions where they do not come through.

    Args:
        websocket: The preferred way.
        longpoll: Makes the other way; called once, when it is first needed.
    """

    def __init__(self, websocket: Transport, longpoll: Callable[[], PollingTransport]) -> None:
        self.is_polling = False
        """Whether long-poll is the way at present."""
        self._websocket = websocket
        self._make_longpoll = longpoll
        self._longpoll: PollingTransport | None = None
        self._failures = 0
        self._kept: Connection | None = None
        self._probe_s = _FIRST_PROBE_S
        self._probe_due_s = 0.0

    def __repr__(self) -> str:
        return f"FallbackTransport({self._websocket!r}, is_polling={self.is_polling})"

    async def connect(self) -> Connection:
        """Open a connection on the way that works.

        Raises:
            ConnectFailed: None does; says why the preferred one does not.
            ConnectionLost: The brain refuses this agent; its code says why.
        """
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return _Watched(kept, self)
        if self.is_polling:
            return await self._connect_polling()
        try:
            return await self._open_websocket()
        except ConnectFailed as failure:
            if not self._blames_the_way(failure):
                raise
            return await self._look_around(failure)

    @property
    def way(self) -> str:
        """The way at present, as the setting calls it."""
        return "longpoll" if self.is_polling else "ws"

    def spoke(self) -> None:
        """Note that a WebSocket carried a message of the brain."""
        self._failures = 0
        self._probe_s = _FIRST_PROBE_S
        self.is_polling = False

    def ended_silently(self) -> None:
        """Note that a WebSocket opened and ended before the brain said anything."""
        self._failures += 1

    async def _open_websocket(self) -> Connection:
        if self._failures >= _FAILURES:
            # It opens, perhaps, and says nothing: long-poll gets its turn first.
            raise ConnectFailed("the WebSocket opens, but nothing comes through", cause="closed")
        return _Watched(await self._websocket.connect(), self)

    def _blames_the_way(self, failure: ConnectFailed) -> bool:
        """Whether long-poll may fare better; counts the failure if so."""
        if failure.http_status in _NOT_THE_WAY or failure.cause in _NO_WAY:
            return False
        self._failures += 1
        return self._failures >= _FAILURES

    async def _look_around(self, failure: ConnectFailed) -> Connection:
        """Try long-poll, and a WebSocket once more; raise the first failure when both fail."""
        is_silent = self._failures > _FAILURES
        self._failures = _FAILURES - 1
        try:
            polling = await self._open_longpoll()
        except ConnectFailed:
            raise failure from None
        socket = None if is_silent else await self._once_more(polling)
        if socket is not None:
            return socket
        self.is_polling = True
        self._plan_probe()
        _logger.warning(
            "[z4j] no WebSocket reaches the brain (%s); using HTTPS long-poll, which is slower,"
            " and trying WebSockets again from time to time",
            failure.reason,
            extra={"action": "fallback"},
        )
        return polling

    async def _once_more(self, polling: PollingConnection) -> Connection | None:
        """Open a WebSocket after all and close the other connection; None when none opens."""
        try:
            socket = await self._websocket.connect()
        except TransportError:
            return None
        except BaseException:
            await polling.close()
            raise
        await polling.close()
        return _Watched(socket, self)

    async def _connect_polling(self) -> Connection:
        try:
            return await self._open_longpoll()
        except ConnectFailed as failure:
            # Perhaps it is now the other way round.
            try:
                socket = await self._websocket.connect()
            except TransportError:
                raise failure from None
            return _Watched(socket, self)

    async def _open_longpoll(self) -> PollingConnection:
        if self._longpoll is None:
            self._longpoll = self._make_longpoll()
        connection = await self._longpoll.connect()
        connection.before_poll = lambda: self._probe_back(connection)
        return connection

    async def _probe_back(self, connection: PollingConnection) -> float:
        """Try a WebSocket when it is time; return how long the next poll may take, seconds.

        Raises:
            ConnectionSuperseded: One is open; the next connection will be this one.
        """
        if self._now_s() >= self._probe_due_s:
            self._plan_probe()
            try:
                socket = await self._websocket.connect()
            except TransportError as error:
                _logger.debug("still no WebSocket: %s", error)
            else:
                await self._change_over(connection, socket)
                raise ConnectionSuperseded
        return min(_LONGEST_POLL_S, max(1.0, self._probe_due_s - self._now_s()))

    async def _change_over(self, connection: PollingConnection, socket: Connection) -> None:
        try:
            await connection.settle()
        except BaseException:
            await socket.close()
            raise
        self._kept = socket
        self.is_polling = False
        # One that opens and says nothing is enough to come back here.
        self._failures = _FAILURES - 1
        _logger.info(
            "[z4j] WebSockets reach the brain again; long-poll ends",
            extra={"action": "fallback_ended"},
        )

    def _plan_probe(self) -> None:
        self._probe_due_s = self._now_s() + self._probe_s
        self._probe_s = min(_LAST_PROBE_S, self._probe_s * 2)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


class _Watched:
    """A WebSocket connection that tells whether the brain ever spoke on it."""

    def __init__(self, inner: Connection, owner: FallbackTransport) -> None:
        self._inner = inner
        self._owner = owner
        self._is_counted = False
        self.server_time_ns: int | None = getattr(inner, "server_time_ns", None)
        """The server's clock, where the inner connection knows it."""

    async def send(self, data: bytes) -> None:
        await self._inner.send(data)

    async def receive(self) -> bytes:
        try:
            data = await self._inner.receive()
        except ConnectionLost as end:
            if end.code != _BROKEN:
                # A close code is the brain speaking, too.
                self._count(is_spoken=True)
            raise
        self._count(is_spoken=True)
        return data

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._count(is_spoken=False)
        await self._inner.close(code, reason)

    def _count(self, *, is_spoken: bool) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        if is_spoken:
            self._owner.spoke()
        else:
            self._owner.ended_silently()


def build_transport(
    way: str,
    brain_url: str,
    token: str | Callable[[], str],
    *,
    dev_mode: bool = False,
    tls: Callable[[], ssl.SSLContext] = tls_context,
    proxy: ProxyChoice = DIRECT,
    user_agent: str = "z4j-otel",
) -> Transport:
    """Return the transport that the settings ask for.

    Args:
        way: ``auto``, ``ws`` or ``longpoll``.
        brain_url: Address of the brain.
        token: The agent's bearer token, or what returns it at each connect.
        dev_mode: Whether plain text to another machine is allowed.
        tls: Makes what checks the brain's certificate, for each connection over TLS.
        proxy: What stands between, from :func:`z4j_otel.transport.proxies.proxy_for`.
        user_agent: Shows in the brain's audit.

    Raises:
        ConfigError: The address is not usable.
    """
    options: dict[str, Any] = {
        "dev_mode": dev_mode,
        "tls": tls,
        "proxy": proxy,
        "user_agent": user_agent,
    }

    def longpoll() -> PollingTransport:
        # Loaded when it is needed: the HTTP client costs more than the rest of the agent.
        from z4j_otel.transport.longpoll import LongPollTransport  # noqa: PLC0415 -- see above

        return LongPollTransport(brain_url, token, **options)

    if way == "longpoll":
        return longpoll()
    websocket = WebSocketTransport(brain_url, token, **options)
    return websocket if way == "ws" else FallbackTransport(websocket, longpoll)
