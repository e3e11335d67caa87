"""The WebSocket transport and certificates, against real servers on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
import threading

import pytest
import trustme
from websockets.asyncio.server import serve

from z4j_otel.errors import ConnectFailed
from z4j_otel.transport.tls import tls_context
from z4j_otel.transport.websocket import WebSocketTransport

TOKEN = "t0ken-of-the-test"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def authority():
    """Return a certificate authority that only these tests know."""
    return trustme.CA()


def server_context(authority, name="localhost", **options):
    """Return what a server with a certificate of this authority needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **options).configure_cert(context)
    return context


def trusting(authority):
    """Return a client's context that trusts this authority only."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def say_hello(socket):
    """Send one message."""
    assert socket.request.headers["Authorization"] == f"Bearer {TOKEN}"
    await socket.send("hello")


def connect_to(server_ssl, client_ssl, scheme="https"):
    """Connect once; return the first message, or the failure."""

    async def scene():
        async with serve(say_hello, "localhost", 0, ssl=server_ssl) as server:
            port = server.sockets[0].getsockname()[1]
            transport = WebSocketTransport(
                f"{scheme}://localhost:{port}",
                lambda: TOKEN,
                tls=lambda: client_ssl or tls_context(),
            )
            try:
                connection = await transport.connect()
            except ConnectFailed as failed:
                return failed
            message = await connection.receive()
            await connection.close()
            return message

    return asyncio.run(scene())


def test_trusted_certificate(authority):
    """With the authority trusted, messages travel over TLS."""
    assert connect_to(server_context(authority), trusting(authority)) == b"hello"


def test_context_without_tls_is_not_used(authority):
    """On a plain address the context for certificates has nothing to check."""
    assert connect_to(None, trusting(authority), scheme="http") == b"hello"


@pytest.mark.parametrize(
    ("server", "client", "scheme", "cause"),
    [
        (lambda ca: server_context(ca, not_after=LONG_AGO), trusting, "https", "tls_expired"),
        (lambda ca: server_context(ca, "other.example"), trusting, "https", "tls_host"),
        (server_context, lambda ca: None, "https", "tls_issuer"),
        (lambda ca: None, trusting, "https", "closed"),
        (server_context, lambda ca: None, "http", "closed"),
    ],
)
def test_bad_certificates_are_told_apart(authority, server, client, scheme, cause):
    """Expired, another host, unknown issuer, no TLS: each is refused and named."""
    failed = connect_to(server(authority), client(authority), scheme)
    assert isinstance(failed, ConnectFailed)
    assert failed.cause == cause
    assert TOKEN not in str(failed)


async def answer_in_plain_http(reader, writer):
    """Answer whatever comes as a web server's plain port does."""
    await reader.read(1024)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_web_server_without_tls(authority):
    """https:// where plain HTTP is spoken is named as such."""

    async def scene():
        async with await asyncio.start_server(answer_in_plain_http, "localhost", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ConnectFailed) as told:
                await WebSocketTransport(f"https://localhost:{port}", TOKEN).connect()
            return told.value.cause

    assert asyncio.run(scene()) == "no_tls"


def test_server_that_ends_tls_after_the_handshake(authority):
    """TLS 1.3 tells only then that a client certificate is missing: the alert is not lost."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3

    def serve_one():
        near, _ = listener.accept()
        options = {"server_side": True, "do_handshake_on_connect": False}
        with context.wrap_socket(near, **options) as far:
            with pytest.raises(ssl.SSLError):
                far.do_handshake()
            # What is unread when a socket is closed makes a reset, which eats the alert.
            far.shutdown(socket.SHUT_WR)
            while socket.socket.recv(far, 1024):
                pass

    thread = threading.Thread(target=serve_one)
    thread.start()
    url = f"https://localhost:{listener.getsockname()[1]}"
    transport = WebSocketTransport(url, TOKEN, tls=lambda: trusting(authority))
    with pytest.raises(ConnectFailed, match="asks for a client certificate") as told:
        asyncio.run(transport.connect())
    thread.join()
    listener.close()
    assert told.value.cause == "tls_client"
