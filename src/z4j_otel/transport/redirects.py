"""Where a server wanted to send us, in words that are safe to log.

No redirect is followed: the brain issues none, and a token goes nowhere that the operator did
not write down. What a ``Location`` says is a stranger's text, and the stranger has seen the
token: of it only an address is told that looks like one, and never a page of a site.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from z4j_otel.transport.addresses import ROUTES, bracketed

__all__ = ["explain_redirect"]

_HTTP: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:.]{2,45}")
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._-]{1,32}){0,4}")
_SET_IT: Final = "set Z4J_BRAIN_URL to its final address"


def explain_redirect(asked: str, status: int, location: str, *, secret: str) -> str:
    """Say where a redirect leads, and what to do.

    Args:
        asked: The address that was asked.
        status: Of the answer.
        location: Its header ``Location``; empty when there was none.
        secret: What was sent, and must not be told.
    """
    text = f"the address redirects (HTTP {status}), which is not followed; {_SET_IT}"
    own, target = _parts(asked, ""), _parts(asked, location)
    if not location or own is None or target is None or _holds(secret, target.geturl()):
        return text
    origin = _origin(target)
    if own.scheme == "https" and target.scheme == "http":
        return (
            f"the address redirects (HTTP {status}) to {origin} without TLS, which is never"
            " followed; set Z4J_BRAIN_URL to the final address, with https://"
        )
    prefix, tail = _split_path(own.path)
    path = target.path.rstrip("/")
    if not path.endswith(tail) or not _PREFIX.fullmatch(path.removesuffix(tail)):
        return (
            f"the address redirects (HTTP {status}) to another page of {origin}, perhaps a"
            " login; let agents through without one, or set Z4J_BRAIN_URL to the brain's own"
            " address"
        )
    if (origin, path.removesuffix(tail)) == (_origin(own), prefix):
        return f"the address redirects to itself (HTTP {status}); check the server before the brain"
    address = origin + path.removesuffix(tail)
    return (
        f"the address redirects (HTTP {status}), which is not followed; set Z4J_BRAIN_URL={address}"
    )


def _as_http(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    return _HTTP.get(scheme.lower(), scheme) + colon + rest


def _parts(base: str, reference: str) -> SplitResult | None:
    """Resolve a reference and take the address apart; None unless it looks like one."""
    try:
        parts = urlsplit(_as_http(urljoin(_as_http(base), reference)))
        _ = parts.port  # reading it is what validates it
    except ValueError:
        return None
    is_address = parts.scheme in {"http", "https"} and _HOST.fullmatch(parts.hostname or "")
    return parts if is_address else None


def _origin(parts: SplitResult) -> str:
    port = "" if parts.port in {None, 443 if parts.scheme == "https" else 80} else f":{parts.port}"
    return f"{parts.scheme}://{bracketed(parts.hostname or '')}{port}"


def _split_path(path: str) -> tuple[str, str]:
    """Part a path of ours into what the operator wrote and what we added."""
    for route in ROUTES:
        prefix, found, tail = path.partition(route)
        if found:
            return prefix, found + tail
    return "", path


def _holds(secret: str, text: str) -> bool:
    return bool(secret) and secret.lower() in text.lower()
