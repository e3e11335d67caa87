"""The short talk with a brain, against the real session code."""

from __future__ import annotations

import asyncio
import json

import pytest

from z4j_otel.clock import SystemClock, iso_z
from z4j_otel.devbrain.brain import DevBrain
from z4j_otel.doctor.conversation import converse, doctor_worker_id, knock
from z4j_otel.errors import ConnectFailed, ConnectionLost
from z4j_otel.testing import ManualClock, MemoryTransport, ScriptedBrain
from z4j_otel.wire.frames import CommandPayload, ErrorPayload, Hello
from z4j_otel.wire.received import CommandFinished
from z4j_otel.wire.signing import decode_secret

KEY = bytes(range(32))
HELLO = Hello(agent_version="1", framework="bare", worker_id="doctor-x")


def talk_to(*scripts, clock=None, key=KEY):
    """Talk to a brain that follows a script."""
    brain = ScriptedBrain(*scripts, key=KEY)
    return asyncio.run(converse(brain, key, HELLO, clock or SystemClock()))


async def accepts(peer):
    """Take hello and the batch."""
    await peer.accept()
    await peer.ack(await peer.receive())


def test_a_brain_that_takes_both_frames_has_proven_us():
    """One hello, one empty batch."""
    batches = []

    async def brain(peer):
        await peer.accept()
        batches.append(await peer.receive())
        await peer.ack(batches[0])

    talk = talk_to(brain)

    assert (talk.is_open, talk.is_proven, talk.failure) == (True, True, None)
    assert talk.ack.brain_version == "1.13.0"
    assert list(batches[0].events) == []


def test_an_ack_for_another_batch_proves_nothing():
    """The brain's next word counts."""

    async def brain(peer):
        await peer.accept()
        batch = await peer.receive()
        await peer.send_bytes(
            peer.session.send_event_batch_ack("ev_other", 0, 0, 0, frame_id="eba_1", now_ns=_now())
        )
        await peer.ack(batch)

    assert talk_to(brain).is_proven


def test_no_connection_is_told_in_the_agents_words():
    """Nothing was open."""
    talk = talk_to()
    assert (talk.is_open, talk.ack) == (False, None)
    assert isinstance(talk.error, ConnectFailed)
    assert talk.failure.text


@pytest.mark.parametrize("code", [4401, 4426, 4429])
def test_a_close_before_hello_ack_is_diagnosed_as_such(code):
    """The agent would say the same."""

    async def brain(peer):
        await peer.receive()
        await peer.close(code)

    talk = talk_to(brain)
    assert talk.ack is None
    assert f"(close code {code})" in talk.failure.text


@pytest.mark.parametrize("code", [4403, 4429, 4003])
def test_a_close_after_hello_ack_is_diagnosed_as_such(code):
    """4403 then means the secret."""

    async def brain(peer):
        await peer.accept()
        await peer.receive()
        await peer.close(code)

    talk = talk_to(brain)
    assert talk.ack is not None
    assert not talk.is_proven
    assert f"(close code {code})" in talk.failure.text


def test_a_waiting_command_is_answered_as_failed_with_the_reason():
    """It would hang otherwise; it is not carried out, and not acknowledged."""
    command_id = "55555555-5555-4555-8555-555555555555"
    answers = []

    async def brain(peer):
        await peer.accept()
        batch = await peer.receive()
        await peer.command(command_id, CommandPayload(action="cancel_task"))
        answers.append(await peer.receive())
        await peer.ack(batch)

    talk = talk_to(brain)

    (answer,) = answers
    assert isinstance(answer, CommandFinished)
    assert answer.command_id == command_id
    assert not answer.result.is_success
    assert "only z4j-otel doctor" in answer.result.error
    assert (talk.commands_refused, talk.is_proven) == (1, True)


@pytest.mark.parametrize("is_fatal", [True, False])
def test_only_a_fatal_error_of_the_brain_ends_the_talk(is_fatal):
    """Others are news for an agent."""

    async def brain(peer):
        await peer.accept()
        batch = await peer.receive()
        error = ErrorPayload(code="agent_incompatible", message="old", fatal=is_fatal)
        await peer.send_bytes(peer.session.send_error(error, frame_id="err_1", now_ns=_now()))
        await peer.ack(batch)

    talk = talk_to(brain)
    assert talk.is_proven is not is_fatal


def test_anything_else_than_hello_ack_is_no_brain():
    """A server that talks of something else."""

    async def brain(peer):
        await peer.receive()
        await peer.send_bytes(json.dumps({"v": 2, "type": "hello", "id": "x"}).encode())

    talk = talk_to(brain)
    assert (talk.ack, talk.is_proven) == (None, False)


def test_another_clock_is_measured_and_the_frame_still_counts():
    """Signed with the brain's time, as the agent does."""
    clock = ManualClock()
    clock.step(-300)
    brain = DevBrain(ManualClock())
    agent = brain.mint_agent()
    transport = MemoryTransport(brain, agent.token)
    talk = asyncio.run(converse(transport, decode_secret(agent.hmac_secret), HELLO, clock))

    assert talk.is_proven
    assert talk.offset_s == pytest.approx(300, abs=1)


def test_a_brain_that_tells_no_time_is_not_measured(loop, clock):
    """Neither in hello_ack nor in a header."""
    talk = loop.run_until_complete(converse(Silent([hello_ack()]), KEY, HELLO, clock))
    assert talk.ack is not None
    assert talk.offset_s is None


def test_the_header_tells_the_time_where_hello_ack_does_not(loop, clock):
    """As over long-poll."""
    brain = Silent([hello_ack()])
    brain.server_time_ns = clock.now_ns() + 60_000_000_000
    talk = loop.run_until_complete(converse(brain, KEY, HELLO, clock))
    assert talk.offset_s == pytest.approx(60, abs=1)


def test_a_way_without_acks_tells_of_delivery():
    """As long-poll does."""
    talk = asyncio.run(_converse_confirming())
    assert talk.is_proven


async def _converse_confirming():
    class Confirming:
        server_time_ns = None

        def __init__(self, inner):
            self._inner = inner

        def on_delivered(self, callback):
            self._tell = callback

        async def send(self, data):
            await self._inner.send(data)
            frame = json.loads(data)
            if frame["type"] == "event_batch":
                self._tell(frame["id"])

        async def receive(self):
            return await self._inner.receive()

        async def close(self, code=1000, reason=""):
            await self._inner.close(code, reason)

    class Way:
        async def connect(self):
            return Confirming(await ScriptedBrain(_only_hello, key=KEY).connect())

    return await converse(Way(), KEY, HELLO, SystemClock())


async def _only_hello(peer):
    await peer.accept()
    await peer.receive()


class Silent:
    """A connection on which the other side says less and less."""

    def __init__(self, answers=()):
        self._answers = list(answers)
        self.is_closed = False

    async def connect(self):
        """Be one's own connection."""
        return self

    async def send(self, data):
        """Take it."""

    async def receive(self):
        """Answer, or wait for ever."""
        if self._answers:
            return self._answers.pop(0)
        return await asyncio.Event().wait()

    async def close(self, code=1000, reason=""):
        """Never come to an end."""
        self.is_closed = True
        await asyncio.Event().wait()


def hello_ack(at_ns=None):
    """Return an answer to hello."""
    names = ("agent_id", "project_id", "session_id")
    payload = dict.fromkeys(names, "11111111-1111-4111-8111-111111111111")
    frame = {"v": 2, "type": "hello_ack", "id": "hack_1"}
    if at_ns is not None:
        frame["ts"] = iso_z(at_ns)
    return json.dumps({**frame, "payload": {"protocol_version": "2", **payload}}).encode()


def test_a_brain_that_never_answers_hello_is_given_up(loop, clock):
    """After ten seconds, and the connection is closed whether it ends or not."""
    brain = Silent()
    talk = loop.run_until_complete(converse(brain, KEY, HELLO, clock))
    assert talk.failure.key == "hello_timeout"
    assert brain.is_closed


def test_a_brain_that_never_acknowledges_is_given_up(loop, clock):
    """It reads, and its database takes nothing."""
    talk = loop.run_until_complete(converse(Silent([hello_ack(clock.now_ns())]), KEY, HELLO, clock))
    assert talk.failure.key == "unacked"


def test_the_doctors_place_is_the_same_every_time():
    """One for each machine, and no worker's."""
    assert doctor_worker_id() == doctor_worker_id()
    assert doctor_worker_id().startswith("doctor-")


def _now():
    return SystemClock().now_ns()


def test_a_knock_waits_a_moment_for_a_refusal(loop):
    """No refusal is good news, and nothing has been said."""
    brain = Silent()
    talk = loop.run_until_complete(knock(brain))
    assert (talk.is_open, talk.failure, talk.ack) == (True, None, None)
    assert brain.is_closed


def test_a_knock_that_is_refused_is_diagnosed():
    """By the code, as after hello."""

    class Closing(Silent):
        async def receive(self):
            raise ConnectionLost(4401)

        async def close(self, code=1000, reason=""):
            self.is_closed = True

    talk = asyncio.run(knock(Closing()))
    assert (talk.is_open, talk.failure.key) == (True, "token")


def test_a_knock_at_a_closed_door_is_diagnosed():
    """Nothing was open."""
    talk = asyncio.run(knock(ScriptedBrain(key=KEY)))
    assert (talk.is_open, type(talk.error)) == (False, ConnectFailed)


def test_a_frame_before_hello_is_passed_over(loop):
    """No brain sends one."""
    talk = loop.run_until_complete(knock(Silent([b"{}"])))
    assert (talk.is_open, talk.failure) == (True, None)
