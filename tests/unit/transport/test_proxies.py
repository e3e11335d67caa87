"""Which proxy is taken to the brain, and what its text shows."""

from __future__ import annotations

import pytest

from z4j_otel.errors import ConfigError
from z4j_otel.transport import proxies
from z4j_otel.transport.proxies import Proxy, parse_proxy, proxy_for

BRAIN = "https://brain.example.com"
HTTPS = {"HTTPS_PROXY": "http://squid:3128"}


def choice(url=BRAIN, setting="", **environ):
    """Return the proxy as text and what decided."""
    proxy, source = proxy_for(url, setting, environ=environ)
    return str(proxy) if proxy else None, source


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        (BRAIN, {}, (None, "no proxy is set")),
        (BRAIN, HTTPS, ("http://squid:3128", "HTTPS_PROXY")),
        ("wss://brain.example.com/ws/agent", HTTPS, ("http://squid:3128", "HTTPS_PROXY")),
        ("ws://brain.example.com", HTTPS, (None, "no proxy is set")),
        ("ws://brain.example.com", {"http_proxy": "p"}, ("http://p:80", "http_proxy")),
        ("http://brain.example.com", {"HTTP_PROXY": "p:1"}, ("http://p:1", "HTTP_PROXY")),
        (BRAIN, {"HTTP_PROXY": "p:1"}, (None, "no proxy is set")),
        (BRAIN, {"ALL_PROXY": "p:1"}, ("http://p:1", "ALL_PROXY")),
        (BRAIN, {**HTTPS, "ALL_PROXY": "p:1"}, ("http://squid:3128", "HTTPS_PROXY")),
        (BRAIN, {**HTTPS, "https_proxy": "low:1"}, ("http://low:1", "https_proxy")),
        (BRAIN, {**HTTPS, "https_proxy": ""}, (None, "no proxy is set")),
        (BRAIN, {"HTTPS_PROXY": " "}, (None, "no proxy is set")),
    ],
)
def test_the_environment_decides_by_the_scheme(url, environ, expected):
    """The variable of the scheme comes before ALL_PROXY, lower case before upper case."""
    assert choice(url, **environ) == expected


def test_the_setting_beats_the_environment_and_its_exceptions():
    """Z4J_PROXY is meant for the brain alone, so NO_PROXY says nothing about it."""
    environ = {**HTTPS, "NO_PROXY": "*"}
    assert choice(setting="http://own:8080", **environ) == ("http://own:8080", "Z4J_PROXY")
    assert choice(setting="None", **HTTPS) == (None, "Z4J_PROXY=none")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.8.9.1"])
def test_a_brain_on_this_machine_is_spoken_to_directly_unless_told(host):
    """No proxy of the environment stands between two processes of one machine."""
    url = f"https://{host}:8443"
    assert choice(url, **HTTPS) == (None, "the brain is on this machine")
    assert choice(url, "http://own:1", **HTTPS) == ("http://own:1", "Z4J_PROXY")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_a_request_header_of_a_cgi_script_names_no_proxy(variable):
    """In CGI, HTTP_PROXY is what a client sent as the header Proxy; lower case cannot be."""
    environ = {variable: "http://evil:1", "REQUEST_METHOD": "GET"}
    expected = "http://evil:1" if variable == "http_proxy" else None
    assert choice("http://brain.example.com", **environ)[0] == expected


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("*", BRAIN, True),
        ("brain.example.com", BRAIN, True),
        ("BRAIN.example.com", BRAIN, True),
        ("example.com", BRAIN, True),
        (".example.com", BRAIN, True),
        ("*.example.com", BRAIN, True),
        ("ample.com", BRAIN, False),
        ("other.example.com, example.com", BRAIN, True),
        ("other.example.com,,", BRAIN, False),
        ("brain.example.com:443", BRAIN, True),
        ("brain.example.com:8443", BRAIN, False),
        ("10.0.0.0/8", "https://10.2.3.4", True),
        ("10.0.0.0/8", "https://11.2.3.4", False),
        ("10.2.3.4", "https://10.2.3.4:8443", True),
        ("10.2.3.4:443", "https://10.2.3.4:8443", False),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]:443", "https://[fd00::1]", True),
        ("10.0.0.0/8", "https://[fd00::1]", False),
    ],
)
def test_no_proxy_knows_names_ports_addresses_and_networks(no_proxy, url, is_direct):
    """Each item is a name with all below it, an address or a network, perhaps with a port."""
    expected = (None, "NO_PROXY") if is_direct else ("http://squid:3128", "HTTPS_PROXY")
    assert choice(url, **HTTPS, NO_PROXY=no_proxy) == expected


def test_no_proxy_in_lower_case_comes_first():
    """As for the other variables, and empty means no exceptions."""
    assert choice(**HTTPS, NO_PROXY="*", no_proxy="")[0] == "http://squid:3128"


def test_credentials_travel_in_the_url_only():
    """What is shown of a proxy holds neither name nor password."""
    proxy = parse_proxy("http://an%40na:p%2Fss@squid:3128/")
    assert (proxy.username, proxy.password) == ("an@na", "p/ss")
    assert proxy.url == "http://an%40na:p%2Fss@squid:3128"
    assert "na" not in f"{proxy}{proxy!r}".replace("name", "")
    assert "ss" not in f"{proxy}"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("anna@squid:1", "http://anna:@squid:1"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("HTTP://Squid:3128/", "http://squid:3128"),
    ],
)
def test_addresses_are_brought_into_one_form(text, url):
    """What both libraries understand: a scheme, a port, a password where there is a name."""
    assert parse_proxy(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "ftp://squid",
        "http:///x",
        "http://squid:99999",
        "http://squid/path",
        "http://squid?a",
        "a b",
    ],
)
def test_what_is_no_proxy_is_refused_without_repeating_it(text):
    """The error names the source and the form, not the value."""
    with pytest.raises(ConfigError, match="expected http://host:port") as told:
        proxy_for(BRAIN, environ={"HTTPS_PROXY": text})
    assert told.value.source == "environment HTTPS_PROXY"
    assert text not in str(told.value)


@pytest.mark.parametrize("text", ["socks5://squid", "http://%ff@squid", "http://a:%ff@squid"])
def test_what_the_libraries_would_trip_over_is_refused(text):
    """SOCKS and credentials that are no text are named before a library meets them."""
    with pytest.raises(ConfigError):
        parse_proxy(text)


def test_a_proxy_can_be_compared():
    """Two of the same form are the same."""
    assert parse_proxy("squid:1") == Proxy("http", "squid", 1)


def test_a_choice_shows_the_proxy_and_what_decided():
    """As a line of the log has it; the libraries get the credentials as well."""
    shown = proxy_for(BRAIN, "http://anna:hush@squid:1")
    assert str(shown) == "the proxy http://squid:1 (Z4J_PROXY)"
    assert shown.url == "http://anna:hush@squid:1"
    assert "hush" not in repr(shown)
    assert (str(proxies.DIRECT), proxies.DIRECT.url) == ("no proxy", None)


def test_tls_inside_tls_needs_a_newer_python(monkeypatch):
    """A proxy that speaks TLS itself is taken where asyncio can, else the cure is told."""
    monkeypatch.setattr(proxies, "_HAS_TLS_IN_TLS", True)
    assert parse_proxy("https://squid").url == "https://squid:443"
    monkeypatch.setattr(proxies, "_HAS_TLS_IN_TLS", False)
    with pytest.raises(ConfigError, match="name the proxy by http://"):
        parse_proxy("https://squid")
