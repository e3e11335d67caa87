"""The brain's address, and what is made of it."""

from __future__ import annotations

import pytest

from z4j_otel.errors import ConfigError
from z4j_otel.transport.addresses import agent_url, api_url, host_and_port, is_loopback


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://brain.example", "wss://brain.example/ws/agent"),
        ("https://brain.example/", "wss://brain.example/ws/agent"),
        ("wss://brain.example/ws", "wss://brain.example/ws/agent"),
        ("wss://brain.example/ws/agent", "wss://brain.example/ws/agent"),
        ("wss://brain.example/ws/agent/", "wss://brain.example/ws/agent"),
        ("https://brain.example:8443/z4j/", "wss://brain.example:8443/z4j/ws/agent"),
        ("https://brain.example/z4j/ws?x=1#y", "wss://brain.example/z4j/ws/agent"),
        ("http://localhost:7700", "ws://localhost:7700/ws/agent"),
        ("http://127.0.0.1:7700", "ws://127.0.0.1:7700/ws/agent"),
        ("ws://[::1]:7700", "ws://[::1]:7700/ws/agent"),
        (" HTTPS://brain.example ", "wss://brain.example/ws/agent"),
        ("https://user:pass@brain.example", "wss://brain.example/ws/agent"),
    ],
)
def test_agent_url_accepts_all_forms(given, expected):
    """All schemes and tails lead to the one route of the agent."""
    assert agent_url(given) == expected


@pytest.mark.parametrize(
    "given", ["ftp://x", "brain.example", "", "https://", "http://x:port", "http://["]
)
def test_agent_url_refuses_what_is_no_address(given):
    """Something else than a brain's address is a configuration error."""
    with pytest.raises(ConfigError, match="brain_url"):
        agent_url(given)


def test_plain_text_to_another_machine_is_refused():
    """Without dev_mode the token never travels readable; with it, it may."""
    with pytest.raises(ConfigError, match="refusing plain ws:// connection"):
        agent_url("http://brain.example")
    assert agent_url("http://brain.example", dev_mode=True) == "ws://brain.example/ws/agent"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("LocalHost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.evil", False),
        ("127.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:192.0.2.1", False),
        ("", False),
    ],
)
def test_is_loopback(host, expected):
    """Only names and addresses that cannot leave the machine count as loopback."""
    assert is_loopback(host) is expected


def test_api_url_shares_host_and_prefix_with_the_socket():
    """Long-poll needs no address of its own."""
    assert api_url("wss://brain.example/z4j/ws/agent") == "https://brain.example/z4j/api/v1/agent"
    assert api_url("ws://localhost:7700") == "http://localhost:7700/api/v1/agent"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://brain.example/ws", ("brain.example", 443)),
        ("http://brain.example", ("brain.example", 80)),
        ("https://[::1]:8443/x", ("::1", 8443)),
        ("brain.example", ("", 0)),
    ],
)
def test_host_and_port(url, expected):
    """The port of the scheme counts where none stands."""
    assert host_and_port(url) == expected
