"""TLS: which version, whose certificate, how long it lasts, and what is wrong with its chain.

A certificate that is refused is looked at all the same, on connections over which nothing
is said: the operator has to know which names it has, who signed it and when it expired.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.doctor.network import TCP_S, dial
from z4j_otel.doctor.route import Route, open_tunnel
from z4j_otel.errors import ConfigError
from z4j_otel.findings import Finding, failed, fine, skipped, warned
from z4j_otel.transport.open_failures import not_opened

__all__ = ["Certificate", "examine_tls", "read_certificate"]

_NAME: Final = "tls"
_CLIENT: Final = (
    "export Z4J_CLIENT_CERTIFICATE_FILE=/path/to/client.pem",
    "export Z4J_CLIENT_KEY_FILE=/path/to/client-key.pem",
)
_HTTPS: Final = 443
_TRUST: Final = "export Z4J_CA_FILE=/path/to/authority.pem"
_SOON_DAYS: Final = 14
_DAY_S: Final = 86_400
_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python gives no name."""
_MOST_NAMES: Final = 6


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of a certificate."""

    common_name: str
    names: tuple[str, ...]
    issuer: str
    days_left: int
    """Negative once it has expired."""

    def describe(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "cn": self.common_name,
            "names": list(self.names),
            "issuer": self.issuer,
            "days_left": self.days_left,
        }


def examine_tls(
    route: Route,
    addresses: Sequence[str],
    *,
    now_s: float | None = None,
) -> Finding:
    """Shake hands as the agent would.

    Args:
        route: Where the brain is.
        addresses: Of the next hop; none when it cannot be reached.
        now_s: Wall clock, seconds since the epoch; the machine's when None.
    """
    if not route.is_tls:
        return skipped(_NAME, "the address is http://, without TLS")
    if not addresses:
        return skipped(_NAME, f"{route.next_hop[0]} cannot be reached")
    if route.proxy is not None and route.proxy.scheme != "http":
        return skipped(_NAME, f"behind {route.proxy}; the upgrade checks it")
    now_s = time.time() if now_s is None else now_s
    try:
        with _shake(route, addresses, route.tls()) as socket_:
            found, version = read_certificate(socket_.getpeercert() or {}, now_s), socket_.version()
    except (OSError, ConfigError) as error:
        return _refused(route, addresses, error, now_s)
    return _judge(route, found, version or "TLS")


def read_certificate(fields: Mapping[str, Any], now_s: float) -> Certificate:
    """Read what ``SSLSocket.getpeercert`` returns."""
    until = fields.get("notAfter")
    left_s = ssl.cert_time_to_seconds(str(until)) - now_s if until else 0.0
    names = tuple(str(value) for kind, value in fields.get("subjectAltName", ()))
    issuer = _part(fields.get("issuer"), "commonName") or _part(
        fields.get("issuer"), "organizationName"
    )
    subject = _part(fields.get("subject"), "commonName") or (names[0] if names else "")
    return Certificate(subject, names, issuer, int(left_s // _DAY_S))


def _judge(route: Route, found: Certificate, version: str) -> Finding:
    text = (
        f"TLS {version} to {route.host} (cert CN={found.common_name!r}, by {found.issuer!r},"
        f" {found.days_left} days left)"
    )
    details = {"version": version, **found.describe()}
    if found.days_left < _SOON_DAYS:
        cure = f"renew the certificate of {route.host} before it expires"
        return warned(_NAME, text, cure, **details)
    return fine(_NAME, text, **details)


def _refused(route: Route, addresses: Sequence[str], error: Exception, now_s: float) -> Finding:
    cause = not_opened(route.url, error)
    found = _look_again(route, addresses, now_s) if cause.cause.startswith("tls") else None
    cure = _cure(route, cause.cause, found)
    details = {"cause": cause.cause, **(found.describe() if found else {})}
    return failed(
        _NAME, f"{cause.reason}{_seen(cause.cause, found)}", cure[0], *cure[1:], **details
    )


def _seen(cause: str, found: Certificate | None) -> str:
    """Say what a refused certificate says of itself."""
    if found is None:
        return ""
    if cause == "tls_expired":
        ago = -found.days_left
        return f"; it ended {ago} days ago" if ago > 0 else f"; it ends in {found.days_left} days"
    if cause == "tls_host":
        return f"; it is for {', '.join(found.names[:_MOST_NAMES]) or found.common_name}"
    return f"; it was signed by {found.issuer!r}"


def _cure(route: Route, cause: str, found: Certificate | None) -> tuple[str, ...]:
    """Return the cure in one line, then the lines to type."""
    host, port = route.host, route.port
    place = host if port == _HTTPS else f"{host}:{port}"
    own = [] if found is None else [each for each in found.names if "*" not in each]
    name = own[0] if own else "<name in the certificate>"
    cures = {
        "tls_expired": (f"renew the certificate of {host}, or set this machine's clock", "date"),
        "tls_host": (f"export Z4J_BRAIN_URL=https://{place.replace(host, name, 1)}",),
        "tls_issuer": (f"{_TRUST}  # the certificate of who signed it", _TRUST),
        "tls_client": (f"{_CLIENT[0]}, and Z4J_CLIENT_KEY_FILE", *_CLIENT),
        "tls_version": (f"enable TLS 1.2 or newer at {place}",),
        "tls_files": ("correct Z4J_CA_FILE, Z4J_CLIENT_CERTIFICATE_FILE or Z4J_CLIENT_KEY_FILE",),
        "no_tls": (f"export Z4J_BRAIN_URL=http://{host}:{port}, or use the port with TLS",),
    }
    look = (
        f"openssl s_client -connect {host}:{port} -servername {host} </dev/null"
        " | openssl x509 -noout -dates -subject -issuer"
    )
    return *cures.get(cause, (f"see what the server at {place} says",)), look


def _look_again(route: Route, addresses: Sequence[str], now_s: float) -> Certificate | None:
    """Read a certificate that was refused: trust this very one, for this one look."""
    try:
        with _shake(route, addresses, _trusting_all()) as blind:
            encoded = blind.getpeercert(binary_form=True)
        assert encoded is not None  # a TLS server always shows one
        with _shake(route, addresses, _trusting_only(encoded)) as seen:
            return read_certificate(seen.getpeercert() or {}, now_s)
    except (OSError, ValueError):
        return None


def _trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _trusting_only(encoded: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=encoded)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def _shake(route: Route, addresses: Sequence[str], context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = dial(route, addresses, TCP_S)
    try:
        sock.settimeout(TCP_S)
        if route.proxy is not None:
            open_tunnel(sock, route)
        return context.wrap_socket(sock, server_hostname=route.host)
    except BaseException:
        sock.close()
        raise


def _part(name: Any, wanted: str) -> str:
    for group in name or ():
        for key, value in group:
            if key == wanted:
                return str(value)
    return ""
