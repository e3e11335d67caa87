"""Proxies to the brain, the same over WebSocket and long-poll, with real sockets."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

import httpx
import pytest

from z4j_otel.transport.proxies import proxy_for
from z4j_otel.transport.tls import Trust, tls_context

from .network_lab import Proxy, front, server_context, serving

NAME = "brain.example"
"""Nobody has this name: whoever reaches it went through a proxy."""
LOGIN = "anna:hush-hush"


class Scene:
    """An agent, and a brain with TLS that only a proxy can reach by its name."""

    def __init__(self, agent, brain_port, authority, ca_file):
        self.agent, self._port = agent, brain_port
        self._authority = authority
        self._context = server_context(authority, NAME, "0.0.0.0")
        self._tls = partial(tls_context, Trust(ca_file))

    def play(self, *, setting="{}", url=f"https://{NAME}", environ=None, is_https=False, **proxy):
        """Connect once; return the line of the failure and what the proxy was asked for.

        In settings and variables ``{}`` is where the proxy is, in the URL the server's port.
        """

        async def scene():
            of_proxy = server_context(self._authority) if is_https else None
            async with (
                front(self._port, self._context, "0.0.0.0") as port,
                Proxy(proxy.pop("target", port), context=of_proxy, **proxy) as between,
            ):
                where = between.address if of_proxy else f"localhost:{between.port}"
                variables = {name: text.format(where) for name, text in (environ or {}).items()}
                address = url.format(port)
                choice = proxy_for(address, setting.format(where), environ=variables)
                line = await self.agent.line(address, tls=self._tls, proxy=choice, dev_mode=True)
                return line, between.asked

        return asyncio.run(scene())


@pytest.fixture
def scene(agent, brain_port, authority, ca_file):
    """Return an agent and a brain with a proxy between."""
    return Scene(agent, brain_port, authority, ca_file)


def test_the_setting_leads_through_the_proxy(scene):
    """The tunnel goes to the brain's name, and TLS inside it is the brain's own."""
    assert scene.play() == (None, [f"{NAME}:443"])


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_environment_leads_through_the_proxy(scene, variable):
    """What other programs go by holds for both ways."""
    assert scene.play(setting="", environ={variable: "{}"}) == (None, [f"{NAME}:443"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio has no TLS inside TLS")
def test_a_proxy_with_tls_of_its_own(scene):
    """https:// before the proxy's name: its certificate is checked, too."""
    if scene.agent.way == "longpoll" and httpx.__version__.startswith("0.27"):
        pytest.skip("httpx 0.27 checks a proxy by its own authorities only")
    assert scene.play(is_https=True) == (None, [f"{NAME}:443"])


def test_credentials_open_the_proxy(scene):
    """Name and password in the address are sent; without them the line says how."""
    assert scene.play(setting="http://anna:hush-hush@{}", login=LOGIN)[0] is None
    line, _ = scene.play(login=LOGIN)
    assert "asks for a login (HTTP 407); set Z4J_PROXY=http://user:password@host:port" in line
    line, _ = scene.play(setting="http://anna:wrong-hush@{}", login=LOGIN)
    assert "does not accept the user name and password (HTTP 407)" in line
    assert "hush" not in line


def test_no_proxy_leads_around_it(scene):
    """A brain named there is spoken to directly."""
    environ = {"HTTPS_PROXY": "{}", "NO_PROXY": "0.0.0.0"}
    assert scene.play(setting="", url="https://0.0.0.0:{}", environ=environ) == (None, [])


def test_a_brain_on_this_machine_is_spoken_to_directly(agent, brain):
    """A proxy of the environment never stands between two processes of one machine."""
    choice = proxy_for(brain.url, environ={"HTTP_PROXY": "http://nobody.invalid:1"})
    assert asyncio.run(agent.hello(brain.url, proxy=choice)) is None


def test_plain_text_goes_through_the_proxy_too(scene, brain_port):
    """On a network one trusts, in dev mode; long-poll needs no tunnel for that."""
    line, asked = scene.play(url=f"http://{NAME}:8000", target=brain_port)
    assert line is None
    assert NAME in asked[0]


@pytest.mark.parametrize("status", [403, 502])
def test_a_proxy_that_does_not_let_through_is_told(scene, status):
    """The line names the proxy, what decided for it, and the way around."""
    line, _ = scene.play(status=status)
    assert f"(Z4J_PROXY) does not let us through to the brain (HTTP {status})" in line
    assert "set Z4J_PROXY=none" in line


def test_a_proxy_that_is_not_there_is_told(agent):
    """It is not the brain that nobody listens for."""
    choice = proxy_for(f"https://{NAME}", environ={"HTTPS_PROXY": f"http://{LOGIN}@localhost:1"})
    line = asyncio.run(agent.line(f"https://{NAME}", proxy=choice))
    assert line.startswith("nobody listens at the proxy http://localhost:1 (HTTPS_PROXY); check")
    assert "hush" not in line


def test_a_proxy_that_is_none_is_told(agent):
    """Something else than a proxy listens there."""

    async def ssh(reader, writer):
        await reader.read(1024)
        writer.write(b"SSH-2.0-OpenSSH_9\r\n")
        await writer.drain()

    async def scene():
        async with serving(ssh, "localhost") as port:
            choice = proxy_for(f"https://{NAME}", f"http://{LOGIN}@localhost:{port}")
            return await agent.line(f"https://{NAME}", proxy=choice)

    line = asyncio.run(scene())
    assert "through the proxy http://localhost" in line
    assert "does not speak HTTP" in line or "hung up" in line
    assert "hush" not in line


def test_the_certificate_behind_a_proxy_is_told_as_the_brains(agent, brain_port, authority):
    """A proxy that looks into TLS shows a certificate of its own; its authority is missing."""

    async def scene():
        context = server_context(authority, NAME)
        async with front(brain_port, context) as port, Proxy(port) as between:
            choice = proxy_for(f"https://{NAME}", between.address)
            return await agent.line(f"https://{NAME}", proxy=choice)

    line = asyncio.run(scene())
    assert f"{NAME}" in line
    assert "through the proxy http://localhost" in line
    assert "set Z4J_CA_FILE" in line
