"""Everything one connection says."""

from __future__ import annotations

import asyncio

import pytest

from z4j_otel.agent.connection_failures import BrainStalled
from z4j_otel.agent.speaker import Speaker
from z4j_otel.agent.uploader import Uploader
from z4j_otel.commands import Command
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello, TelemetryLoss
from z4j_otel.wire.session import FrameTooLarge, Role, Session

LOSS = TelemetryLoss(buffer_id="b", runtime_id="r")


class Scene:
    """A speaker whose brain reads everything."""

    def __init__(self, loop, clock, brain, kit):
        self.loop, self.brain, self.kit = loop, brain, kit
        self.session = Session(Role.AGENT, kit.KEY)
        self.clock = clock

    def run(self, say):
        """Establish a session and say something."""

        async def talk():
            self.link = await self.brain.connect()
            speaker = Speaker(self.link, self.session, self.clock)
            await speaker.hello(Hello(agent_version="1", framework="bare"))
            answer = await self.link.receive()
            self.session.receive(answer, now_ns=self.clock.now_ns())
            await say(speaker)

        self.loop.run_until_complete(talk())
        return self.brain.received[1:]


@pytest.fixture
def scene(loop, clock, brain, kit):
    """Return a speaker that has not spoken."""
    return Scene(loop, clock, brain, kit)


def test_everything_is_signed_in_its_order(scene, brain, buffer, ledger, clock, kit):
    """Frames made by several tasks at once reach the brain in the order of their numbers."""
    kit.fill(buffer, 3)
    uploader = Uploader(buffer, ledger, clock)
    uploader.lingers = False

    async def say(speaker):
        await asyncio.gather(
            speaker.probe(uploader),
            speaker.heartbeat(Heartbeat()),
            speaker.status(AgentStatus()),
            speaker.command_ack(Command("c-1", "retry_task")),
            speaker.upload(uploader),
        )
        assert await speaker.upload(uploader) is False

    assert len(scene.run(say)) == 5
    assert scene.link.closed_with is None
    assert len(brain.events) == 3


def test_brain_that_does_not_read_is_noticed(scene, loop):
    """A send that takes longer than ninety seconds ends the connection."""

    async def say(speaker):
        async def never(data):
            await asyncio.sleep(1e6)

        scene.link.send = never
        with pytest.raises(BrainStalled):
            await speaker.heartbeat(Heartbeat())

    scene.run(say)
    assert 90 <= loop.now_s < 91


@pytest.mark.parametrize("health", [{"x": "y" * 2_000_000}, {"x": "\ud800"}])
def test_health_that_cannot_be_sent_is_left_out(scene, health):
    """Too large or without a canonical form: the sign of life goes without it."""
    beat = Heartbeat(buffer_size=7, telemetry_loss=LOSS, adapter_health=health)
    (received,) = scene.run(lambda speaker: speaker.heartbeat(beat))
    assert received.payload["adapter_health"] == {}
    assert received.payload["buffer_size"] == 7
    assert received.payload["telemetry_loss"]["buffer_id"] == "b"


def test_bare_heartbeat_says_the_least(scene):
    """Neither health nor the report of losses, only the numbers."""
    beat = Heartbeat(buffer_size=7, telemetry_loss=LOSS, adapter_health={"x": "y"})
    (received,) = scene.run(lambda speaker: speaker.heartbeat(beat, is_bare=True))
    assert (received.payload["telemetry_loss"], received.payload["adapter_health"]) == (None, {})
    assert received.payload["buffer_size"] == 7


def test_transport_that_takes_little_lowers_the_cap(scene, buffer, ledger, clock, kit):
    """A size the transport refuses is not tried again; the batch is made smaller."""
    kit.fill(buffer, 50, size=100)
    uploader = Uploader(buffer, ledger, clock)

    async def say(speaker):
        send = scene.link.send

        async def narrow(data):
            if len(data) > 4000:
                raise FrameTooLarge(len(data), 4000)
            await send(data)

        scene.link.send = narrow
        assert await speaker.upload(uploader)
        assert scene.session.max_frame_bytes == 4000
        for _ in range(9):
            await speaker.upload(uploader)

    frames = scene.run(say)
    assert frames
    assert all(len(frame.events) < 50 for frame in frames)
