"""Requests to the brain's HTTP routes for agents, and what their answers mean.

The meaning of an answer for the next attempt is told by the close code that a WebSocket
would have ended with (PROTOCOL §1.6), so that both ways share their words and pauses.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

import httpx
import msgspec

from z4j_otel.errors import ConnectFailed, ConnectionLost, TransportError
from z4j_otel.transport.open_failures import Answer, not_opened, refused_by_proxy, refused_with
from z4j_otel.transport.proxies import DIRECT, ProxyChoice
from z4j_otel.transport.tls import tls_context

__all__ = ["BROKEN", "OPEN_S", "POST_S", "BrainRoutes"]

BROKEN: Final = 1006
OPEN_S: Final = 10.0
"""Limit for TCP and TLS, seconds."""
POST_S: Final = 15.0
"""Limit for the answer to a request that does not wait, seconds."""

_KEEPALIVE_S: Final = 3.0
"""Shorter than any server's (uvicorn: 5 s): a request sent into a closing connection has an
unknown outcome, and costs the session."""
_UNAUTHORISED: Final = 401
_PROXY_LOGIN: Final = 407
_FORBIDDEN: Final = 403
_CONFLICT: Final = 409
_NOT_TAKEN: Final = frozenset({415, 422})

_PARTS_THAT_LOG: Final = ("connection", "http11", "http2", "proxy")
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""More than a poll's frames have together: whoever answers must not fill our memory."""
_PIECE_BYTES: Final = 65_536

_is_asking: ContextVar[bool] = ContextVar("z4j_is_asking", default=False)


class _Quiet(logging.Filter):
    """Keeps our requests, two a minute and more, out of the application's log.

    At DEBUG they are a dozen lines each, with what proxy and brain put into their headers.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _is_asking.get()


for _name in ("httpx", *(f"httpcore.{part}" for part in _PARTS_THAT_LOG)):
    logging.getLogger(_name).addFilter(_Quiet())


@contextmanager
def _quietly() -> Iterator[None]:
    _is_asking.set(True)
    try:
        yield
    finally:
        _is_asking.set(False)


class BrainRoutes:
    """The two routes, with one token. No redirect is followed, no environment read.

    Args:
        url: From :func:`api_url`.
        token: The agent's bearer token.
        user_agent: Sent as ``User-Agent``.
        tls: Makes what checks the brain's certificate; called once, where there is TLS.
        proxy: What stands between, from :func:`z4j_otel.transport.proxies.proxy_for`.
        http: Carries the requests; real sockets when None.

    Raises:
        ConfigError: ``tls`` did.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user_agent: str,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        proxy: ProxyChoice = DIRECT,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self.headers: dict[str, str] = {}
        """Sent with every request from now on."""
        self._token = token
        self._proxy = proxy
        context = tls() if url.startswith("https:") or _is_encrypted(proxy) else None
        with _quietly():
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {token}", "User-Agent": user_agent},
                verify=context or False,
                follow_redirects=False,
                timeout=httpx.Timeout(POST_S, connect=OPEN_S),
                limits=httpx.Limits(max_keepalive_connections=2, keepalive_expiry=_KEEPALIVE_S),
                trust_env=False,
                proxy=_proxy(proxy, context),
                transport=http,
            )

    async def get(self, *, wait_s: int, max_frames: int, timeout_s: float) -> httpx.Response:
        """Ask for commands.

        Raises:
            httpx.HTTPError: There was no answer.
        """
        return await self._ask(
            "GET",
            "/commands",
            params={"wait": wait_s, "max_frames": max_frames},
            timeout=httpx.Timeout(timeout_s, connect=OPEN_S),
        )

    async def post(self, body: bytes) -> httpx.Response:
        """Hand over frames.

        Raises:
            httpx.HTTPError: There was no answer; the frames may have arrived.
        """
        return await self._ask(
            "POST", "/events", content=body, headers={"Content-Type": "application/json"}
        )

    async def close(self) -> None:
        """Close the connections. Never raises."""
        with _quietly(), suppress(httpx.HTTPError, OSError):
            await self._client.aclose()

    def unreachable(self, error: Exception) -> ConnectFailed:
        """Say why there was no answer to the first request."""
        status = _status_of_proxy(error)
        if status is not None:
            return refused_by_proxy(self._proxy, status)
        if isinstance(error, httpx.RemoteProtocolError):
            # Of two kinds, which the library tells apart by text only.
            kind = EOFError if "disconnected" in str(error) else ValueError
            return not_opened(self.url, kind(), self._proxy)
        return not_opened(self.url, error, self._proxy)

    def refusal(
        self, answer: httpx.Response, *, is_open: bool, is_accepted: bool
    ) -> TransportError:
        """Say what a status other than 200 means for the next attempt.

        Args:
            answer: Of the brain, or of something in its place.
            is_open: Whether the session had been opened.
            is_accepted: Whether the brain had accepted a signed frame in this session.
        """
        end = _end_of_session(answer, is_open=is_open, is_accepted=is_accepted)
        if end is not None:
            return end
        if answer.status_code == _PROXY_LOGIN:
            return refused_by_proxy(self._proxy, answer.status_code)
        told = Answer(answer.status_code, answer.headers, answer.content)
        return refused_with(str(answer.request.url), told, secret=self._token)

    async def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        sent = {**self.headers, **(headers or {})}
        with _quietly():
            async with self._client.stream(method, self.url + path, headers=sent, **options) as got:
                return await _read(got)


def _is_encrypted(proxy: ProxyChoice) -> bool:
    return proxy.proxy is not None and proxy.proxy.scheme == "https"


async def _read(answer: httpx.Response) -> httpx.Response:
    """Return an answer with its body.

    Raises:
        httpx.RemoteProtocolError: It is larger than any brain's.
    """
    body = bytearray()
    async for piece in answer.aiter_bytes(_PIECE_BYTES):
        body += piece
        if len(body) > _MAX_ANSWER_BYTES:
            raise httpx.RemoteProtocolError("the answer is too large")
    # The body is unpacked already.
    headers = [
        (name, value)
        for name, value in answer.headers.multi_items()
        if name.lower() not in {"content-encoding", "content-length", "transfer-encoding"}
    ]
    return httpx.Response(
        answer.status_code, headers=headers, content=bytes(body), request=answer.request
    )


def _proxy(choice: ProxyChoice, context: ssl.SSLContext | None) -> httpx.Proxy | None:
    if choice.url is None:
        return None
    return httpx.Proxy(choice.url, ssl_context=context if _is_encrypted(choice) else None)


def _status_of_proxy(error: Exception) -> int | None:
    """Return the status with which a proxy refused a tunnel; the library tells it as text."""
    word = str(error)[:3]
    is_status = isinstance(error, httpx.ProxyError) and word.isascii() and word.isdigit()
    return int(word) if is_status else None


def _end_of_session(
    answer: httpx.Response, *, is_open: bool, is_accepted: bool
) -> ConnectionLost | None:
    """Return what the brain means by a refusal, in terms of close codes; None if nothing."""
    status = answer.status_code
    if status == _CONFLICT:
        if is_open and not is_accepted and answer.request.method == "POST":
            return ConnectionLost(4403)
        return ConnectionLost(BROKEN, "the brain no longer knows this long-poll session")
    if status in _NOT_TAKEN and is_open:
        return ConnectionLost(1011, f"HTTP {status}")
    code = _code_of(answer, is_open=is_open)
    return None if code is None else ConnectionLost(code)


def _code_of(answer: httpx.Response, *, is_open: bool) -> int | None:
    """Return the close code that a WebSocket would have ended with, or None."""
    word = _error_of(answer)
    if answer.status_code == _UNAUTHORISED and "agent token" in word:
        return 4401
    if answer.status_code != _FORBIDDEN:
        return None
    if "project_inactive" in word:
        return 4003
    if "ip_denied" in word:
        return 4003 if is_open else 4403
    return None


def _error_of(answer: httpx.Response) -> str:
    try:
        body = msgspec.json.decode(answer.content)
    except (ValueError, RecursionError):
        return ""
    return f"{body.get('error')} {body.get('detail')}" if isinstance(body, dict) else ""
