"""Redirects, the same over WebSocket and long-poll: none is followed, each is told."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from z4j_otel.transport.tls import Trust, tls_context

from .network_lab import server_context, serving

STATUSES = [301, 302, 303, 307, 308]


class Scene:
    """A server that redirects, and one that it redirects to."""

    def __init__(self, agent, authority, ca_file):
        self.agent = agent
        self._authority = authority
        self._tls = partial(tls_context, Trust(ca_file))

    def play(self, status, location, *, is_encrypted=True):
        """Connect to the one; return what an operator reads, and what the other was asked.

        In the location, ``{other}`` is the other's port, ``{own}`` the first server's and
        ``{path}`` the path that was asked.
        """
        asked = []
        where = {}

        async def redirect(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            where["path"] = head.split()[1].partition("?")[0]
            target = location.format(**where)
            answer = f"HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
            writer.write(answer.encode())
            await writer.drain()

        async def other(reader, writer):
            asked.append(await reader.read(4096))

        async def scene():
            context = server_context(self._authority) if is_encrypted else None
            async with (
                serving(redirect, "localhost", context) as own,
                serving(other, "localhost") as port,
            ):
                where.update(own=own, other=port)
                scheme = "https" if is_encrypted else "http"
                line = await self.agent.line(f"{scheme}://localhost:{own}", tls=self._tls)
                return line.replace(str(own), "OWN").replace(str(port), "OTHER")

        return asyncio.run(scene()), asked


@pytest.fixture
def scene(agent, authority, ca_file):
    """Return an agent and servers that redirect it."""
    return Scene(agent, authority, ca_file)


@pytest.mark.parametrize("status", STATUSES)
def test_another_origin_is_told_and_never_asked(scene, status):
    """The line ends in the setting with the new address; the token stays here."""
    line, asked = scene.play(status, "https://localhost:{other}{path}")
    assert line == (
        f"the address redirects (HTTP {status}), which is not followed;"
        " set Z4J_BRAIN_URL=https://localhost:OTHER"
    )
    assert asked == []


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_to_plain_text_is_told_and_never_followed(scene, status):
    """TLS is never given up."""
    line, asked = scene.play(status, "http://localhost:{other}{path}")
    assert "to http://localhost:OTHER without TLS, which is never followed" in line
    assert line.endswith("with https://")
    assert asked == []


def test_the_same_host_with_tls_is_told(scene):
    """What a server that wants https:// answers to http://."""
    line, _ = scene.play(308, "https://localhost:{other}{path}", is_encrypted=False)
    assert line.endswith("set Z4J_BRAIN_URL=https://localhost:OTHER")


def test_the_same_origin_is_not_followed_either(scene):
    """A path prefix that is missing is told; following it would hide it."""
    line, _ = scene.play(301, "/z4j{path}")
    assert line.endswith("set Z4J_BRAIN_URL=https://localhost:OWN/z4j")


def test_a_login_page_is_told_as_one(scene):
    """An access check before the brain; of its address only the host is told."""
    line, asked = scene.play(302, "http://localhost:{other}/oauth?rd=s3cret", is_encrypted=False)
    assert "another page of http://localhost:OTHER, perhaps a login" in line
    assert "s3cret" not in line
    assert asked == []


def test_a_circle_is_told(scene):
    """A server that redirects to the address that was asked."""
    assert "redirects to itself" in scene.play(301, "{path}")[0]


def test_the_token_in_a_location_is_not_told(scene):
    """A server that sends back what it was sent does not get it into the log."""
    line, _ = scene.play(301, f"https://{scene.agent.token}.evil.example{{path}}")
    assert scene.agent.token.lower() not in line.lower()
    assert line.endswith("set Z4J_BRAIN_URL to its final address")
