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
``tls``         another trouble with TLS
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
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

from z4j_otel.errors import ConnectFailed

__all__ = ["MAX_RETRY_AFTER_S", "http_date_ns", "not_opened", "refused_with"]

MAX_RETRY_AFTER_S: Final = 600.0
"""A server that asks for more is asked again after this time."""

_NS: Final = 1_000_000_000
_REDIRECTS: Final = range(300, 400)
_OK: Final = range(200, 300)
_EXPIRED: Final = ("tls_expired", "has expired or is not valid yet")
_OTHER_HOST: Final = ("tls_host", "is for another host")
_UNTRUSTED: Final = ("tls_issuer", "is not signed by anyone trusted here")
# OpenSSL's numbers of what a certificate fails on (X509_V_ERR_*).
_TOLD_BY_CODE: Final = {
    **dict.fromkeys((9, 10), _EXPIRED),
    **dict.fromkeys((62, 64), _OTHER_HOST),
    **dict.fromkeys((18, 19, 20, 21, 24), _UNTRUSTED),
}
_HUNG_UP: Final = "the server at {} hung up before it answered"
_TOLD_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], str, str], ...]] = (
    ((socket.gaierror, UnicodeError), "dns", "the host of {} is not known to DNS"),
    ((asyncio.TimeoutError, TimeoutError), "timeout", "no answer from {} in time"),
    ((EOFError, ConnectionResetError, BrokenPipeError), "closed", _HUNG_UP),
    ((ValueError,), "not_http", "the server at {} does not speak HTTP"),
)
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_MAX_TEXT_CHARS: Final = 200


def not_opened(url: str, error: BaseException) -> ConnectFailed:
    """Say why the server at ``url`` could not be spoken to.

    Args:
        url: Address without secrets.
        error: What the network library raised; its causes are looked at, too.
    """
    for link in _chain(error):
        found = _known(url, link)
        if found is not None:
            return found
    text = " ".join(str(error).split())[:_MAX_TEXT_CHARS]
    return ConnectFailed(f"cannot reach {url}: {type(error).__name__}: {text}")


def refused_with(status: int, headers: Mapping[str, str]) -> ConnectFailed:
    """Say what an HTTP answer means that came where an upgrade was asked for.

    Args:
        status: Its status.
        headers: Its headers; ``Retry-After`` is honoured.
    """
    if status in _REDIRECTS:
        text = f"the address redirects (HTTP {status}); set brain_url to its final address"
    elif status in _OK:
        text = f"the server answered with a page (HTTP {status}) where the brain opens a WebSocket"
    else:
        text = f"the server refused the WebSocket upgrade with HTTP {status}"
    return ConnectFailed(
        text, http_status=status, cause="http", retry_after_s=_retry_after_s(headers)
    )


def http_date_ns(headers: Mapping[str, str]) -> int | None:
    """Return the server's clock from ``Date``, nanoseconds since the epoch; exact to 1 s."""
    moment = _moment(headers.get("Date", ""))
    return None if moment is None else int(moment.timestamp()) * _NS


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _known(url: str, error: BaseException) -> ConnectFailed | None:
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
    return ConnectFailed(f"TLS with {url} failed ({error.reason})", cause="tls")


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), MAX_RETRY_AFTER_S))
    # A date is meant by the server's clock, which need not be ours.
    until, now = _moment(text), _moment(headers.get("Date", ""))
    if until is None or now is None:
        return 0.0
    return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_AFTER_S)


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None
