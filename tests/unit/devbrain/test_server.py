"""The embedded brain on a real loopback socket."""

from __future__ import annotations

import asyncio
import time

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from z4j_otel.devbrain.brain import BrainSettings, DevBrain
from z4j_otel.devbrain.server import BrainServer, BrainThread
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import HelloAccepted, Role, Session
from z4j_otel.wire.signing import decode_secret

HELLO = Hello(
    agent_version="1",
    framework="bare",
    engines=["celery"],
    capabilities={"celery": ["cancel_task"]},
)


def dial(url, token, path="/ws/agent", scheme="Bearer"):
    """Open a socket to the brain."""
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    return connect(url.replace("http", "ws") + path, additional_headers=headers)


class Agent:
    """A hand-made agent on a socket."""

    def __init__(self, socket, credentials):
        self.socket = socket
        self.session = Session(Role.AGENT, decode_secret(credentials.hmac_secret))

    async def receive(self):
        """Read one frame."""
        return self.session.receive(await self.socket.recv(), now_ns=time.time_ns())

    async def greet(self):
        """Say hello and return the answer."""
        await self.socket.send(self.session.send_hello(HELLO, frame_id="h"))
        return await self.receive()

    async def send(self, frame_id="ev_1"):
        """Send an empty batch."""
        await self.socket.send(
            self.session.send_event_batch([], frame_id=frame_id, now_ns=time.time_ns())
        )


async def close_code(socket):
    """Return the code with which the brain closes."""
    with pytest.raises(ConnectionClosed) as closed:
        await asyncio.wait_for(socket.recv(), 10)
    return closed.value.rcvd.code


def run(scenario, **settings):
    """Run a scenario against a served brain, with one minted agent."""

    async def main():
        brain = DevBrain(settings=BrainSettings(**settings))
        async with BrainServer(brain) as server:
            await asyncio.wait_for(scenario(server, brain, brain.mint_agent()), 20)

    asyncio.run(main())


def test_a_whole_conversation():
    """Hello, a batch, a command and its result cross the socket."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token) as socket:
            agent = Agent(socket, credentials)
            assert isinstance(await agent.greet(), HelloAccepted)
            await agent.send("ev_7")
            assert (await agent.receive()).acked_id == "ev_7"
            command = brain.issue("cancel_task", engine="celery", task_id="t")
            assert (await agent.receive()).command.id == command.id
            result = b'{"status":"success"}'
            now_ns = time.time_ns()
            await socket.send(agent.session.send_command_result(command.id, result, now_ns=now_ns))
            await asyncio.to_thread(command.wait, 5)
            assert brain.agents()[0].state == "online"

    run(scenario)


def test_the_scheme_s_case_and_spaces_do_not_matter():
    """The header is read as tolerantly as the real brain reads it."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token, scheme="bearer  ") as socket:
            assert await Agent(socket, credentials).greet()

    run(scenario)


@pytest.mark.parametrize(("token", "scheme"), [(None, ""), ("wrong", "Bearer"), ("x", "Basic")])
def test_a_bad_token_is_closed_after_the_upgrade(token, scheme):
    """The WebSocket opens first; there is no HTTP 401."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, token, scheme=scheme) as socket:
            assert await close_code(socket) == 4401

    run(scenario)


@pytest.mark.parametrize("path", ["/ws/agent/", "/ws", "/"])
def test_other_paths_are_refused_at_the_upgrade(path):
    """Only one route exists."""

    async def scenario(server, brain, credentials):
        with pytest.raises(InvalidStatus) as refusal:
            async with dial(server.url, credentials.token, path=path):
                pass
        assert refusal.value.response.status_code == 403

    run(scenario)


def test_close_codes_cross_the_socket():
    """Both a refusal of a frame and a decision of the operator arrive as such."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token) as socket:
            await socket.send(b"nonsense")
            assert await close_code(socket) == 4400
        async with dial(server.url, credentials.token) as socket:
            await Agent(socket, credentials).greet()
            brain.operator.disconnect(4002, "replaced")
            assert await close_code(socket) == 4002

    run(scenario)


def test_an_agent_that_leaves_is_offline():
    """The end of the socket frees the slot."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token) as socket:
            await Agent(socket, credentials).greet()
        offline = lambda: brain.agents()[0].state == "offline"  # noqa: E731 -- a predicate
        await asyncio.to_thread(brain.wait_for, offline, 5)

    run(scenario)


def test_delayed_acks_come_by_themselves():
    """The server wakes when a frame is due."""

    async def scenario(server, brain, credentials):
        brain.faults.delay_acks(0.05)
        async with dial(server.url, credentials.token) as socket:
            agent = Agent(socket, credentials)
            await agent.greet()
            await agent.send()
            assert (await agent.receive()).acked_id == "ev_1"

    run(scenario)


def test_a_stalled_server_does_not_read():
    """Nothing is answered until the brain reads again."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token) as socket:
            agent = Agent(socket, credentials)
            await agent.greet()
            brain.operator.stall()
            await agent.send("ev_1")
            await agent.send("ev_2")
            assert brain.counts["batches"] == 0
            brain.operator.resume()
            assert [(await agent.receive()).acked_id for _ in range(2)] == ["ev_1", "ev_2"]

    run(scenario)


def test_stopping_tells_agents_1012():
    """A brain that stops closes as the real one does."""

    async def main():
        brain = DevBrain()
        credentials = brain.mint_agent()
        server = BrainServer(brain)
        async with server:
            socket = await dial(server.url, credentials.token).__aenter__()
            await Agent(socket, credentials).greet()
        assert await close_code(socket) == 1012
        await socket.close()

    asyncio.run(main())


def test_an_error_of_the_brain_closes_with_1011(caplog):
    """What goes wrong inside is logged and told."""

    async def scenario(server, brain, credentials):
        async with dial(server.url, credentials.token) as socket:
            agent = Agent(socket, credentials)
            await agent.greet()
            brain.faults.ledger = None
            await agent.send()
            assert await close_code(socket) == 1011

    run(scenario)
    assert "embedded brain failed" in caplog.text


def test_a_thread_serves_synchronous_code():
    """The environment names the brain; leaving and entering again is a restart."""
    with BrainThread(settings=BrainSettings(worker_cap=3), agent_name="x") as thread:
        environment = thread.env()
        url = thread.url
        assert environment["Z4J_BRAIN_URL"] == url
        assert environment["Z4J_TOKEN"] == thread.credentials.token
        assert environment["Z4J_PROJECT_ID"] == "default"
        assert thread.brain.settings.worker_cap == 3
        other = thread.brain.mint_agent("b", project="p")
        assert thread.env(other)["Z4J_PROJECT_ID"] == "p"
    with thread:
        assert thread.url == url
    thread.__exit__(None, None, None)  # whoever took the brain away may leave once more


def test_a_taken_port_is_told():
    """A thread that cannot serve raises where it was entered."""
    with BrainThread() as first:
        port = int(first.url.rsplit(":", 1)[1])
        with pytest.raises(RuntimeError, match="did not start"):
            BrainThread(port=port).__enter__()
