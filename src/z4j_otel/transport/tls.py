"""Whom we trust and who we are in TLS: the one place where contexts are made.

Without a setting the authorities of this machine are trusted, as OpenSSL finds them:
``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, or the system's own. Where there are none, as in
images without ``ca-certificates``, the bundle that the HTTP client brings takes their place.
A file of one's own takes the place of all of these.

A context is made for each connection, so that renewed files are taken without a restart.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from z4j_otel.errors import ConfigError

__all__ = ["Identity", "Trust", "tls_context"]

_ASKED_BY: Final = "the agent's transport"
_NO_SUCH_CERTIFICATES: Final = "expected a PEM file with certificates (-----BEGIN CERTIFICATE-----)"


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate with its key."""

    certificate_file: Path
    """PEM: the certificate, then those between it and its authority."""
    key_file: Path | None = None
    """PEM: its private key; in ``certificate_file`` too when None."""
    key_password: str = field(default="", repr=False)
    """Of an encrypted key; empty for one that is not."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What decides a TLS handshake."""

    ca_file: Path | None = None
    """PEM: the authorities that are trusted, and nobody else; this machine's when None."""
    identity: Identity | None = None
    """Shown to servers that ask for a client certificate."""


def tls_context(trust: Trust | None = None) -> ssl.SSLContext:
    """Return what checks a server: its certificate, its host's name, TLS 1.2 or newer.

    Reads files, for about 20 ms.

    Args:
        trust: Whom to trust; this machine's authorities, and without a client certificate,
            when None.

    Raises:
        ConfigError: A file cannot be read, or is not what it should be; names the setting.
    """
    trust = trust or Trust()
    context = _context_of(trust.ca_file) if trust.ca_file else _system_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    if trust.identity is not None:
        _show(context, trust.identity)
    return context


def _context_of(path: Path) -> ssl.SSLContext:
    _check_readable("ca_file", path)
    try:
        context = ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        raise ConfigError("ca_file", _ASKED_BY, _NO_SUCH_CERTIFICATES) from None
    # Alike on all Pythons: an intermediate authority that is named is meant, and certificates
    # from before the rules that 3.13 checks by itself are taken.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _system_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not _has_directory():
        import certifi  # noqa: PLC0415 -- rarely needed

        context.load_verify_locations(certifi.where())
    return context


def _has_directory() -> bool:
    """Whether OpenSSL has a directory from which it takes authorities when it needs them."""
    found = ssl.get_default_verify_paths().capath
    return found is not None and any(Path(found).glob("*"))


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    key_file = identity.key_file or identity.certificate_file
    _check_readable("client_certificate_file", identity.certificate_file)
    _check_readable("client_key_file", key_file)
    was_asked = False

    def password() -> str:
        # Without it, OpenSSL would ask on the terminal.
        nonlocal was_asked
        was_asked = True
        return identity.key_password

    try:
        context.load_cert_chain(identity.certificate_file, key_file, password)
    except (OSError, ValueError) as error:
        raise _explained(error, was_asked=was_asked) from None


def _explained(error: Exception, *, was_asked: bool) -> ConfigError:
    if was_asked:
        return ConfigError(
            "client_key_password",
            _ASKED_BY,
            "the client's key is encrypted, and this does not open it; set"
            " Z4J_CLIENT_KEY_PASSWORD or Z4J_CLIENT_KEY_PASSWORD_FILE",
        )
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        text = "expected the key of the certificate in Z4J_CLIENT_CERTIFICATE_FILE"
        return ConfigError("client_key_file", _ASKED_BY, text)
    return ConfigError(
        "client_certificate_file",
        _ASKED_BY,
        "expected a PEM file with the client's certificate, and its private key there or in"
        " Z4J_CLIENT_KEY_FILE",
    )


def _check_readable(setting: str, path: Path) -> None:
    """Say which file it is: OpenSSL does not tell."""
    reason = _unreadable(path)
    if reason:
        text = f"the file cannot be read ({reason}); set Z4J_{setting.upper()} to one that can"
        raise ConfigError(setting, _ASKED_BY, text)


def _unreadable(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            return "it is no regular file"
        with path.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or type(error).__name__
