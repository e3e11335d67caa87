"""The faulty TCP proxy, before a server that answers what it gets."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading

import pytest

from z4j_otel.testing import FaultyProxy


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes."""

    def handle(self):
        """Serve one connection."""
        with contextlib.suppress(OSError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    """Waits for no handler at its end."""

    daemon_threads = True
    block_on_close = False


@pytest.fixture
def proxy():
    """Return a proxy before an echo server."""
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with FaultyProxy(server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def connect(proxy, timeout_s=5.0):
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout_s)


def read(client, count):
    """Read so many bytes, or up to the end."""
    data = b""
    while len(data) < count and (more := client.recv(65_536)):
        data += more
    return data


def test_bytes_pass_both_ways(proxy):
    """Without a fault the proxy is not there."""
    with connect(proxy) as client:
        client.sendall(b"x" * 300_000)
        assert read(client, 300_000) == b"x" * 300_000
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert proxy.connections == 1
    assert proxy.url == f"http://127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_cut_is_exact(proxy, direction):
    """Exactly so many bytes pass, then the connection is reset."""
    proxy.cut_after(**{direction: 5})
    received = b""
    with connect(proxy) as client, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(b"0123456789")
        received = read(client, 5)
        while received and (more := client.recv(100)):
            received += more
    assert b"01234".startswith(received)


def test_reset_breaks_what_is_open(proxy):
    """All connections end at once; new ones work."""
    with connect(proxy) as client:
        client.sendall(b"a")
        assert read(client, 1) == b"a"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        client.sendall(b"b")
        assert read(client, 1) == b"b"


def test_vanished_server_is_silent(proxy):
    """Bytes go nowhere and nothing is closed; what comes after healing passes."""
    with connect(proxy, timeout_s=0.1) as client:
        proxy.vanish()
        client.sendall(b"lost")
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.heal()
        client.settimeout(5)
        client.sendall(b"kept")
        assert read(client, 4) == b"kept"


def test_stalled_server_fills_buffers_and_loses_nothing(proxy):
    """A sender blocks; after healing every byte arrives."""
    proxy.stall()
    with connect(proxy, timeout_s=0.2) as client:
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += client.send(b"x" * 65_536)
        reader = []
        proxy.heal()
        client.settimeout(5)
        reader.append(read(client, sent))
    assert len(reader[0]) == sent


def test_refusing_and_idle(proxy):
    """New connections are hung up on; idle ones are cut."""
    proxy.refuse()
    with connect(proxy) as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""
    proxy.heal()
    proxy.cut_idle(0.05)
    with connect(proxy) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
