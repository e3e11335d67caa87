"""The embedded brain's HTTP routes on the port of its WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import httpx
import pytest
from websockets.asyncio.client import connect

from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.devbrain.longpoll import LongPollDesk
from z4j_otel.devbrain.server import BrainServer

COMMANDS = "/api/v1/agent/commands"


@pytest.fixture
def brain():
    """Return a brain."""
    return DevBrain()


@pytest.fixture
def read(monkeypatch):
    """Return the paths of the requests that the brain reads, as it reads them."""
    paths = asyncio.Queue()
    wait_s = LongPollDesk.wait_s

    def note(desk, request):
        paths.put_nowait(request.path)
        return wait_s(desk, request)

    monkeypatch.setattr(LongPollDesk, "wait_s", note)
    return paths


def run(work):
    """Run a coroutine within ten seconds."""
    return asyncio.run(asyncio.wait_for(work, 10))


@contextlib.asynccontextmanager
async def served(brain):
    """Serve a brain; give an HTTP client of one of its agents."""
    credentials = brain.mint_agent()
    headers = {"Authorization": f"Bearer {credentials.token}", "X-Z4J-Session-Nonce": "n"}
    async with (
        BrainServer(brain) as server,
        httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as client,
    ):
        yield client, server, credentials


def test_requests_share_the_port_with_sockets(brain):
    """One port answers requests, also several on one connection, and opens WebSockets."""

    async def play():
        async with served(brain) as (client, server, credentials):
            probes = [
                await client.get(COMMANDS, params={"wait": 0, "max_frames": 0}) for _ in range(2)
            ]
            url = server.url.replace("http", "ws") + "/ws/agent"
            token = {"Authorization": f"Bearer {credentials.token}"}
            async with connect(url, additional_headers=token):
                pass
            post = await client.post("/api/v1/agent/events", json={"frames": ["nonsense"]})
            missing = await client.get("/api/other")
        return probes, post, missing

    probes, post, missing = run(play())
    assert [answer.json() for answer in probes] == [{"frames": []}] * 2
    assert post.json()["accepted"] == 1
    assert missing.status_code == 404
    assert brain.counts["connections"] == 1


def test_poll_waits_for_a_command(brain, read):
    """A poll is answered when a command comes, and when its time is over."""

    async def play():
        async with served(brain) as (client, _server, credentials):
            await client.get(COMMANDS, params={"wait": 0, "max_frames": 0})
            asked = asyncio.ensure_future(client.get(COMMANDS, params={"wait": 9}))
            assert [await read.get() for _ in range(2)] == [COMMANDS] * 2
            assert not asked.done()
            agent_id = credentials.agent_id
            order = brain.issue("cancel_task", agent_id=agent_id, task_id="t", unchecked=True)
            (frame,) = (await asked).json()["frames"]
            started = time.monotonic()
            empty = await client.get(COMMANDS, params={"wait": 1})
            return order, json.loads(frame), empty.json(), time.monotonic() - started

    order, frame, empty, waited_s = run(play())
    assert (frame["id"], empty) == (order.id, {"frames": []})
    assert waited_s >= 1


def test_stalled_brain_answers_later(brain, read):
    """A brain that does not read leaves requests waiting."""

    async def play():
        async with served(brain) as (client, _server, _credentials):
            brain.operator.stall()
            asked = asyncio.ensure_future(client.get(COMMANDS, params={"max_frames": 0}))
            assert await read.get() == COMMANDS
            assert not asked.done()
            brain.operator.resume()
            return await asked

    assert run(play()).status_code == 200


def test_server_ends_with_requests_open(brain, read):
    """A poll that waits, and a connection that says nothing, do not hold up the end."""

    async def play():
        async with served(brain) as (client, server, _credentials):
            await client.get(COMMANDS, params={"max_frames": 0})
            asked = asyncio.ensure_future(client.get(COMMANDS, params={"wait": 60}))
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert [await read.get() for _ in range(2)] == [COMMANDS] * 2
        with pytest.raises(httpx.HTTPError):
            await asked
        writer.close()

    run(play())


@pytest.mark.parametrize(
    "data",
    [
        b"GET /api/v1/agent/commands HTTP/1.1\r\nHo",
        b"POST /api/v1/agent/events HTTP/1.1\r\nContent-Length: 9\r\n\r\nx",
        b"GET /api/" + b"x" * 100_000,
    ],
)
def test_half_a_request_costs_nothing(brain, data):
    """A peer that goes in the middle, or never comes to an end, is forgotten."""

    async def play():
        async with served(brain) as (client, server, _credentials):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(data)
            await writer.drain()
            writer.close()
            return await client.get(COMMANDS, params={"max_frames": 0})

    assert run(play()).status_code == 200
