"""Who answers where the brain should be? One plain request, without the token."""

from __future__ import annotations

import http.client
from contextlib import closing
from typing import Final

from z4j_otel.doctor.route import Route

__all__ = ["describe_stranger"]

_TIMEOUT_S: Final = 3.0
_MOST_CHARS: Final = 60


def describe_stranger(route: Route) -> str:
    """Return what a web server says of itself, ``""`` when it says nothing or is none.

    Args:
        route: Where it is; nobody behind a proxy is asked.
    """
    if route.proxy is not None:
        return ""
    if route.is_tls:
        asking: http.client.HTTPConnection = http.client.HTTPSConnection(
            route.host, route.port, timeout=_TIMEOUT_S, context=route.tls()
        )
    else:
        asking = http.client.HTTPConnection(route.host, route.port, timeout=_TIMEOUT_S)
    try:
        with closing(asking):
            asking.request("GET", "/", headers={"Connection": "close"})
            answer = asking.getresponse()
            return _words(answer.status, answer.getheader("Server", ""))
    except (OSError, http.client.HTTPException):
        return ""


def _words(status: int, server: str) -> str:
    name = "".join(each for each in server if each.isprintable())[:_MOST_CHARS]
    called = f", which calls itself {name!r}" if name else ""
    return f"a web server answers there with HTTP {status}{called}"
