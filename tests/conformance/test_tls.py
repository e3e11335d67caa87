"""TLS to the brain, the same over WebSocket and long-poll: who is trusted, what is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import sys
import warnings
from functools import partial

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from z4j_otel.transport.tls import Identity, Trust, tls_context

from .network_lab import front, server_context, serving

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)


def trusting(ca_file, identity=None):
    """Return what makes contexts that trust this authority only."""
    return partial(tls_context, Trust(ca_file, identity))


def line(agent, brain_port, context, **options):
    """Connect to a server with this context; return what an operator reads."""

    async def scene():
        async with front(brain_port, context) as port:
            return await agent.line(f"https://localhost:{port}", **options)

    return asyncio.run(scene())


def test_the_authority_in_the_file_is_trusted(agent, brain_port, authority, ca_file):
    """With Z4J_CA_FILE, a brain with a certificate of one's own authority is reached."""
    assert line(agent, brain_port, server_context(authority), tls=trusting(ca_file)) is None


def test_the_machines_authorities_are_trusted(agent, brain_port, authority, ca_file, monkeypatch):
    """Without a setting, what SSL_CERT_FILE names holds on both ways."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert line(agent, brain_port, server_context(authority)) is None


def test_an_intermediate_authority_is_enough(agent, brain_port, tmp_path):
    """A file with the authority that signed the certificate needs not go up to the root."""
    intermediate = trustme.CA().create_child_ca()
    intermediate.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = server_context(intermediate)
    assert line(agent, brain_port, context, tls=trusting(tmp_path / "ca.pem")) is None


@pytest.mark.parametrize(
    ("name", "options", "verdict", "cure"),
    [
        ("localhost", {"not_after": LONG_AGO}, "has expired", "renew it, or set this machine's"),
        ("other.example", {}, "another host", "use the name in the certificate"),
    ],
)
def test_certificates_that_do_not_fit_are_told(
    agent, brain_port, authority, ca_file, name, options, verdict, cure
):
    """One line names the trouble and the cure."""
    context = server_context(authority, name, **options)
    text = line(agent, brain_port, context, tls=trusting(ca_file))
    assert verdict in text
    assert cure in text
    assert "localhost" in text


def test_a_stranger_is_not_trusted(agent, brain_port, ca_file):
    """The line names the setting; whether or not it was used already."""
    for options in ({}, {"tls": trusting(ca_file)}):
        text = line(agent, brain_port, server_context(trustme.CA()), **options)
        assert "not signed by anyone trusted here" in text
        assert "set Z4J_CA_FILE to a PEM file" in text


def test_only_the_authority_in_the_file_is_trusted(
    agent, brain_port, authority, ca_file, monkeypatch, tmp_path
):
    """Z4J_CA_FILE takes the place of the machine's authorities."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    context = server_context(authority)
    assert "not signed" in line(agent, brain_port, context, tls=trusting(tmp_path / "other.pem"))


def test_a_file_that_vanished_is_told_and_taken_again(
    agent, brain_port, authority, ca_file, tmp_path
):
    """Files are read for each connection: a renewed one needs no restart."""
    path = tmp_path / "ca.pem"
    context = server_context(authority)
    text = line(agent, brain_port, context, tls=trusting(path))
    assert "the file cannot be read (No such file or directory); set Z4J_CA_FILE" in text
    path.write_bytes(ca_file.read_bytes())
    assert line(agent, brain_port, context, tls=trusting(path)) is None


def old_certificates(folder):
    """Write an authority and a server's certificate as many companies have them.

    They lack what RFC 5280 asks for: key identifiers, a key usage, a critical mark.
    """
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("ca", "host")]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in names]
    begin = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    extensions = [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
    ]
    pems = [
        x509.CertificateBuilder(names[0], name, key.public_key(), 17)
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=10))
        .add_extension(extension, critical=False)
        .sign(keys[0], hashes.SHA256())
        .public_bytes(Encoding.PEM)
        for name, key, extension in zip(names, keys, extensions, strict=True)
    ]
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.pem").write_bytes(pems[0])
    (folder / "server.pem").write_bytes(pems[1] + keys[1].private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_an_old_authority_of_ones_own_is_trusted(agent, brain_port, tmp_path):
    """What Python 3.13 refuses of an authority that is not named, it takes of one that is."""
    context = old_certificates(tmp_path)
    assert line(agent, brain_port, context, tls=trusting(tmp_path / "ca.pem")) is None


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older ones are not that strict")
def test_an_old_authority_of_the_machine_is_told(agent, brain_port, tmp_path, monkeypatch):
    """The cure is to name it."""
    context = old_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    text = line(agent, brain_port, context)
    assert "is of a form that Python takes from named authorities only" in text
    assert "set Z4J_CA_FILE" in text


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def asking_for_certificates(authority, of, version):
    """Return a server's context that wants a client certificate of an authority."""
    context = server_context(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    of.configure_trust(context)
    return context


def identity_of(authority, folder):
    """Write a client certificate of an authority."""
    path = folder / "client.pem"
    authority.issue_cert("agent").private_key_and_cert_chain_pem.write_to_path(path)
    return Identity(path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_opens_the_door(
    agent, brain_port, authority, ca_file, tmp_path, version
):
    """With Z4J_CLIENT_CERTIFICATE_FILE a brain that asks for one is reached."""
    context = asking_for_certificates(authority, authority, version)
    identity = identity_of(authority, tmp_path)
    assert line(agent, brain_port, context, tls=trusting(ca_file, identity)) is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("has_one", [False, True])
def test_a_missing_and_a_wrong_client_certificate_are_told(
    agent, brain_port, authority, ca_file, tmp_path, version, has_one
):
    """The line names the setting; TLS 1.2 does not tell what is missing."""
    context = asking_for_certificates(authority, authority, version)
    identity = identity_of(trustme.CA(), tmp_path) if has_one else None
    text = line(agent, brain_port, context, tls=trusting(ca_file, identity))
    assert "Z4J_CLIENT_CERTIFICATE_FILE" in text
    if has_one:
        assert "does not accept the client certificate" in text
    elif version is ssl.TLSVersion.TLSv1_3:
        assert "asks for a client certificate" in text


def test_a_web_server_that_asks_for_a_certificate_on_a_page(agent):
    """Such as nginx: it ends the handshake well and answers 400; its page is understood."""

    async def nginx(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        page = b"<center>No required SSL certificate was sent</center>"
        head = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(page) + page)
        await writer.drain()

    async def scene():
        async with serving(nginx, "localhost") as port:
            return await agent.line(f"http://localhost:{port}")

    text = asyncio.run(scene())
    assert "asks for a client certificate (HTTP 400); set Z4J_CLIENT_CERTIFICATE_FILE" in text


def test_tls_1_1_is_not_spoken(agent, brain_port, authority, ca_file):
    """A server that knows nothing newer is told so."""
    context = server_context(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    text = line(agent, brain_port, context, tls=trusting(ca_file))
    assert "speaks no TLS newer than 1.1" in text
    assert text.endswith("enable TLS 1.2 or newer there")


def test_a_server_without_tls_is_told(agent, ca_file):
    """https:// where plain HTTP is spoken."""

    async def web_server(reader, writer):
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def scene():
        async with serving(web_server, "localhost") as port:
            return await agent.line(f"https://localhost:{port}", tls=trusting(ca_file))

    text = asyncio.run(scene())
    assert "does not speak TLS at this port" in text
    assert "use http://" in text
