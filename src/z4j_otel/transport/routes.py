"""Requests to the brain's HTTP routes for agents, and what their answers mean.

The meaning of an answer for the next attempt is told by the close code that a WebSocket
would have ended with (PROTOCOL §1.6), so that both ways share their words and pauses.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from z4j_otel.errors import ConnectFailed, ConnectionLost, TransportError
from z4j_otel.transport.addresses import is_loopback
from z4j_otel.transport.open_failures import not_opened, refused_with

__all__ = ["BROKEN", "OPEN_S", "POST_S", "BrainRoutes", "refusal"]

BROKEN: Final = 1006
OPEN_S: Final = 10.0
"""Limit for TCP and TLS, seconds."""
POST_S: Final = 15.0
"""Limit for the answer to a request that does not wait, seconds."""

_KEEPALIVE_S: Final = 3.0
"""Shorter than any server's (uvicorn: 5 s): a request sent into a closing connection has an
unknown outcome, and costs the session."""
_UNAUTHORISED: Final = 401
_FORBIDDEN: Final = 403
_CONFLICT: Final = 409
_NOT_TAKEN: Final = frozenset({415, 422})

_is_asking: ContextVar[bool] = ContextVar("z4j_is_asking", default=False)


class _Quiet(logging.Filter):
    """Keeps our requests, two a minute and more, out of the application's log."""

    def filter(self, record: logging.LogRecord) -> bool:
        del record
        return not _is_asking.get()


logging.getLogger("httpx").addFilter(_Quiet())


class BrainRoutes:
    """The two routes, with one token. No redirect is followed.

    Args:
        url: From :func:`api_url`.
        token: The agent's bearer token.
        user_agent: Sent as ``User-Agent``.
        ssl_context: How to check the brain's certificate; as the platform does when None.
        http: Carries the requests; real sockets when None.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user_agent: str,
        ssl_context: ssl.SSLContext | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self.headers: dict[str, str] = {}
        """Sent with every request from now on."""
        is_plain = url.startswith("http:")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}", "User-Agent": user_agent},
            verify=False if is_plain else ssl_context or ssl.create_default_context(),
            follow_redirects=False,
            timeout=httpx.Timeout(POST_S, connect=OPEN_S),
            limits=httpx.Limits(max_keepalive_connections=2, keepalive_expiry=_KEEPALIVE_S),
            # As for the WebSocket: no proxy stands between two processes of one machine.
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
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
        with suppress(httpx.HTTPError, OSError):
            await self._client.aclose()

    def unreachable(self, error: Exception) -> ConnectFailed:
        """Say why there was no answer to the first request."""
        return not_opened(self.url, error)

    async def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        _is_asking.set(True)
        try:
            return await self._client.request(
                method, self.url + path, headers={**self.headers, **(headers or {})}, **options
            )
        finally:
            _is_asking.set(False)


def refusal(answer: httpx.Response, *, is_open: bool, is_accepted: bool) -> TransportError:
    """Say what a status other than 200 means for the next attempt.

    Args:
        answer: Of the brain, or of something in its place.
        is_open: Whether the session had been opened.
        is_accepted: Whether the brain had accepted a signed frame in this session.
    """
    status = answer.status_code
    if status == _CONFLICT:
        if is_open and not is_accepted and answer.request.method == "POST":
            return ConnectionLost(4403)
        return ConnectionLost(BROKEN, "the brain no longer knows this long-poll session")
    if status in _NOT_TAKEN and is_open:
        return ConnectionLost(1011, f"HTTP {status}")
    code = _code_of(answer, is_open=is_open)
    if code is not None:
        return ConnectionLost(code)
    told = refused_with(status, answer.headers)
    reason = told.reason if answer.is_redirect else f"the server refused long-poll (HTTP {status})"
    return ConnectFailed(
        reason, http_status=status, cause=told.cause, retry_after_s=told.retry_after_s
    )


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
    except msgspec.DecodeError:
        return ""
    return f"{body.get('error')} {body.get('detail')}" if isinstance(body, dict) else ""
