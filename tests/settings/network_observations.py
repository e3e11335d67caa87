"""The observations of settings about the way to the brain."""

from __future__ import annotations

import functools
import ssl

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from .lab import Listener
from .observation import REFUSED, observe

PASSWORD = "open-sesame"


@functools.cache
def _authority():
    return trustme.CA()


@functools.cache
def _client():
    return _authority().issue_cert("agent@example.com")


def _brain_over_tls(lab):
    """Let a brain listen whose certificate the authority of these tests has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    _authority().configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    lab.listener = Listener(context)
    lab.closing.callback(lab.listener.close)
    return f"https://localhost:{lab.listener.port}"


def _written(name):
    """Return what writes a file of the tests' certificates, and tells its path."""

    def write(lab):
        path = lab.folder / name
        path.write_bytes(_content(name))
        return str(path)

    return write


def _content(name):
    client = _client()
    if name == "ca.pem":
        return _authority().cert_pem.bytes()
    if name == "client.pem":
        return client.private_key_and_cert_chain_pem.bytes()
    if name == "certificate.pem":
        return client.cert_chain_pems[0].bytes()
    key = client.private_key_pem.bytes()
    if name == "key.pem":
        return key
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
    )


@observe(
    "ca_file", _written("ca.pem"), seen="trusted", default="not trusted", brain_url=_brain_over_tls
)
def _ca_file(lab):
    """Whether a brain whose authority this machine does not know gets a request."""
    return "trusted" if lab.request() else "not trusted"


def _shown(lab):
    lab.request()
    return f"{lab.listener.certificates[0]} is shown"


_TLS = {"brain_url": _brain_over_tls, "ca_file": _written("ca.pem")}

observe(
    "client_certificate_file",
    _written("client.pem"),
    seen="one is shown",
    default="none is shown",
    **_TLS,
)(_shown)
observe(
    "client_key_file",
    _written("key.pem"),
    seen="one is shown",
    default=REFUSED,
    client_certificate_file=_written("certificate.pem"),
    **_TLS,
)(_shown)
observe(
    "client_key_password",
    PASSWORD,
    seen="one is shown",
    default=REFUSED,
    client_certificate_file=_written("certificate.pem"),
    client_key_file=_written("encrypted.pem"),
    **_TLS,
)(_shown)


@observe(
    "proxy",
    lambda lab: f"http://127.0.0.1:{lab.listener.port}",
    seen="CONNECT z4j.invalid:443 HTTP/1.1",
    default="no proxy is asked",
    brain_url="https://z4j.invalid",
)
def _proxy(lab):
    """What a proxy is asked for."""
    return next(iter(lab.request()), "no proxy is asked")
