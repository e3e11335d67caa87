"""What is told of a redirect's address."""

from __future__ import annotations

import pytest

from z4j_otel.transport.redirects import explain_redirect

ASKED = "wss://brain.example/z4j/ws/agent"
TOKEN = "t0ken-of-the-test"


def told(location, asked=ASKED):
    """Return the line about a redirect."""
    return explain_redirect(asked, 301, location, secret=TOKEN)


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("https://new.example/z4j/ws/agent", "https://new.example/z4j"),
        ("https://new.example:443/ws/agent/", "https://new.example"),
        ("wss://new.example:8443/ws/agent?a=b#c", "https://new.example:8443"),
        ("//new.example/ws/agent", "https://new.example"),
        ("/ws/agent", "https://brain.example"),
        ("https://[::1]:8443/ws/agent", "https://[::1]:8443"),
        ("https://user:pass@new.example/ws/agent", "https://new.example"),
    ],
)
def test_a_new_address_of_the_socket_becomes_the_setting(location, address):
    """Scheme, host, port and prefix are told, and nothing else."""
    assert told(location).endswith(f"set Z4J_BRAIN_URL={address}")


def test_long_polls_routes_become_the_setting_too():
    """The operator never sees the path that was added."""
    asked = "https://brain.example/api/v1/agent/commands?wait=0"
    line = told("https://new.example/z4j/api/v1/agent/commands?wait=0", asked)
    assert line.endswith("set Z4J_BRAIN_URL=https://new.example/z4j")


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://new.example/ws/agent",
        "https://new.example:port/ws/agent",
        "https://new\x1b.example/ws/agent",
        "https://new example/ws/agent",
        "https://new\x1b[31m.example/ws/agent",
        f"https://{'a' * 64}.example/ws/agent",
        f"https://{'a.' * 127}example/ws/agent",
        f"https://new.example/{TOKEN.upper()}/ws/agent",
        "https://[new/ws/agent",
        "javascript:alert(1)",
    ],
)
def test_what_looks_like_no_address_is_not_repeated(location):
    """Such a line names the setting only."""
    line = "the address redirects (HTTP 301), which is not followed; set Z4J_BRAIN_URL to"
    assert told(location) == f"{line} its final address"


@pytest.mark.parametrize("path", ["/login", "/x" * 5 + "/ws/agent", "/a%20b/ws/agent", "/" * 9])
def test_pages_are_not_repeated(path):
    """A path that is no short prefix is another page, whatever it ends in."""
    line = told(f"https://new.example{path}")
    assert "to another page of https://new.example, perhaps a login" in line


def test_an_address_that_is_no_route_of_ours():
    """Whatever was asked, its whole path counts as ours."""
    line = told("https://new.example/health", "https://brain.example/health")
    assert line.endswith("set Z4J_BRAIN_URL=https://new.example")
    assert told("https://new.example/", "nonsense").endswith("its final address")


def test_giving_up_tls_is_named():
    """From https to http."""
    line = told("http://new.example/ws/agent")
    assert "to http://new.example without TLS, which is never followed" in line


def test_a_circle_is_named():
    """The address to set would be the one that is set."""
    assert "redirects to itself" in told("/z4j/ws/agent/")
