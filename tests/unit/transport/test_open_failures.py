"""Every way in which no connection comes about, and its one word."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from z4j_otel.errors import ConfigError
from z4j_otel.transport.open_failures import (
    Answer,
    http_date_ns,
    not_opened,
    refused_by_proxy,
    refused_with,
)
from z4j_otel.transport.proxies import ProxyChoice, parse_proxy

URL = "wss://brain.example/ws/agent"
DATE = "Sat, 21 Nov 2026 12:00:00 GMT"


def caused(outer, inner):
    """Return an error with a cause."""
    outer.__cause__ = inner
    return outer


def certificate_error(code, words):
    """Return what OpenSSL raises for a certificate."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, words
    return error


def tls_error(reason):
    """Return what OpenSSL raises for a handshake."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dns", "DNS"),
        (UnicodeError("label too long"), "dns", "DNS"),
        (ConnectionRefusedError(111, "x"), "refused", "nobody listens at wss://brain.example"),
        (OSError("Multiple exceptions: [Errno 111] a, [Errno 111] b"), "refused", "nobody"),
        (asyncio.TimeoutError(), "timeout", "in time"),
        (TimeoutError("timed out during opening handshake"), "timeout", "in time"),
        (EOFError(), "closed", "hung up"),
        (caused(RuntimeError("wrapped"), ConnectionResetError(104, "x")), "closed", "hung up"),
        (caused(RuntimeError("wrapped"), ValueError("no HTTP")), "not_http", "HTTP"),
        (certificate_error(10, "certificate has expired"), "tls_expired", "expired"),
        (certificate_error(9, "certificate is not yet valid"), "tls_expired", "not yet"),
        (certificate_error(62, "Hostname mismatch"), "tls_host", "another host"),
        (certificate_error(20, "unable to get local issuer"), "tls_issuer", "not signed"),
        (certificate_error(18, "self-signed certificate"), "tls_issuer", "self-signed"),
        (certificate_error(85, "Missing Authority Key Identifier"), "tls_issuer", "of a form"),
        (certificate_error(23, "certificate revoked"), "tls", "revoked"),
        (tls_error("WRONG_VERSION_NUMBER"), "no_tls", "does not speak TLS"),
        (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), "tls", "HANDSHAKE_FAILURE"),
        (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "tls_client", "asks for a client"),
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), "tls_client", "does not accept the client"),
        (tls_error("UNSUPPORTED_PROTOCOL"), "tls_version", "no TLS newer than 1.1"),
        (ConfigError("ca_file", "x", "cannot be read"), "tls_files", "ca_file: cannot be read"),
        (ssl.SSLEOFError(8, "EOF occurred"), "closed", "hung up"),
        (OSError(113, "No route to host"), "network", "No route to host"),
    ],
)
def test_every_failure_has_its_word_and_its_text(error, cause, words):
    """However a library wraps an error, the operator gets one word and one clear text."""
    failed = not_opened(URL, error)
    assert (failed.cause, failed.http_status) == (cause, None)
    assert words in failed.reason


def test_circles_of_causes_end():
    """Errors that name each other as cause are looked at once."""
    first, second = RuntimeError("a\n b"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not_opened(URL, first).reason.endswith("RuntimeError: a b")


def behind(proxy="http://squid:3128"):
    """Return a proxy as the setting has it."""
    return ProxyChoice(parse_proxy(proxy), "Z4J_PROXY")


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (ConnectionRefusedError(111, "x"), "proxy", "nobody listens at the proxy http://squid"),
        (socket.gaierror(-2, "x"), "proxy", "the host of the proxy http://squid:3128 (Z4J_PROXY)"),
        (OSError(113, "No route to host"), "proxy", "cannot reach the proxy"),
        (caused(RuntimeError("x"), OSError(113, "No route")), "proxy", "cannot reach the proxy"),
        (asyncio.TimeoutError(), "timeout", f"no answer from {URL} through the proxy http://squid"),
        (ConnectionResetError(104, "x"), "closed", f"the server at {URL} through the proxy"),
        (certificate_error(20, "unknown"), "tls_issuer", f"the certificate of {URL} through"),
        (RuntimeError("strange"), "network", f"cannot reach {URL} through the proxy"),
    ],
)
def test_what_lies_in_the_proxy_is_told_as_such(error, cause, words):
    """The first hop's troubles are the proxy's; what comes later may be either's."""
    failed = not_opened(URL, error, behind("http://anna:hush@squid:3128"))
    assert (failed.cause, failed.http_status) == (cause, None)
    assert words in failed.reason
    assert "hush" not in failed.reason


@pytest.mark.parametrize(
    ("proxy", "status", "cause", "words"),
    [
        ("http://squid", 407, "proxy_login", "(Z4J_PROXY) asks for a login (HTTP 407)"),
        ("http://anna:hush@squid", 407, "proxy_login", "does not accept the user name"),
        ("http://squid", 403, "proxy_no", "does not let us through to the brain (HTTP 403)"),
    ],
)
def test_refusals_of_a_proxy(proxy, status, cause, words):
    """A missing login, a wrong one and a prohibition are told apart."""
    failed = refused_by_proxy(behind(proxy), status)
    assert (failed.cause, failed.http_status) == (cause, None)
    assert words in failed.reason
    assert "hush" not in failed.reason


@pytest.mark.parametrize(
    ("page", "cause", "words"),
    [
        (b"<center>No required SSL certificate was sent", "tls_client", "asks for a client"),
        (b"<center>The SSL certificate error</center>", "tls_client", "does not accept the client"),
        (b'{"error":"invalid_host"}', "http", "add it to Z4J_ALLOWED_HOSTS on the brain"),
    ],
)
def test_pages_that_say_why(page, cause, words):
    """What a web server, or the brain, tells on the page of a bad request is understood."""
    failed = refused_with("https://brain.example/api/v1/agent", Answer(400, {}, page))
    assert (failed.cause, failed.http_status) == (cause, 400)
    assert words in failed.reason
    assert refused_with(URL, Answer(403, {}, page)).cause == "http"


@pytest.mark.parametrize(
    ("status", "words"),
    [(301, "redirects"), (200, "a page"), (403, "HTTP 403"), (502, "HTTP 502")],
)
def test_http_answers_are_told_with_their_status(status, words):
    """An HTTP answer in the upgrade's place is told by its status."""
    failed = refused_with(URL, Answer(status, {"Location": "https://elsewhere.example"}))
    assert (failed.cause, failed.http_status, failed.retry_after_s) == ("http", status, 0.0)
    assert words in failed.reason


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": " 0 "}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "9" * 400}, 600),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT", "Date": DATE}, 90),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": DATE}, 0),
        ({"Retry-After": "Sat, 21 Nov 2026 12:01:30 GMT"}, 0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, expected_s):
    """Seconds and dates count, dates by the server's clock; nobody keeps us away for long."""
    assert refused_with(URL, Answer(503, headers)).retry_after_s == expected_s


@pytest.mark.parametrize(
    ("text", "expected"),
    [(DATE, 1_795_262_400_000_000_000), ("", None), ("Sat, 21 Nov 2026 12:00:00", None)],
)
def test_servers_clock(text, expected):
    """The Date header is the server's clock; without a zone it says nothing."""
    assert http_date_ns({"Date": text}) == expected
