"""Contexts for TLS, and the files they are made of."""

from __future__ import annotations

import os
import ssl

import certifi
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from z4j_otel.errors import ConfigError
from z4j_otel.transport.tls import Identity, Trust, tls_context

PASSWORD = "pa55word-of-the-key"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write an authority, and a client's certificate with its key in several forms."""
    folder, authority = tmp_path_factory.mktemp("files"), trustme.CA()
    client = authority.issue_cert("agent.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    authority.issue_cert("other").private_key_pem.write_to_path(folder / "other.pem")
    key = load_pem_private_key(client.private_key_pem.bytes(), None)
    form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode()))
    (folder / "locked.pem").write_bytes(key.private_bytes(*form))
    (folder / "text.pem").write_text("no certificate")
    return folder


def subjects(context):
    """Return the names of the authorities a context trusts."""
    return [str(each["subject"]) for each in context.get_ca_certs()]


def test_every_context_checks_hosts_and_speaks_tls_1_2_or_newer(files):
    """With and without settings, nothing is weaker than it should be."""
    for trust in (None, Trust(files / "ca.pem")):
        context = tls_context(trust)
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_of_ones_own_is_the_only_one(files):
    """The file takes the place of the machine's authorities."""
    assert len(subjects(tls_context(Trust(files / "ca.pem")))) == 1


def test_openssls_variables_name_the_machines_authorities(files, monkeypatch):
    """SSL_CERT_FILE and SSL_CERT_DIR hold for us as for every program."""
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(files / "nowhere"))
    assert len(subjects(tls_context())) == 1


def test_a_machine_without_authorities_gets_those_of_the_http_client(tmp_path, monkeypatch):
    """In an image without ca-certificates a brain with a public certificate is reached."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    expected = ssl.create_default_context(cafile=certifi.where())
    assert sorted(subjects(tls_context())) == sorted(subjects(expected))
    (tmp_path / "0123abcd.0").touch()
    assert subjects(tls_context()) == []


def test_a_directory_that_is_not_there_counts_as_none(tmp_path, monkeypatch):
    """What SSL_CERT_DIR names may be anything."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "a" / "b"))
    assert len(subjects(tls_context())) > 50


@pytest.mark.parametrize(
    ("certificate", "key", "password"),
    [
        ("client.pem", "key.pem", ""),
        ("client.pem", "locked.pem", PASSWORD),
        ("both.pem", None, ""),
        ("client.pem", "key.pem", "not needed"),
    ],
)
def test_client_certificates_in_all_forms(files, certificate, key, password):
    """Key apart or in one file, encrypted or not."""
    identity = Identity(files / certificate, files / key if key else None, password)
    tls_context(Trust(files / "ca.pem", identity))


@pytest.mark.parametrize(
    ("certificate", "key", "password", "setting", "words"),
    [
        ("gone.pem", "key.pem", "", "client_certificate_file", "No such file"),
        ("client.pem", "gone.pem", "", "client_key_file", "Z4J_CLIENT_KEY_FILE"),
        ("client.pem", "other.pem", "", "client_key_file", "expected the key of"),
        ("text.pem", "key.pem", "", "client_certificate_file", "expected a PEM file"),
        ("client.pem", "text.pem", "", "client_certificate_file", "Z4J_CLIENT_KEY_FILE"),
        ("client.pem", None, "", "client_certificate_file", "Z4J_CLIENT_KEY_FILE"),
        ("client.pem", "locked.pem", "", "client_key_password", "Z4J_CLIENT_KEY_PASSWORD_FILE"),
        ("client.pem", "locked.pem", "wrong-pa55", "client_key_password", "does not open it"),
        ("client.pem", "locked.pem", "x" * 2000, "client_key_password", "does not open it"),
    ],
)
def test_client_files_that_do_not_fit_are_named(files, certificate, key, password, setting, words):
    """Each mistake names its setting, and nobody is asked on the terminal."""
    identity = Identity(files / certificate, files / key if key else None, password)
    with pytest.raises(ConfigError, match=words) as told:
        tls_context(Trust(files / "ca.pem", identity))
    assert told.value.setting == setting
    assert "pa55" not in f"{told.value}{identity!r}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.pem", "No such file.*set Z4J_CA_FILE"),
        ("", "no regular file"),
        ("text.pem", "BEGIN CERTIFICATE"),
        ("key.pem", "BEGIN CERTIFICATE"),
    ],
)
def test_authorities_that_cannot_be_read_are_named(files, name, words):
    """A file that is missing and one that holds no certificate are told apart."""
    with pytest.raises(ConfigError, match=words) as told:
        tls_context(Trust(files / name))
    assert told.value.setting == "ca_file"


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path):
    """Opening it would block until somebody writes."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="no regular file"):
        tls_context(Trust(tmp_path / "pipe"))
