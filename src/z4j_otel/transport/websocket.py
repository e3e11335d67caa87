"""The WebSocket to the brain, on the ``websockets`` library."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxyStatus,
    InvalidStatus,
    WebSocketException,
)

from z4j_otel.errors import ConfigError, ConnectionLost
from z4j_otel.transport.addresses import agent_url, is_loopback
from z4j_otel.transport.open_failures import (
    Answer,
    http_date_ns,
    not_opened,
    refused_by_proxy,
    refused_with,
)
from z4j_otel.transport.proxies import DIRECT, ProxyChoice
from z4j_otel.transport.tls import tls_context

__all__ = ["WebSocketConnection", "WebSocketTransport"]

_ABNORMAL: Final = 1006
_MAX_INBOUND_BYTES: Final = 1_048_576
_PING_S: Final = 30.0
_PONG_S: Final = 60.0
"""A brain that is busy answers late; a peer that has gone is noticed after 90 s."""
_NOT_OPENED: Final = (
    ConfigError,
    OSError,
    UnicodeError,
    asyncio.TimeoutError,
    WebSocketException,
)

# At DEBUG the library logs the handshake's headers, and with them the token.
_library_logger = logging.getLogger("z4j_otel.transport.websocket.library")
_library_logger.setLevel(logging.WARNING)


class WebSocketConnection:
    """One open WebSocket."""

    def __init__(self, socket: ClientConnection, *, close_timeout_s: float) -> None:
        self._socket = socket
        self._close_timeout_s = close_timeout_s
        assert socket.response is not None  # the upgrade is done
        self.server_time_ns = http_date_ns(_plain(socket.response.headers))
        """The server's clock as its answer to the upgrade told it; None when it did not."""

    async def send(self, data: bytes) -> None:
        """Send one binary message."""
        try:
            await self._socket.send(data)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def receive(self) -> bytes:
        """Wait for one message; text is returned as its UTF-8 bytes."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a code; waits a few seconds for the peer's answer."""
        closing = asyncio.ensure_future(self._close(code, reason))
        try:
            # The library's own limit does not count while the peer does not read.
            await asyncio.wait([closing], timeout=self._close_timeout_s)
        finally:
            self._socket.transport.abort()
            closing.cancel()

    async def _close(self, code: int, reason: str) -> None:
        # The peer may be faster, or gone: closed either way.
        with contextlib.suppress(OSError, WebSocketException):
            await self._socket.close(code, reason)


def _plain(headers: Headers) -> dict[str, str]:
    """Return the headers that are read, the first of those that are repeated."""
    names = ("Date", "Location", "Retry-After")
    return {name: values[0] for name in names if (values := headers.get_all(name))}


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    if closed.rcvd is not None:
        return ConnectionLost(closed.rcvd.code, closed.rcvd.reason)
    # Without a close frame of the peer only our own reason tells what happened, for
    # example a keepalive that went unanswered.
    reason = closed.sent.reason if closed.sent is not None else "the connection broke"
    return ConnectionLost(_ABNORMAL, reason)


class WebSocketTransport:
    """Opens WebSockets to one brain with one token.

    Redirects are not followed: the brain issues none, and a token must not travel to an
    address that the operator did not write down. The environment is not asked for a proxy.

    Args:
        brain_url: Address of the brain, see :func:`agent_url`.
        token: The agent's bearer token, or what returns it at each connect.
        dev_mode: Whether plain text to another machine is allowed.
        tls: Makes what checks the brain's certificate, for each connection to ``wss``.
        proxy: What stands between, from :func:`z4j_otel.transport.proxies.proxy_for`.
        user_agent: Sent as ``User-Agent``; shows in the brain's audit.
        open_timeout_s: Limit for TCP, TLS and upgrade together.
        close_timeout_s: How long to wait for the peer's close frame.
        ping_interval_s: Pause between pings.
        ping_timeout_s: How long the peer may take to answer one.

    Raises:
        ConfigError: The address is not usable, see :func:`agent_url`.
    """

    def __init__(
        self,
        brain_url: str,
        token: str | Callable[[], str],
        *,
        dev_mode: bool = False,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        proxy: ProxyChoice = DIRECT,
        user_agent: str = "z4j-otel",
        open_timeout_s: float = 10.0,
        close_timeout_s: float = 5.0,
        ping_interval_s: float = _PING_S,
        ping_timeout_s: float = _PONG_S,
    ) -> None:
        self.url = agent_url(brain_url, dev_mode=dev_mode)
        """Address of the socket, without secrets."""
        self._token = token
        self._close_timeout_s = close_timeout_s
        self._tls = tls
        self._proxy = proxy
        on_this_machine = is_loopback(urlsplit(self.url).hostname or "")
        self._options: dict[str, Any] = {
            "user_agent_header": user_agent,
            "open_timeout": open_timeout_s,
            "close_timeout": close_timeout_s,
            "ping_interval": ping_interval_s,
            "ping_timeout": ping_timeout_s,
            "max_size": _MAX_INBOUND_BYTES,
            "logger": _library_logger,
            "create_connection": _Connection,
            # Compressing for a peer on this machine costs both and saves nothing.
            "compression": None if on_this_machine else "deflate",
            "proxy": proxy.url,
        }

    def __repr__(self) -> str:
        return f"WebSocketTransport({self.url!r})"

    async def connect(self) -> WebSocketConnection:
        """Open a WebSocket.

        Raises:
            ConnectFailed: Names what failed: address, proxy, refusal, time-out, TLS or status.
        """
        token = self._token if isinstance(self._token, str) else self._token()
        try:
            socket = await self._opening(token)
        except InvalidStatus as refused:
            answer = refused.response
            told = Answer(answer.status_code, _plain(answer.headers), bytes(answer.body))
            raise refused_with(self.url, told, secret=token) from refused
        except InvalidProxyStatus as refused:
            raise refused_by_proxy(self._proxy, refused.response.status_code) from refused
        except _NOT_OPENED as error:
            raise not_opened(self.url, error, self._proxy) from error
        return WebSocketConnection(socket, close_timeout_s=self._close_timeout_s)

    def _opening(self, token: str) -> _ConnectHere:
        headers = {"Authorization": f"Bearer {token}"}
        return _ConnectHere(
            self.url, additional_headers=headers, **self._options, **self._encryption()
        )

    def _encryption(self) -> dict[str, Any]:
        proxy = self._proxy.proxy
        is_wanted = {
            "ssl": self.url.startswith("wss:"),
            "proxy_ssl": proxy is not None and proxy.scheme == "https",
        }
        wanted = [name for name, is_so in is_wanted.items() if is_so]
        return dict.fromkeys(wanted, self._tls()) if wanted else {}


class _Connection(ClientConnection):
    """The library's connection; in the handshake it tells what the network said at the end.

    A server that speaks TLS 1.3 asks for a client certificate when the client believes that
    it is connected already.
    """

    lost_by: Exception | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note why."""
        self.lost_by = exc
        super().connection_lost(exc)

    async def handshake(self, *args: Any, **kwargs: Any) -> None:
        """Shake hands."""
        try:
            await super().handshake(*args, **kwargs)
        except (EOFError, WebSocketException) as error:
            if self.response is None and self.lost_by is not None:
                raise self.lost_by from error
            raise


class _ConnectHere(connect):
    """The library's client without its redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the refusal itself: it is final."""
        return exc
