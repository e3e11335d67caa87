"""The WebSocket transport, against a real server on loopback."""

from __future__ import annotations

import asyncio
import http
import logging
import time

import pytest
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.transport.proxies import proxy_for
from z4j_otel.transport.websocket import WebSocketTransport

TOKEN = "t0ken-of-the-test"


def test_repr_hides_the_token():
    """The token is not part of what debuggers print."""
    assert TOKEN not in repr(WebSocketTransport("http://localhost:1", TOKEN))


def with_server(handler, client, **options):
    """Run a client coroutine against a server on a free port."""

    async def scene():
        async with serve(handler, "127.0.0.1", 0, **options) as server:
            port = server.sockets[0].getsockname()[1]
            return await client(WebSocketTransport(f"http://127.0.0.1:{port}", TOKEN))

    return asyncio.run(scene())


async def echo(socket):
    """Answer the request's headers, then repeat what comes."""
    await socket.send(f"{socket.request.path} {socket.request.headers['Authorization']}")
    async for message in socket:
        await socket.send(message)


def test_messages_travel_whole_both_ways():
    """Bytes arrive unchanged; the token is in the header and the path is the agent's."""

    async def client(transport):
        connection = await transport.connect()
        greeting = await connection.receive()
        await connection.send(b"\x00\xff" * 40_000)
        answer = await connection.receive()
        await connection.close()
        await connection.close()
        return greeting, answer

    greeting, answer = with_server(echo, client)
    assert greeting == f"/ws/agent Bearer {TOKEN}".encode()
    assert answer == b"\x00\xff" * 40_000


def test_close_code_of_the_peer_is_told():
    """Both directions raise with the brain's own code and reason."""

    async def refuse(socket):
        await socket.close(4401, "who are you")

    async def client(transport):
        connection = await transport.connect()
        with pytest.raises(ConnectionLost) as told:
            await connection.receive()
        with pytest.raises(ConnectionLost):
            await connection.send(b"x")
        return told.value

    error = with_server(refuse, client)
    assert (error.code, error.reason) == (4401, "who are you")


def test_broken_connection_has_code_1006():
    """A connection that breaks without a close frame says so."""

    async def vanish(socket):
        socket.transport.abort()

    async def client(transport):
        connection = await transport.connect()
        with pytest.raises(ConnectionLost) as told:
            await connection.receive()
        await connection.close()
        return told.value.code

    assert with_server(vanish, client) == 1006


@pytest.mark.parametrize(
    ("status", "words"),
    [(http.HTTPStatus.FORBIDDEN, "HTTP 403"), (http.HTTPStatus.FOUND, "redirects")],
)
def test_refused_upgrade_is_told_with_its_status(status, words):
    """An HTTP answer instead of a WebSocket is a failure with that status, never followed."""

    def refuse(connection, request):
        headers = Headers({"Location": "http://127.0.0.1:1/", "Content-Length": "0"})
        return Response(status, status.phrase, headers)

    async def client(transport):
        with pytest.raises(ConnectFailed, match=words) as told:
            await transport.connect()
        return told.value.http_status

    assert with_server(echo, client, process_request=refuse) == status


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_takes_the_token_nowhere(status):
    """The address that a redirect names is never spoken to."""
    asked = []

    async def elsewhere(reader, writer):
        asked.append(await reader.read(4096))
        writer.close()

    async def scene():
        async with await asyncio.start_server(elsewhere, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]

            def redirect(connection, request):
                headers = Headers({"Location": f"ws://127.0.0.1:{port}/", "Content-Length": "0"})
                return Response(status, "Moved", headers)

            async with serve(echo, "127.0.0.1", 0, process_request=redirect) as server:
                own = server.sockets[0].getsockname()[1]
                with pytest.raises(ConnectFailed, match="redirects") as told:
                    await WebSocketTransport(f"http://127.0.0.1:{own}", TOKEN).connect()
                return told.value

    error = asyncio.run(scene())
    assert (error.http_status, asked) == (status, [])
    assert TOKEN not in str(error)


def test_busy_proxy_says_when_to_come_back():
    """A 503 with a body and Retry-After is told with its wish; the body is not quoted."""

    def refuse(connection, request):
        headers = Headers({"Retry-After": "17", "Content-Length": "5", "Date": "nonsense"})
        headers["Date"] = "repeated"
        return Response(503, "busy", headers, b"<html")

    async def client(transport):
        with pytest.raises(ConnectFailed) as told:
            await transport.connect()
        return told.value

    error = with_server(echo, client, process_request=refuse)
    assert (error.http_status, error.retry_after_s) == (503, 17)
    assert "<html" not in str(error)


@pytest.mark.parametrize(
    ("answer", "cause"), [(b"", "closed"), (b"SSH-2.0-OpenSSH_9\r\n", "not_http")]
)
def test_servers_that_speak_something_else(answer, cause):
    """A server that hangs up, and one of another protocol, are told apart."""

    async def other(reader, writer):
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async def scene():
        async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectFailed) as told:
                await WebSocketTransport(f"http://127.0.0.1:{port}", TOKEN).connect()
            return told.value.cause

    assert asyncio.run(scene()) == cause


def test_servers_clock_comes_with_the_connection():
    """The Date header of the upgrade is kept for agents whose brain tells no time."""

    async def client(transport):
        connection = await transport.connect()
        await connection.close()
        return connection.server_time_ns

    told_ns = with_server(echo, client)
    assert abs(told_ns - time.time_ns()) < 5_000_000_000


def test_nobody_there():
    """A refused TCP connection names the address, not the token."""

    async def scene():
        with pytest.raises(ConnectFailed, match="nobody listens at ws") as told:
            await WebSocketTransport("http://127.0.0.1:1", TOKEN).connect()
        return told.value

    error = asyncio.run(scene())
    assert error.http_status is None
    assert TOKEN not in str(error)


def test_silent_server_times_out():
    """A server that accepts and says nothing fails within the time limit."""

    async def hold(reader, writer):
        while await reader.read(1024):
            pass
        writer.close()
        await writer.wait_closed()
        held.set()

    held = asyncio.Event()

    async def scene():
        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = WebSocketTransport(f"http://127.0.0.1:{port}", TOKEN, open_timeout_s=0.05)
        with pytest.raises(ConnectFailed, match="in time"):
            await transport.connect()
        await held.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(scene())


def test_library_never_logs_the_handshake(caplog):
    """Even with everything at DEBUG the token stays out of the log."""
    caplog.set_level(logging.DEBUG)

    async def client(transport):
        connection = await transport.connect()
        await connection.close()

    with_server(echo, client)
    ours = [r for r in caplog.records if r.name.startswith("z4j_otel")]
    assert not any(TOKEN in r.getMessage() for r in ours)


def test_proxy_that_refuses_is_told_as_such():
    """The brain is not asked at all."""

    async def refuse(reader, writer):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT 127.0.0.1:1 HTTP/1.1")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def scene():
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            proxy = proxy_for("http://127.0.0.1:1", f"http://127.0.0.1:{port}")
            with pytest.raises(ConnectFailed, match="does not let us through") as told:
                await WebSocketTransport("http://127.0.0.1:1", TOKEN, proxy=proxy).connect()
            return told.value.cause

    assert asyncio.run(scene()) == "proxy_no"
