"""The way to the brain: who is to be dialled, directly or through which proxy."""

from __future__ import annotations

import base64
import os
import socket
import urllib.request
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from z4j_otel.transport.websocket import agent_url, is_loopback

__all__ = ["Proxy", "ProxyChoice", "Route", "TunnelRefused", "find_route", "open_tunnel"]

_PORTS: Final = {"http": 80, "https": 443}
_MOST_ANSWER_BYTES: Final = 16_384
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy from the environment. As text it shows no credentials."""

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


class ProxyChoice(NamedTuple):
    """A decision with its reason."""

    proxy: Proxy | None
    source: str
    """What decided: a variable's name, or why no proxy is asked."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where the brain is, and whom to dial to get there."""

    url: str
    """Address of the agents' socket."""
    host: str
    port: int
    is_tls: bool
    choice: ProxyChoice

    @property
    def proxy(self) -> Proxy | None:
        """The proxy before the brain; None when it is dialled directly."""
        return self.choice.proxy

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


def find_route(brain_url: str, *, dev_mode: bool) -> Route:
    """Return the way to a brain.

    Args:
        brain_url: As configured.
        dev_mode: Whether plain text to another machine is allowed.

    Raises:
        ConfigError: The address is not usable.
    """
    url = agent_url(brain_url, dev_mode=dev_mode)
    parts = urlsplit(url)
    is_tls = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
    return Route(url, host, port, is_tls, _choose(host, port, is_tls=is_tls))


def open_tunnel(sock: socket.socket, route: Route) -> None:
    """Ask an HTTP proxy at the other end of a socket for the way to the brain.

    Raises:
        TunnelRefused: It said no.
        OSError: It said nothing that makes sense.
    """
    assert route.proxy is not None
    place = f"[{route.host}]" if ":" in route.host else route.host
    lines = [f"CONNECT {place}:{route.port} HTTP/1.1", f"Host: {place}:{route.port}"]
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


def _choose(host: str, port: int, *, is_tls: bool) -> ProxyChoice:
    if is_loopback(host):
        return ProxyChoice(None, "the brain is on this machine")
    known = urllib.request.getproxies()
    order = ("wss", "socks", "https") if is_tls else ("ws", "socks", "https", "http")
    kind = next((kind for kind in order if known.get(kind)), "")
    if not kind:
        return ProxyChoice(None, "no proxy is set")
    if urllib.request.proxy_bypass(f"{host}:{port}"):
        return ProxyChoice(None, "NO_PROXY")
    name = f"{kind}_proxy" if f"{kind}_proxy" in os.environ else f"{kind.upper()}_PROXY"
    return ProxyChoice(_read(known[kind]), name)


def _read(address: str) -> Proxy | None:
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        port = parts.port or _PORTS.get(parts.scheme, 1080)
    except ValueError:
        return None
    username = None if parts.username is None else unquote(parts.username)
    password = unquote(parts.password or "")
    return Proxy(parts.scheme, parts.hostname or "", port, username, password)
