"""What an application that logs everything sees of a connection: no secret, no noise."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from z4j_otel.transport.proxies import proxy_for
from z4j_otel.transport.tls import Trust, tls_context

from .network_lab import Proxy, front, server_context, serving

NAME = "brain.example"
LIBRARIES = ("websockets", "httpx", "httpcore", "hpack", "h11")


def test_at_debug_no_secret_reaches_the_log(agent, brain_port, authority, ca_file, caplog):
    """Neither token nor the proxy's password are logged, and the libraries say nothing."""
    caplog.set_level(logging.DEBUG)
    for name in LIBRARIES:
        caplog.set_level(logging.DEBUG, name)

    async def scene():
        context = server_context(authority, NAME)
        async with front(brain_port, context) as port, Proxy(port, login="anna:hush") as between:
            right = proxy_for(f"https://{NAME}", f"http://anna:hush@localhost:{between.port}")
            wrong = proxy_for(f"https://{NAME}", f"http://anna:psst@localhost:{between.port}")
            tls = partial(tls_context, Trust(ca_file))
            assert await agent.hello(f"https://{NAME}", tls=tls, proxy=right) is None
            assert await agent.hello(f"https://{NAME}", tls=tls, proxy=wrong) is not None

    asyncio.run(scene(), debug=True)
    told = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    secrets = (agent.token, "hush", "psst", "YW5uYTp")  # the last begins the login in Base64
    assert not [line for line in told if any(secret in line for secret in secrets)]
    talkers = {record.name.partition(".")[0] for record in caplog.records}
    assert not talkers.intersection(LIBRARIES)


def test_the_token_travels_in_a_header_only(agent):
    """No address that is asked holds it: addresses end up in the logs of servers and proxies."""
    lines = []

    async def server(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines.extend(line for line in head.split("\r\n") if agent.token in line)
        writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async def scene():
        async with serving(server, "localhost") as port:
            await agent.hello(f"http://localhost:{port}")

    asyncio.run(scene())
    assert [line.partition(":")[0].lower() for line in lines] == ["authorization"]
