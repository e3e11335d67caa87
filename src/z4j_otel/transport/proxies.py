"""Which proxy stands between us and the brain, and who said so.

The setting decides; without it the environment, by the rules that most programs share:
``HTTPS_PROXY`` for ``https`` and ``wss``, ``HTTP_PROXY`` for ``http`` and ``ws``,
``ALL_PROXY`` for either, ``NO_PROXY`` against all of them, each in lower case first. Proxies
that a desktop system has in its own settings are not asked for: on macOS the question ends a
forked process.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from z4j_otel.errors import ConfigError
from z4j_otel.transport.addresses import bracketed, host_and_port, is_loopback

__all__ = ["DIRECT", "Proxy", "ProxyChoice", "parse_proxy", "proxy_for"]

_SETTING: Final = "Z4J_PROXY"
_NONE: Final = "none"
_HAS_TLS_IN_TLS: Final[bool] = sys.version_info >= (3, 11)
_PORTS: Final = {"http": 80, "https": 443}
_EXPECTED: Final = (
    "expected http://host:port or https://host:port of an HTTP proxy, perhaps with"
    " user:password@ before the host, or none"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. As text it shows no credentials."""

    scheme: str
    """``http`` or ``https``: how the proxy itself is spoken to."""
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Its address with the credentials, for the libraries only."""
        return str(self) if self.username is None else self._with(self.username)

    def __str__(self) -> str:
        return f"{self.scheme}://{self._netloc}"

    def _with(self, username: str) -> str:
        login = f"{quote(username, safe='')}:{quote(self.password, safe='')}"
        return f"{self.scheme}://{login}@{self._netloc}"

    @property
    def _netloc(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


class ProxyChoice(NamedTuple):
    """A decision with its reason."""

    proxy: Proxy | None
    """None: the brain is spoken to directly."""
    source: str
    """What decided, for people: a variable's name, or why no proxy is asked."""

    @property
    def url(self) -> str | None:
        """What the libraries want: the address with its credentials, or None."""
        return None if self.proxy is None else self.proxy.url

    def __str__(self) -> str:
        return f"the proxy {self.proxy} ({self.source})" if self.proxy else "no proxy"


DIRECT: Final = ProxyChoice(None, "no proxy is set")
"""The brain is spoken to directly."""


def proxy_for(
    url: str, setting: str = "", *, environ: Mapping[str, str] = os.environ
) -> ProxyChoice:
    """Decide which proxy to take to an address.

    Args:
        url: Address of the brain: ``http``, ``https``, ``ws`` or ``wss``.
        setting: The proxy that was configured, which beats the environment; ``none`` for
            no proxy at all; empty when unset.
        environ: The environment.

    Raises:
        ConfigError: What decides is no proxy that can be used; names it, not its value.
    """
    if setting.lower() == _NONE:
        return ProxyChoice(None, f"{_SETTING}=none")
    if setting:
        return ProxyChoice(parse_proxy(setting), _SETTING)
    host, port = host_and_port(url)
    if is_loopback(host):
        return ProxyChoice(None, "the brain is on this machine")
    name, value = _variable(urlsplit(url).scheme, environ)
    if not value:
        return DIRECT
    no_name, exceptions = _either("no_proxy", environ)
    if any(_matches(item.strip().lower(), host, port) for item in exceptions.split(",")):
        return ProxyChoice(None, no_name)
    return ProxyChoice(parse_proxy(value, source=f"environment {name}"), name)


def parse_proxy(text: str, *, source: str = "the agent's transport") -> Proxy:
    """Read a proxy's address; ``http://`` is understood where no scheme stands.

    Args:
        text: The address, perhaps with credentials.
        source: Where it came from, for the error.

    Raises:
        ConfigError: It is no address of an HTTP proxy; does not repeat it.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        username, password = parts.username, unquote(parts.password or "", errors="strict")
        username = None if username is None else unquote(username, errors="strict")
    except ValueError:
        raise ConfigError("proxy", source, _EXPECTED) from None
    if scheme.startswith("socks"):
        text = f"SOCKS is not supported; set {_SETTING} to an HTTP proxy, or to none"
        raise ConfigError("proxy", source, text)
    if scheme == "https" and not _HAS_TLS_IN_TLS:
        text = (
            "Python 3.10 speaks no TLS inside TLS; name the proxy by http://, or take a newer one"
        )
        raise ConfigError("proxy", source, text)
    is_more = parts.path not in {"", "/"} or parts.query or parts.fragment
    if scheme not in _PORTS or not _HOST.fullmatch(host) or is_more:
        raise ConfigError("proxy", source, _EXPECTED)
    return Proxy(scheme, host, port or _PORTS[scheme], username, password)


def _variable(scheme: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that names the proxy for a scheme, and its value."""
    own = "https_proxy" if scheme in {"https", "wss"} else "http_proxy"
    for name in (own, "all_proxy"):
        found, value = _either(name, environ)
        # In a CGI script a client can set HTTP_PROXY, by sending a header Proxy.
        if value and not (found == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
            return found, value
    return "", ""


def _either(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable in the case that counts; empty in lower case means none."""
    name = name if name in environ else name.upper()
    return name, environ.get(name, "").strip()


def _matches(item: str, host: str, port: int) -> bool:
    """Whether one item of ``NO_PROXY`` means the host: a name, an address or a network."""
    if item == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(item.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, own_port = item.rpartition(":")
    if colon and own_port.isdecimal():
        if int(own_port) != port:
            return False
        item = name
    item = item.strip("[]").removeprefix("*").lstrip(".")
    return bool(item) and (host == item or host.endswith(f".{item}"))
