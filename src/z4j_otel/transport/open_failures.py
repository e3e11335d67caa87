"""Why no connection came about, in words for an operator; shared by all transports.

Every failure gets one word, its *cause*, so that the same trouble is the same news however
often and however differently a library words it:

=============== ==========================================================================
cause           what happened
=============== ==========================================================================
``dns``         the host's name has no address
``refused``     nobody listens at the port
``timeout``     no answer in time
``closed``      the server hung up before it answered
``not_http``    the server answered something that is no HTTP
``no_tls``      the server does not speak TLS at this port
``tls_expired`` its certificate has expired, or is not valid yet
``tls_host``    its certificate is for another name
``tls_issuer``  nobody we trust has signed its certificate
``tls_client``  it wants a client certificate, or another than it was shown
``tls_version`` it speaks no TLS that is new enough
``tls_files``   a file of ours for TLS cannot be used
``tls``         another trouble with TLS
``proxy``       the proxy to the brain cannot be reached, or is none
``proxy_login`` it asks for a login, or for another
``proxy_no``    it does not let us through to the brain
``http``        an HTTP answer that is no upgrade; see its status
``network``     anything else
=============== ==========================================================================
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from z4j_otel.errors import ConfigError, ConnectFailed
from z4j_otel.transport.proxies import DIRECT, ProxyChoice
from z4j_otel.transport.redirects import explain_redirect

__all__ = [
    "MAX_RETRY_AFTER_S",
    "PROXY_CAUSES",
    "TLS_CAUSES",
    "Answer",
    "http_date_ns",
    "not_opened",
    "refused_by_proxy",
    "refused_with",
    "retry_after_s",
]

MAX_RETRY_AFTER_S: Final = 600.0
"""A server that asks for more is asked again after this time."""

PROXY_CAUSES: Final = frozenset({"proxy", "proxy_login", "proxy_no"})
"""Causes that lie in the proxy."""
TLS_CAUSES: Final = frozenset(
    {"tls_expired", "tls_host", "tls_issuer", "tls_client", "tls_version", "tls_files"}
)
"""Causes that lie in a certificate, or in our own files for TLS."""

_NS: Final = 1_000_000_000
_REDIRECTS: Final = range(300, 400)
_OK: Final = range(200, 300)
_EXPIRED: Final = ("tls_expired", "has expired or is not valid yet")
_OTHER_HOST: Final = ("tls_host", "is for another host")
_UNTRUSTED: Final = ("tls_issuer", "is not signed by anyone trusted here")
_OLD_FORM: Final = ("tls_issuer", "is of a form that Python takes from named authorities only")
# OpenSSL's numbers of what a certificate fails on (X509_V_ERR_*).
_TOLD_BY_CODE: Final = {
    **dict.fromkeys((9, 10), _EXPIRED),
    **dict.fromkeys((62, 64), _OTHER_HOST),
    **dict.fromkeys((18, 19, 20, 21, 24, 79), _UNTRUSTED),
    **dict.fromkeys(range(80, 94), _OLD_FORM),
}
_HUNG_UP: Final = "the server at {} hung up before it answered"
_TOLD_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], str, str], ...]] = (
    ((socket.gaierror, UnicodeError), "dns", "the host of {} is not known to DNS"),
    ((asyncio.TimeoutError, TimeoutError), "timeout", "no answer from {} in time"),
    ((EOFError, ConnectionResetError, BrokenPipeError), "closed", _HUNG_UP),
    ((ValueError,), "not_http", "the server at {} does not speak HTTP"),
)
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
# How OpenSSL ends the names of alerts about the client's certificate.
_ABOUT_CLIENT: Final = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
_WANTS_CLIENT: Final = "the server at {} asks for a client certificate"
_REFUSES_CLIENT: Final = "the server at {} does not accept the client certificate"
_OLD: Final = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
_BAD_REQUEST: Final = 400
_OTHER_NAME: Final = (
    "{} answers, and does not serve the name in this address; add it to Z4J_ALLOWED_HOSTS on the"
    " brain"
)
# What nginx, and at last the brain, put on the page of a bad request.
_TOLD_BY_PAGE: Final = (
    (b"No required SSL certificate was sent", "tls_client", _WANTS_CLIENT),
    (b"The SSL certificate error", "tls_client", _REFUSES_CLIENT),
    (b'"invalid_host"', "http", _OTHER_NAME),
)
_PROXY_LOGIN: Final = 407
_OF_THE_PROXY: Final = frozenset({"dns", "refused", "network"})
"""What only the first hop can meet."""
_MAX_TEXT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that came in the place of another."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def not_opened(url: str, error: BaseException, proxy: ProxyChoice = DIRECT) -> ConnectFailed:
    """Say why the server at ``url`` could not be spoken to.

    Args:
        url: Address without secrets.
        error: What the network library raised; its causes are looked at, too.
        proxy: What stood between.
    """
    if proxy.proxy is None:
        return _told(url, error)
    told = _told(str(proxy), error)
    is_hop = any(isinstance(link, (OSError, UnicodeError)) for link in _chain(error))
    if is_hop and told.cause in _OF_THE_PROXY:
        return ConnectFailed(told.reason, cause="proxy")
    return _told(f"{url} through {proxy}", error)


def refused_by_proxy(proxy: ProxyChoice, status: int) -> ConnectFailed:
    """Say what it means that a proxy does not let us through.

    Args:
        proxy: Which one.
        status: Of its answer.
    """
    if status != _PROXY_LOGIN:
        text = f"{proxy} does not let us through to the brain (HTTP {status})"
        return ConnectFailed(text, cause="proxy_no")
    has_login = proxy.proxy is not None and proxy.proxy.username is not None
    text = "does not accept the user name and password" if has_login else "asks for a login"
    return ConnectFailed(f"{proxy} {text} (HTTP {status})", cause="proxy_login")


def refused_with(url: str, answer: Answer, *, secret: str = "") -> ConnectFailed:
    """Say what an HTTP answer means that came where another was asked for.

    Args:
        url: The address that was asked, without secrets.
        answer: What came; ``Retry-After`` is honoured.
        secret: What was sent along, and must not be told.
    """
    status, cause = answer.status, "http"
    if status in _REDIRECTS:
        location = answer.headers.get("Location", "")
        text = explain_redirect(url, status, location, secret=secret)
    elif status in _OK:
        text = f"the server answered with a page (HTTP {status}) where the brain opens a WebSocket"
    elif url.startswith("ws"):
        text = f"the server refused the WebSocket upgrade with HTTP {status}"
    else:
        text = f"the server refused long-poll (HTTP {status})"
    for phrase, word, words in _TOLD_BY_PAGE:
        if status == _BAD_REQUEST and phrase in answer.body:
            text, cause = f"{words.format(url)} (HTTP {status})", word
    return ConnectFailed(
        text, http_status=status, cause=cause, retry_after_s=retry_after_s(answer.headers)
    )


def http_date_ns(headers: Mapping[str, str]) -> int | None:
    """Return the server's clock from ``Date``, nanoseconds since the epoch; exact to 1 s."""
    moment = _moment(headers.get("Date", ""))
    return None if moment is None else int(moment.timestamp()) * _NS


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long a server asks us to stay away, seconds; 0 when it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
    # A date is meant by the server's clock, which need not be ours.
    until, now = _moment(text), _moment(headers.get("Date", ""))
    if until is None or now is None:
        return 0.0
    return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_AFTER_S)


def _told(url: str, error: BaseException) -> ConnectFailed:
    for link in _chain(error):
        found = _known(url, link)
        if found is not None:
            return found
    text = " ".join(str(error).split())[:_MAX_TEXT_CHARS]
    return ConnectFailed(f"cannot reach {url}: {type(error).__name__}: {text}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _known(url: str, error: BaseException) -> ConnectFailed | None:
    if isinstance(error, ConfigError):
        return ConnectFailed(f"{error.setting}: {error.expected}", cause="tls_files")
    if isinstance(error, ssl.SSLError):
        return _tls(url, error)
    if _says_refused(error):
        return ConnectFailed(f"nobody listens at {url}", cause="refused")
    for kinds, cause, words in _TOLD_BY_TYPE:
        if isinstance(error, kinds):
            return ConnectFailed(words.format(url), cause=cause)
    return None


def _says_refused(error: BaseException) -> bool:
    # asyncio joins the errors of several addresses into one text.
    return isinstance(error, ConnectionRefusedError) or (
        isinstance(error, OSError) and f"[Errno {errno.ECONNREFUSED}]" in str(error)
    )


def _tls(url: str, error: ssl.SSLError) -> ConnectFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        cause, verdict = _TOLD_BY_CODE.get(error.verify_code, ("tls", "was refused"))
        words = error.verify_message.rstrip(".")
        return ConnectFailed(f"the certificate of {url} {verdict} ({words})", cause=cause)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return ConnectFailed(_HUNG_UP.format(url), cause="closed")
    if error.reason in _NO_TLS:
        return ConnectFailed(f"the server at {url} does not speak TLS at this port", cause="no_tls")
    if error.reason in _OLD:
        text = f"the server at {url} speaks no TLS newer than 1.1 ({error.reason})"
        return ConnectFailed(text, cause="tls_version")
    return _alert(url, str(error.reason))


def _alert(url: str, reason: str) -> ConnectFailed:
    words, cause = "TLS with {} failed", "tls"
    if reason.endswith("ALERT_CERTIFICATE_REQUIRED"):
        words, cause = _WANTS_CLIENT, "tls_client"
    elif "_ALERT_" in reason and reason.endswith(_ABOUT_CLIENT):
        words, cause = _REFUSES_CLIENT, "tls_client"
    return ConnectFailed(f"{words.format(url)} ({reason})", cause=cause)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None
