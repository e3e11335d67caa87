"""What the settings say about the way to the brain."""

from __future__ import annotations

import pytest
import trustme

from z4j_otel.config import AgentConfig, Secret, load_config
from z4j_otel.config.network import proxy_of, trust_of
from z4j_otel.errors import ConfigError
from z4j_otel.transport.tls import Identity, Trust

GOOD = {
    "brain_url": "https://brain.example.com",
    "token": "t",
    "hmac_secret": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}
LOGIN = "http://anna:hush-hush@squid:3128"


@pytest.fixture
def files(tmp_path):
    """Write an authority and a client's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("agent").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "client.pem"
    )
    return tmp_path


def loaded(way, **changes):
    """Resolve settings given in one of the ways there are."""
    values = {**GOOD, **changes}
    if way == "arguments":
        return load_config(values, {})
    if way == "environment":
        return load_config({}, {f"Z4J_{name.upper()}": value for name, value in values.items()})
    return load_config({}, {}, host_settings=values, host_label="Django settings")


WAYS = pytest.mark.parametrize("way", ["arguments", "environment", "host settings"])
SOURCES = {"arguments": "argument", "host settings": "Django settings"}


@WAYS
@pytest.mark.parametrize(
    "url",
    [
        "ws://brain.example.com/ws",
        "http://192.0.2.1:8000",
        "http://localhost.evil.com",
        "http://localhost@evil.com",
        "http://127.1",
        "http://0.0.0.0:8000",
        "http://[::]",
        "http://2130706433",
    ],
)
def test_plain_text_to_what_is_not_surely_this_machine_is_refused(way, url):
    """The token does not travel in the clear, whoever wrote the address."""
    with pytest.raises(ConfigError) as told:
        loaded(way, brain_url=url)
    assert told.value.setting == "brain_url"
    assert told.value.source.startswith(SOURCES.get(way, "environment Z4J_BRAIN_URL"))


@pytest.mark.parametrize("url", ["ws://brain.example.com/ws", "http://192.0.2.1:8000"])
def test_dev_mode_allows_plain_text(url):
    """On a network one trusts; the refusal says so."""
    with pytest.raises(ConfigError, match=r"refusing plain ws:// .* set Z4J_DEV_MODE=1"):
        loaded("environment", brain_url=url)
    assert loaded("environment", brain_url=url, dev_mode="1").brain_url == url


@pytest.mark.parametrize(
    "url",
    [
        "ws://localhost",
        "http://LOCALHOST:8000",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://[::1]:8000",
        "http://[::ffff:127.0.0.1]",
        "https://brain.example.com",
    ],
)
def test_loopback_and_encrypted_addresses_are_allowed(url):
    """Loopback needs no encryption."""
    assert loaded("arguments", brain_url=url).brain_url == url


@WAYS
def test_files_that_are_missing_are_told_with_their_source(way, tmp_path):
    """A configuration error, with the setting to change, before anything connects."""
    with pytest.raises(ConfigError, match=r"No such file.*set Z4J_CA_FILE") as told:
        loaded(way, ca_file=str(tmp_path / "gone.pem"))
    assert told.value.source.startswith(SOURCES.get(way, "environment Z4J_CA_FILE"))


def test_a_key_without_certificate_is_refused(files):
    """It would be ignored in silence."""
    with pytest.raises(ConfigError, match="set Z4J_CLIENT_CERTIFICATE_FILE"):
        loaded("environment", client_key_file=str(files / "client.pem"))


def test_settings_become_what_the_transport_wants(files, monkeypatch):
    """Paths are made absolute, so that a later change of directory does no harm."""
    monkeypatch.chdir(files)
    config = loaded("environment", ca_file="ca.pem", client_certificate_file="client.pem")
    assert trust_of(config) == Trust(files / "ca.pem", Identity(files / "client.pem"))
    both = {"client_certificate_file": "client.pem", "client_key_file": "client.pem"}
    config = loaded("environment", **both, client_key_password="pw")
    expected = Identity(files / "client.pem", files / "client.pem", "pw")
    assert trust_of(config) == Trust(None, expected)


def test_nothing_set_means_the_machines_authorities():
    """An address is not even needed."""
    assert trust_of(AgentConfig()) == Trust()
    assert load_config({}, {}, is_partial=True).ca_file is None


def test_the_proxy_is_a_secret(tmp_path):
    """Its credentials are in no text of the configuration; a file can hold it."""
    (tmp_path / "proxy").write_text(f"{LOGIN}\n")
    config = load_config(GOOD, {"Z4J_PROXY_FILE": str(tmp_path / "proxy")})
    assert proxy_of(config).proxy.password == "hush-hush"
    assert str(proxy_of(config).proxy) == "http://squid:3128"
    shown = {row.name: value for row, value, _ in config.rows()}
    assert shown["proxy"] == "set"
    assert "hush" not in f"{config!r}{proxy_of(config)!r}"


@WAYS
def test_a_malformed_proxy_is_a_configuration_error(way):
    """It names setting and source, and not its value."""
    with pytest.raises(ConfigError, match="expected http://host:port") as told:
        loaded(way, proxy="gopher://anna:hush-hush@squid")
    assert told.value.source.startswith(SOURCES.get(way, "environment Z4J_PROXY"))
    assert "hush" not in str(told.value)


def test_a_proxy_of_the_environment_is_checked_too(monkeypatch):
    """What others may use and we cannot is told at the start, with the way out."""
    monkeypatch.setenv("ALL_PROXY", "socks5://anna:hush-hush@squid")
    with pytest.raises(ConfigError, match="set Z4J_PROXY to an HTTP proxy, or to none") as told:
        loaded("arguments")
    assert told.value.source == "environment ALL_PROXY"
    assert "hush" not in str(told.value)
    assert proxy_of(loaded("arguments", proxy="none")) == (None, "Z4J_PROXY=none")


def test_a_proxy_is_compared_by_value():
    """A configuration holds it as a secret."""
    assert loaded("arguments", proxy=LOGIN).proxy == Secret(LOGIN)
