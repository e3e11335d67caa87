"""The way to the brain, and who decided it."""

from __future__ import annotations

import pytest

from z4j_otel.config import AgentConfig
from z4j_otel.doctor.route import find_route
from z4j_otel.errors import ConfigError


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    """Forget the proxies of the developer's shell."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_a_proxy_the_brain_is_dialled():
    """At the port of its scheme."""
    route = find_route(AgentConfig(brain_url="https://z4j.test/prefix", dev_mode=False))
    assert route.next_hop == ("z4j.test", 443)
    assert (route.is_tls, route.proxy) == (True, None)
    assert route.url == "wss://z4j.test/prefix/ws/agent"


def test_a_proxy_is_dialled_in_the_brains_place(monkeypatch):
    """It is named without its credentials."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-password@proxy.test:3128")
    route = find_route(AgentConfig(brain_url="https://z4j.test", dev_mode=False))
    assert route.next_hop == ("proxy.test", 3128)
    assert str(route.proxy) == "http://proxy.test:3128"
    assert "proxy-password" not in repr(route)


def test_nobody_stands_between_two_processes_of_one_machine(monkeypatch):
    """Whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    assert find_route(AgentConfig(brain_url="http://127.0.0.1:8000", dev_mode=False)).proxy is None


def test_a_plain_address_of_another_machine_is_refused():
    """As by the agent."""
    with pytest.raises(ConfigError, match="plain ws://"):
        find_route(AgentConfig(brain_url="http://z4j.test", dev_mode=False))
    assert find_route(AgentConfig(brain_url="http://z4j.test", dev_mode=True)).next_hop == (
        "z4j.test",
        80,
    )
