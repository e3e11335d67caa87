"""What stands between an agent and a brain: servers with certificates, and proxies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import time

from z4j_otel.agent.connection_failures import Phase, diagnose
from z4j_otel.errors import TransportError
from z4j_otel.transport.fallback import build_transport
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import decode_secret

HELLO = Hello(agent_version="1", framework="bare")


def server_context(authority, *names, **options):
    """Return what a server with a certificate of this authority needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost",)), **options).configure_cert(context)
    return context


class Agent:
    """One way to the brain, tried once at a time."""

    def __init__(self, way, credentials):
        self.way = way
        self.token = credentials.token
        self._key = decode_secret(credentials.hmac_secret)

    async def hello(self, url, **options):
        """Connect and shake hands; return None, or why that failed."""
        transport = build_transport(self.way, url, self.token, **options)
        session = Session(Role.AGENT, self._key)
        try:
            connection = await transport.connect()
            await connection.send(session.send_hello(HELLO, frame_id="h"))
            session.receive(await connection.receive(), now_ns=time.time_ns())
            assert session.binding is not None
        except TransportError as error:
            return error
        await connection.close()
        return None

    async def line(self, url, **options):
        """Return what an operator reads about a connection that fails; None if it works."""
        error = await self.hello(url, **options)
        if error is None:
            return None
        text = diagnose(error, Phase()).text
        assert self.token not in f"{text}{error!r}"
        return text


@contextlib.asynccontextmanager
async def front(port, context, host="localhost"):
    """Run a server that speaks TLS, or not, and passes all on to a port; yields its own."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError):
            ends = _Encrypted(reader, writer, context) if context else _Plain(reader, writer)
            if await ends.shake_hands():
                await join(ends, _Plain(*await asyncio.open_connection("127.0.0.1", port)))

    async with serving(serve, host) as own:
        yield own


class _Plain:
    """One end of a connection."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    async def shake_hands(self):
        """Say that there is nothing to do."""
        return True

    async def read(self):
        """Return what came; empty at the end."""
        return await self._reader.read(65_536)

    async def write(self, data):
        """Send it."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self):
        """End the connection."""
        self._writer.close()


class _Encrypted(_Plain):
    """The server's end with TLS that, other than asyncio's, tells why it ends a handshake."""

    def __init__(self, reader, writer, context):
        super().__init__(reader, writer)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def shake_hands(self):
        """Return whether it came to an end that both like."""
        with contextlib.suppress(ssl.SSLError):
            await self._run(self._tls.do_handshake)
            return True
        # What is unread when a socket is closed makes a reset, which eats the alert.
        self._writer.write_eof()
        while await super().read():
            pass
        return False

    async def read(self):
        with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return await self._run(self._tls.read)
        return b""

    async def write(self, data):
        self._tls.write(data)
        await super().write(self._out.read())

    async def _run(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                pass
            finally:
                await super().write(self._out.read())
            if data := await super().read():
                self._in.write(data)
            else:
                self._in.write_eof()


class Proxy:
    """An HTTP proxy that leads everywhere to one port of this machine."""

    def __init__(self, target, *, login=None, status=None, context=None):
        self.asked = []
        """What clients wanted to reach."""
        self.port = 0
        self._target, self._status, self._context = target, status, context
        self._login = login and f"basic {base64.b64encode(login.encode()).decode()}"

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        own = serving(self._serve, "localhost", self._context)
        self.port = await self._stack.enter_async_context(own)
        return self

    async def __aexit__(self, *_error):
        await self._stack.aclose()

    @property
    def address(self):
        """Where it listens."""
        return f"{'https' if self._context else 'http'}://localhost:{self.port}"

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.partition("\r\n")[0].split()
            self.asked.append(target)
            status = self._status or self._login_status(head)
            if status:
                writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())
                return
            server = _Plain(*await asyncio.open_connection("127.0.0.1", self._target))
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Yes\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                await server.write(head.replace(target, path, 1).encode())
            await join(_Plain(reader, writer), server)

    def _login_status(self, head):
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        given = headers.get("proxy-authorization", "")
        return None if not self._login or given == self._login.lower() else 407


@contextlib.asynccontextmanager
async def serving(handler, host, context=None):
    """Run a server whose connections end with it; yields its port."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        # Ended with the server: no news.
        with contextlib.suppress(asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, host, 0, family=2, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def join(one, other):
    """Pass bytes on in both directions until one side ends."""
    tasks = [asyncio.ensure_future(_copy(*ends)) for ends in ((one, other), (other, one))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        other.close()


async def _copy(source, sink):
    with contextlib.suppress(OSError):
        while data := await source.read():
            await sink.write(data)
