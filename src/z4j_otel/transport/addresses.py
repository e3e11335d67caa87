"""From the brain's address, as an operator writes it, to the addresses that are spoken to."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from z4j_otel.errors import ConfigError

__all__ = ["ROUTES", "agent_url", "api_url", "bracketed", "host_and_port", "is_loopback"]

_SOCKET: Final = "/ws/agent"
_API: Final = "/api/v1/agent"
ROUTES: Final = (_SOCKET, _API)
"""What we add to the path of a brain's address."""
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_ASKED_BY: Final = "the agent's transport"


def agent_url(brain_url: str, *, dev_mode: bool = False) -> str:
    """Return the address of the agent's socket for a brain's address.

    Accepts ``http``, ``https``, ``ws`` and ``wss``, a path prefix, and an address that
    already ends in ``/ws`` or ``/ws/agent``, with or without a final slash.

    Args:
        brain_url: What the operator configured.
        dev_mode: Whether plain text to another machine is allowed.

    Raises:
        ConfigError: The address has another scheme, no host, or is plain text to another
            machine outside ``dev_mode``.
    """
    parts = _split(brain_url.strip())
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not parts.hostname:
        raise ConfigError("brain_url", _ASKED_BY, "expected http(s)://host or ws(s)://host")
    if scheme == "ws" and not (dev_mode or is_loopback(parts.hostname)):
        raise ConfigError(
            "brain_url",
            _ASKED_BY,
            "refusing plain ws:// connection to another machine: the token would travel"
            " readable; use https:// or wss://, or set Z4J_DEV_MODE=1 on a network you trust",
        )
    prefix = parts.path.rstrip("/").removesuffix(_SOCKET).removesuffix("/ws").rstrip("/")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((scheme, host, prefix + _SOCKET, "", ""))


def api_url(brain_url: str, *, dev_mode: bool = False) -> str:
    """Return the address of the agents' HTTP routes for a brain's address.

    Args:
        brain_url: What the operator configured, as for the WebSocket.
        dev_mode: Whether plain text to another machine is allowed.

    Raises:
        ConfigError: The address is not usable, see :func:`agent_url`.
    """
    socket_url = agent_url(brain_url, dev_mode=dev_mode)
    return "http" + socket_url.removeprefix("ws").removesuffix(_SOCKET) + _API


def host_and_port(url: str) -> tuple[str, int]:
    """Return whom a URL of ``http``, ``https``, ``ws`` or ``wss`` speaks to.

    Raises:
        ConfigError: It is no valid address.
    """
    parts = _split(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def bracketed(host: str) -> str:
    """Return a host as it stands in a URL: addresses of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine.

    Short forms such as ``127.1``, and ``0.0.0.0``, are read differently from system to
    system, and do not count.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it is what validates it
    except ValueError as error:
        raise ConfigError("brain_url", _ASKED_BY, "not a valid address") from error
    return parts
