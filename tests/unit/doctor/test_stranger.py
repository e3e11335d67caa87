"""Who answers in the brain's place."""

from __future__ import annotations

import socket
import threading

import pytest

from z4j_otel.config import AgentConfig
from z4j_otel.doctor.route import find_route
from z4j_otel.doctor.stranger import describe_stranger


def served(answer):
    """Answer one connection with these bytes; return its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as near:
            near.recv(65536)
            near.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.0 404 x\r\nServer: nginx\r\n\r\n", "HTTP 404, which calls itself 'nginx'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answers there with HTTP 200"),
        (b"SSH-2.0-OpenSSH\r\n", ""),
    ],
)
def test_a_web_server_is_told_by_status_and_name(answer, words):
    """What is none is not told."""
    route = find_route(AgentConfig(brain_url=f"http://127.0.0.1:{served(answer)}"))
    told = describe_stranger(route)
    assert words in told
    assert bool(told) == bool(words)


def test_tls_is_asked_over_tls():
    """Nobody there is nobody."""
    route = find_route(AgentConfig(brain_url="https://127.0.0.1:9"))
    assert describe_stranger(route) == ""


def test_nobody_is_asked_behind_a_proxy(monkeypatch):
    """It would be the proxy's answer."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert describe_stranger(find_route(AgentConfig(brain_url="https://z4j.test"))) == ""
