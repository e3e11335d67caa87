"""The brain over plain HTTPS requests, where no WebSocket comes through (PROTOCOL §7).

Theory of operation
    One connection is one long-poll session: a fresh nonce, opened by a poll that claims
    nothing. There is no handshake on this way, so the connection answers ``hello`` itself:
    the ids come from the headers of that first answer, the session's id is the nonce, and
    of ``hello`` only what headers can say is passed on. Every message sent is one POST;
    batches count as delivered when the brain has accepted them, because no acks come as
    frames (:class:`z4j_otel.transport.base.Confirming`). ``receive`` polls for commands,
    one request after the other, so none is claimed that nobody waits for.

    *Order.* Requests are posted one at a time: the brain refuses a frame that overtook
    another. A request whose outcome is unknown ends the session; what was out is sent again
    in a new one, and the brain knows it by its ids.

    *Size.* The brain's default limit for a request is 8 KiB. A request refused with 413
    lowers what :mod:`z4j_otel.transport.request_limit` remembers, and the caller is told to
    make smaller frames.

    *Pace.* The brain takes 600 requests a minute from one address, from all processes
    together. Batches keep a distance that doubles when the brain asks for a pause.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import msgspec

from z4j_otel.errors import ConfigError, ConnectFailed, ConnectionLost, TransportError
from z4j_otel.ids import new_nonce
from z4j_otel.transport.addresses import api_url
from z4j_otel.transport.open_failures import http_date_ns, not_opened, retry_after_s
from z4j_otel.transport.proxies import DIRECT, ProxyChoice
from z4j_otel.transport.request_limit import RequestLimit
from z4j_otel.transport.routes import BROKEN, POST_S, BrainRoutes
from z4j_otel.transport.tls import tls_context
from z4j_otel.wire import canonical
from z4j_otel.wire.frames import HelloAck
from z4j_otel.wire.states import FrameTooLarge

__all__ = ["LongPollConnection", "LongPollTransport"]

_POLL_S: Final = 30.0
_POLL_FRAMES: Final = 10
_GRACE_S: Final = 10.0
_HEARTBEAT_S: Final = 10
_SHORT_PAUSE_S: Final = 5.0
"""A pause up to this long is waited out; a longer one ends the session."""
_LEAST_DISTANCE_S: Final = 0.15
_MOST_DISTANCE_S: Final = 4.0
_CUTS: Final = 3
"""Polls in a row that something on the way may cut before the session is given up."""
_CONTRACT: Final = "retry_by_reference_v1"
_MAX_FEATURES: Final = 64

_OK: Final = 200
_TOO_LARGE: Final = 413
_THROTTLED: Final = frozenset({429, 503})
_GATEWAYS: Final = frozenset({408, 502, 504})


class _Head(msgspec.Struct):
    type: str = ""
    id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class _Introduction(msgspec.Struct):
    capabilities: dict[str, list[str]] = {}
    runtime_features: list[str] = []


class _Commands(msgspec.Struct):
    frames: list[str]


class _Verdict(msgspec.Struct):
    accepted: int
    errors: list[str] = []
    error_code: str | None = None


class LongPollTransport:
    """Opens long-poll sessions with one brain and one token. No redirect is followed.

    Args:
        brain_url: Address of the brain, see :func:`z4j_otel.transport.addresses.api_url`.
        token: The agent's bearer token, or what returns it at each connect.
        dev_mode: Whether plain text to another machine is allowed.
        tls: Makes what checks the brain's certificate, for each session over TLS.
        proxy: What stands between, from :func:`z4j_otel.transport.proxies.proxy_for`.
        user_agent: Sent as ``User-Agent``.
        http: Carries the requests; real sockets when None.

    Raises:
        ConfigError: The address is not usable.
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
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = api_url(brain_url, dev_mode=dev_mode)
        """Address of the routes, without secrets."""
        self.way = "longpoll"
        self._token = token
        self._tls = tls
        self._proxy = proxy
        self._user_agent = user_agent
        self._http = http
        self._limit = RequestLimit()

    def __repr__(self) -> str:
        return f"LongPollTransport({self.url!r})"

    async def connect(self) -> LongPollConnection:
        """Open a session.

        Raises:
            ConnectFailed: The brain cannot be reached, or does not serve long-poll here.
            ConnectionLost: The brain refuses this agent; its code says why.
        """
        self._limit.begin()
        connection = LongPollConnection(self._routes(), self._limit)
        try:
            await connection.open()
        except BaseException:
            await connection.close()
            raise
        return connection

    def _routes(self) -> BrainRoutes:
        try:
            return BrainRoutes(
                self.url,
                self._token if isinstance(self._token, str) else self._token(),
                user_agent=self._user_agent,
                tls=self._tls,
                proxy=self._proxy,
                http=self._http,
            )
        except (ConfigError, OSError) as error:
            raise not_opened(self.url, error, self._proxy) from error


class LongPollConnection:
    """One long-poll session, seen as a channel of frames."""

    def __init__(self, routes: BrainRoutes, limit: RequestLimit) -> None:
        self.before_poll: Callable[[], Awaitable[float]] | None = None
        """Called before each poll; returns how long the poll may wait, seconds. What it
        raises ends the connection, while no command is under way."""
        self.server_time_ns: int | None = None
        """The server's clock as its first answer told it; None when it did not."""
        self._routes = routes
        self._limit = limit
        self._nonce = new_nonce()
        self._agent_id = self._project_id = ""
        self._inbox: deque[bytes] = deque()
        self._posting = asyncio.Lock()
        self._tell_delivered: Callable[[str], None] = lambda _frame_id: None
        self._is_accepted = False
        self._distance_s = _LEAST_DISTANCE_S
        self._next_batch_s = 0.0
        self._poll_s = _POLL_S
        self._cuts = 0

    def on_delivered(self, callback: Callable[[str], None]) -> None:
        """Have the id of each batch told once the brain has stored it."""
        self._tell_delivered = callback

    async def open(self) -> None:
        """Open the session with a poll that claims no command.

        Raises:
            ConnectFailed: The brain cannot be reached, or does not serve long-poll here.
            ConnectionLost: The brain refuses this agent.
        """
        self._routes.headers["X-Z4J-Session-Nonce"] = self._nonce
        try:
            answer = await self._routes.get(wait_s=0, max_frames=0, timeout_s=POST_S)
        except (httpx.HTTPError, OSError) as error:
            raise self._routes.unreachable(error) from error
        if answer.status_code != _OK:
            raise self._refusal(answer)
        self._agent_id = answer.headers.get("X-Z4J-Agent-Id", "")
        self._project_id = answer.headers.get("X-Z4J-Project-Id", "")
        if not (self._agent_id and self._project_id):
            text = f"the server at {self._routes.url} answers, but is no brain with long-poll"
            raise ConnectFailed(text, http_status=answer.status_code, cause="http")
        self.server_time_ns = http_date_ns(answer.headers)

    async def send(self, data: bytes) -> None:
        """Post one frame and wait for the brain's verdict; ``hello`` is answered here.

        Raises:
            ConnectionLost: The session has ended; the frame may have arrived all the same.
            ConnectFailed: The brain asks for a pause.
            FrameTooLarge: The brain takes no request of this size.
        """
        head = msgspec.json.decode(data, type=_Head)
        if head.type == "hello":
            self._introduce(msgspec.json.decode(head.payload, type=_Introduction))
            return
        async with self._posting:
            if head.type == "event_batch":
                await self._keep_distance()
            await self._post(data)
        if head.type == "event_batch":
            self._tell_delivered(head.id)

    async def receive(self) -> bytes:
        """Poll until a command is there.

        Raises:
            ConnectionLost: The session has ended.
            ConnectFailed: The brain asks for a pause.
        """
        while not self._inbox:
            await self._poll()
        return self._inbox.popleft()

    async def settle(self) -> None:
        """Wait for the request that is out, and let no further one follow."""
        await self._posting.acquire()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connections; the brain forgets the session by itself."""
        del code, reason
        await self._routes.close()

    def _introduce(self, who: _Introduction) -> None:
        """Say in headers what ``hello`` says, and answer it in the brain's place."""
        contracts = [name for name, can in who.capabilities.items() if _CONTRACT in can]
        headers = self._routes.headers
        headers["X-Z4J-Runtime-Features"] = ",".join(who.runtime_features[:_MAX_FEATURES])
        if contracts:
            headers["X-Z4J-Retry-Contracts"] = ",".join(f"{name}=1" for name in contracts)
        ack = HelloAck(
            agent_id=self._agent_id,
            project_id=self._project_id,
            session_id=self._nonce,
            heartbeat_interval_seconds=_HEARTBEAT_S,
            max_frame_size_bytes=self._limit.frame_bytes,
        )
        frame = {"v": 2, "type": "hello_ack", "id": "hack_longpoll"}
        self._inbox.append(canonical.encode(frame | {"payload": msgspec.to_builtins(ack)}))

    async def _keep_distance(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._next_batch_s > now_s:
            await asyncio.sleep(self._next_batch_s - now_s)
        self._next_batch_s = max(now_s, self._next_batch_s) + self._distance_s

    async def _post(self, data: bytes) -> None:
        body = b'{"frames":[%b]}' % msgspec.json.encode(data.decode())
        if len(body) > self._limit.request_bytes:
            raise FrameTooLarge(len(data), self._limit.frame_bytes_like(len(data), len(body)))
        paused_s = 0.0
        while True:
            try:
                answer = await self._routes.post(body)
            except (httpx.HTTPError, OSError) as error:
                raise _broken(error) from error
            if answer.status_code not in _THROTTLED:
                break
            paused_s += await self._pause(answer, paused_s)
        if answer.status_code == _TOO_LARGE:
            if self._limit.refused(len(body)):
                raise FrameTooLarge(len(data), min(len(data) - 1, self._limit.frame_bytes))
            raise ConnectionLost(1009, "the brain takes no request, however small")
        if answer.status_code != _OK:
            raise self._refusal(answer)
        self._judge(answer)
        self._is_accepted = True
        self._distance_s = max(_LEAST_DISTANCE_S, self._distance_s * 0.99)

    def _judge(self, answer: httpx.Response) -> None:
        """Accept the answer to a POST.

        Raises:
            ConnectionLost: The brain has not stored the frame, or says nobody knows what.
        """
        try:
            verdict = msgspec.json.decode(answer.content, type=_Verdict)
        except (ValueError, RecursionError):
            raise ConnectionLost(BROKEN, "a proxy answers in the brain's place") from None
        if verdict.accepted != 1:
            words = verdict.error_code or ", ".join(verdict.errors[:1]) or "no reason given"
            raise ConnectionLost(BROKEN, f"the brain did not store a frame: {words[:200]}")

    async def _pause(self, answer: httpx.Response, paused_s: float) -> float:
        """Wait as long as the brain asks; return how long that was, seconds."""
        self._distance_s = min(_MOST_DISTANCE_S, self._distance_s * 2)
        pause_s = max(retry_after_s(answer.headers), 1.0)
        if paused_s + pause_s > _SHORT_PAUSE_S:
            raise self._refusal(answer)
        await asyncio.sleep(pause_s)
        return pause_s

    async def _poll(self) -> None:
        allowed_s = _POLL_S if self.before_poll is None else await self.before_poll()
        wait_s = max(1, int(min(allowed_s, self._poll_s)))
        started_s = asyncio.get_running_loop().time()
        try:
            answer = await self._routes.get(
                wait_s=wait_s, max_frames=_POLL_FRAMES, timeout_s=wait_s + _GRACE_S
            )
        except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
            self._note_cut(started_s, _broken(error))
            return
        except (httpx.HTTPError, OSError) as error:
            raise _broken(error) from error
        if answer.status_code in _GATEWAYS:
            self._note_cut(started_s, self._refusal(answer))
        elif answer.status_code in _THROTTLED:
            await self._pause(answer, 0.0)
        elif answer.status_code != _OK:
            raise self._refusal(answer)
        else:
            self._cuts = 0
            self._take(answer)

    def _note_cut(self, started_s: float, error: TransportError) -> None:
        """Poll for a shorter time: something on the way does not let a request wait so long."""
        lasted_s = asyncio.get_running_loop().time() - started_s
        self._cuts += 1
        if lasted_s < 1.0 or self._cuts > _CUTS:
            raise error
        self._poll_s = max(1.0, min(self._poll_s, lasted_s) * 0.8)

    def _take(self, answer: httpx.Response) -> None:
        try:
            commands = msgspec.json.decode(answer.content, type=_Commands)
        except (ValueError, RecursionError):
            raise ConnectionLost(BROKEN, "a proxy answers in the brain's place") from None
        self._inbox.extend(frame.encode() for frame in commands.frames)

    def _refusal(self, answer: httpx.Response) -> TransportError:
        return self._routes.refusal(
            answer, is_open=bool(self._agent_id), is_accepted=self._is_accepted
        )


def _broken(error: Exception) -> ConnectionLost:
    return ConnectionLost(BROKEN, f"a request failed: {type(error).__name__}")
