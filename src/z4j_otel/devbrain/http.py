"""The embedded brain's HTTP routes and its WebSocket on one port.

The first line of a connection tells what it wants: the routes for agents are served here, by
a reader of plain HTTP/1.1 that is enough for agents and tests; all else is the WebSocket
library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection

from z4j_otel.devbrain.faults import Faults
from z4j_otel.devbrain.longpoll import Answer, LongPollDesk, Request

__all__ = ["PortConnection", "RequestReader"]

_ROUTES: Final = b"/api/"
_LOOK_S: Final = 0.05
_MAX_LINE_BYTES: Final = 8192


class RequestReader:
    """Serves the requests of one TCP connection, one after the other.

    Args:
        desk: Answers them.
        faults: Tells whether the brain has stopped reading.
        transport: Takes the answers.
    """

    def __init__(
        self, desk: LongPollDesk, faults: Faults, transport: asyncio.WriteTransport
    ) -> None:
        self._desk = desk
        self._faults = faults
        self._transport = transport
        self._stream = asyncio.StreamReader()
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def feed(self, data: bytes) -> None:
        """Take what the network brought."""
        self._stream.feed_data(data)

    def close(self) -> None:
        """Stop: the connection has ended, or is to end."""
        self._task.cancel()

    async def _serve(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                request = await self._read()
                answer = await self._answer(request)
                self._transport.write(_encode(answer))
        self._transport.close()

    async def _read(self) -> Request:
        head = (await self._stream.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip("\r\n").split("\r\n")
        method, target, _ = (line + "  ").split(" ", 2)
        pairs = (field.partition(":") for field in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        size = headers.get("content-length", "0")
        body = await self._stream.readexactly(int(size) if size.isdigit() else 0)
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        return Request(method, parts.path, query, headers, body, self._peer)

    async def _answer(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._desk.wait_s(request)
        is_first = True
        while True:
            if not self._faults.is_stalled:
                is_last = loop.time() >= ends_s
                answer = self._desk.answer(request, is_first=is_first, is_last=is_last)
                if answer.status:
                    return answer
                is_first = False
            await asyncio.sleep(_LOOK_S)


def _encode(answer: Answer) -> bytes:
    body = answer.body
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **answer.headers,
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    phrase = http.HTTPStatus(answer.status).phrase
    return f"HTTP/1.1 {answer.status} {phrase}\r\n{fields}\r\n".encode() + body


class PortConnection(ServerConnection):
    """A connection that becomes a WebSocket, or a sequence of HTTP requests.

    A server makes a subclass of its own and sets the class variables.
    """

    desk: ClassVar[LongPollDesk]
    faults: ClassVar[Faults]
    others: ClassVar[set[PortConnection]]
    """Connections that are no WebSocket; they are ended with the server."""

    _head = b""
    _reader: RequestReader | None = None
    _is_socket = False
    _tcp: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first line."""
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        self.others.add(self)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on to whoever serves the connection."""
        if self._is_socket:
            super().data_received(data)
        elif self._reader is not None:
            self._reader.feed(data)
        else:
            self._head += data
            if b"\r\n" in self._head or len(self._head) > _MAX_LINE_BYTES:
                self._decide()

    def _decide(self) -> None:
        target = self._head.split(b"\r\n", 1)[0].partition(b" ")[2]
        if target.startswith(_ROUTES):
            self._reader = RequestReader(self.desk, self.faults, self._tcp)
            self._reader.feed(self._head)
            return
        self.others.discard(self)
        self._is_socket = True
        super().connection_made(self._tcp)
        super().data_received(self._head)

    def eof_received(self) -> None:
        """Pass the end of the peer's bytes on."""
        if self._is_socket:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """End whoever serves the connection."""
        self.others.discard(self)
        if self._is_socket:
            super().connection_lost(exc)
        elif self._reader is not None:
            self._reader.close()

    def pause_writing(self) -> None:
        """Pass on that the peer does not read."""
        if self._is_socket:
            super().pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the peer reads again."""
        if self._is_socket:
            super().resume_writing()

    def end(self) -> None:
        """End a connection that is no WebSocket."""
        if self._reader is not None:
            self._reader.close()
        self._tcp.abort()
