"""The way to the brain: who is to be dialled, directly or through which proxy."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from z4j_otel.config import AgentConfig
from z4j_otel.config.network import proxy_of, trust_of
from z4j_otel.transport.addresses import agent_url, bracketed, host_and_port, is_loopback
from z4j_otel.transport.proxies import Proxy, ProxyChoice
from z4j_otel.transport.tls import tls_context

__all__ = ["Route", "TunnelRefused", "find_route", "open_tunnel"]

_MOST_ANSWER_BYTES: Final = 16_384
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Route:
    """Where the brain is, and whom to dial to get there."""

    url: str
    """Address of the agents' socket."""
    host: str
    port: int
    is_tls: bool
    choice: ProxyChoice
    tls: Callable[[], ssl.SSLContext]
    """Makes what checks the brain's certificate; raises ``ConfigError``."""

    @property
    def proxy(self) -> Proxy | None:
        """The proxy before the brain; None when it is dialled directly."""
        return self.choice.proxy

    @property
    def is_local(self) -> bool:
        """Whether the brain is on this machine."""
        return is_loopback(self.host)

    @property
    def next_hop(self) -> tuple[str, int]:
        """Host and port to dial."""
        if self.proxy is not None:
            return self.proxy.host, self.proxy.port
        return self.host, self.port


class TunnelRefused(OSError):
    """A proxy answered CONNECT with something else than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def find_route(config: AgentConfig) -> Route:
    """Return the way to the brain that the settings ask for.

    Raises:
        ConfigError: Address or proxy are not usable.
    """
    url = agent_url(config.brain_url, dev_mode=config.dev_mode)
    host, port = host_and_port(url)
    is_tls = url.startswith("wss:")
    return Route(url, host, port, is_tls, proxy_of(config), partial(tls_context, trust_of(config)))


def open_tunnel(sock: socket.socket, route: Route) -> None:
    """Ask an HTTP proxy at the other end of a socket for the way to the brain.

    Raises:
        TunnelRefused: It said no.
        OSError: It said nothing that makes sense.
    """
    assert route.proxy is not None
    place = f"{bracketed(route.host)}:{route.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if route.proxy.username is not None:
        login = f"{route.proxy.username}:{route.proxy.password}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(login).decode()}")
    sock.sendall("\r\n".join((*lines, "", "")).encode())
    status = _status_of(sock)
    if status != _OK:
        raise TunnelRefused(status)


def _status_of(sock: socket.socket) -> int:
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MOST_ANSWER_BYTES:
        # One byte at a time: what follows the head belongs to TLS.
        piece = sock.recv(1)
        if not piece:
            break
        answer += piece
    words = answer.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():  # noqa: PLR2004 -- version and status
        raise OSError("it does not speak HTTP")
    return int(words[1])
