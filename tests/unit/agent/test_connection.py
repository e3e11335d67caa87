"""One connection, against the real session code and a scripted brain."""

from __future__ import annotations

import asyncio

import pytest

from z4j_otel.agent.connection import BrainConnection
from z4j_otel.agent.diagnosis import BrainComplained, HelloUnanswered
from z4j_otel.agent.uploader import Uploader
from z4j_otel.errors import ConnectFailed, ConnectionLost, FrameMalformed, SignatureInvalid
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello
from z4j_otel.wire.session import Role, Session


class Scene:
    """A connection with everything around it in sight."""

    def __init__(self, loop, clock, brain, buffer, ledger, kit):
        self.loop, self.brain, self.kit = loop, brain, kit
        self.buffer, self.ledger, self.clock = buffer, ledger, clock
        self.health = {}
        self.commands, self.news = [], []
        self.uploader = Uploader(buffer, ledger, clock)
        self.connection = self.make()

    def make(self):
        """Make another one with the same surroundings."""
        return BrainConnection(
            self.brain,
            Session(Role.AGENT, self.kit.KEY),
            Hello(agent_version="1", framework="bare"),
            uploader=self.uploader,
            reports=self,
            on_command=self.commands.append,
            on_proven=lambda: self.news.append("proven"),
            on_stable=lambda: self.news.append("stable"),
            clock=self.clock,
            heartbeat_s=30,
        )

    def heartbeat(self):
        """Build a heartbeat."""
        return Heartbeat(adapter_health=self.health)

    def status(self, connected_at_ns):
        """Build diagnostics."""
        return AgentStatus(current_session_age_seconds=0)

    def run(self, seconds, *script):
        """Run for a while; each script entry is (moment, function)."""

        async def play():
            for moment, act in script:
                self.loop.call_later(moment, act)
            task = asyncio.ensure_future(self.connection.run())
            await asyncio.wait([task], timeout=seconds)
            if task.done():
                return task.result()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return None

        return self.loop.run_until_complete(play())


@pytest.fixture
def scene(loop, clock, brain, buffer, ledger, kit):
    """Return a connection that has not begun."""
    return Scene(loop, clock, brain, buffer, ledger, kit)


def test_first_frames(scene, brain, kit):
    """Hello comes first, then a heartbeat, diagnostics and the probing batch."""
    scene.run(0.1)
    kinds = [type(frame) for frame in brain.received]
    assert kinds[0] is kit.HelloReceived
    assert set(kinds[1:]) == {
        kit.HeartbeatReceived,
        kit.AgentStatusReceived,
        kit.BatchReceived,
    }
    assert brain.link.closed_with == 1000


def test_probe_proves_but_does_not_settle(scene):
    """The ack of the empty batch proves the signature; it resets no backoff."""
    scene.run(1)
    assert scene.news == ["proven"]


def test_silence_proves_after_two_seconds(scene, brain):
    """A brain that acks no empty batch is trusted after a while without refusal."""
    brain.acks_batches = False
    scene.run(1.9)
    assert scene.news == []
    scene.connection = scene.make()
    scene.run(2.1)
    assert scene.news == ["proven"]


def test_stable_after_the_first_settled_batch(scene, buffer, kit):
    """One acknowledged batch with events makes the connection a success."""
    kit.fill(buffer, 1)
    scene.run(1.5)
    assert scene.news == ["proven", "stable"]
    assert buffer.stats().entries == 0


def test_stable_after_half_a_minute(scene):
    """Without any event a connection is a success when it lasts."""
    scene.run(29)
    assert "stable" not in scene.news
    scene.connection = scene.make()
    scene.run(33)
    assert scene.news[-1] == "stable"


@pytest.mark.parametrize(("brain_s", "expected"), [(10, 11), (3600, 5)])
def test_heartbeat_interval_is_the_shorter_one(scene, brain, kit, brain_s, expected):
    """The brain may ask for more heartbeats than configured, not for fewer."""
    brain.heartbeat_s = brain_s
    scene.run(95)
    assert len(brain.of(kit.HeartbeatReceived)) == expected


def test_status_once_a_minute(scene, brain, kit):
    """Diagnostics go beside a heartbeat, about once a minute."""
    scene.run(100)
    assert len(brain.of(kit.AgentStatusReceived)) == 2


def test_idle_connection_hardly_wakes(scene, loop):
    """Without work nothing but heartbeats runs."""
    turns = []
    inner = loop._selector.select
    loop._selector.select = lambda timeout=None: (turns.append(1), inner(timeout))[1]
    scene.run(100)
    assert len(turns) < 150


def test_new_events_are_sent_when_woken(scene, buffer, brain, kit):
    """Events that come while connected go out at once."""
    scene.run(
        6,
        (5, lambda: kit.fill(buffer, 3)),
        (5, scene.connection.wake),
    )
    assert len(brain.events) == 3


def test_command_is_acked_before_it_is_handed_over(scene, brain, kit):
    """The ack is on the wire when the dispatcher sees the command."""
    scene.commands = None
    seen = []
    scene.connection._on_command = lambda command: seen.append(
        (command.id, [ack.command_id for ack in brain.of(kit.CommandAcked)])
    )
    scene.run(2, (1, lambda: brain.link.command("c-1")))
    assert seen == [("c-1", ["c-1"])]


def test_oversized_health_is_left_out(scene, brain, kit):
    """A heartbeat too large for a frame goes without the engines' state."""
    scene.health = {"celery.worker_details": "x" * 2_000_000}
    scene.run(0.5)
    (beat,) = brain.of(kit.HeartbeatReceived)
    assert beat.payload["adapter_health"] == {}


def test_unopened_connection(scene, brain):
    """A refused connection ends with its cause; nothing was established."""
    brain.failures = [ConnectFailed("refused")]
    ended = scene.run(1)
    assert isinstance(ended.error, ConnectFailed)
    assert not ended.phase.established


def test_unanswered_hello(scene, brain):
    """After ten seconds without hello_ack the connection is given up."""
    brain.answers_hello = False
    ended = scene.run(11)
    assert isinstance(ended.error, HelloUnanswered)
    assert brain.link.closed_with == 1000


def test_close_before_and_after_hello_differ(scene, brain):
    """The phase tells whether hello_ack had arrived."""
    brain.answers_hello = False
    ended = scene.run(5, (1, lambda: brain.link.drop(4401)))
    assert (ended.close_code, ended.phase.established) == (4401, False)
    brain.answers_hello, brain.close_after_hello = True, 4429
    scene.connection = scene.make()
    ended = scene.run(5)
    assert (ended.close_code, ended.phase.established) == (4429, True)


def test_wrong_secret_is_established_but_never_proven(scene, brain):
    """hello_ack comes, the first signed frame is refused, and the phase says so."""
    brain.key = bytes(32)
    ended = scene.run(5)
    assert ended.close_code == 4403
    assert ended.phase.established
    assert not ended.phase.proven
    assert scene.news == []


def test_disconnect_releases_what_was_out(scene, brain, buffer, kit):
    """Events without an ack wait in the buffer for the next connection."""
    brain.acks_batches = False
    kit.fill(buffer, 3)
    ended = scene.run(5, (2, lambda: brain.link.drop(1012)))
    assert isinstance(ended.error, ConnectionLost)
    assert scene.uploader.is_idle
    assert len(buffer.lease(10, max_bytes=10**6, now_ns=kit.EPOCH_NS)) == 3


def flip(data):
    """Change one byte inside the payload."""
    return data.replace(b'"retry_task"', b'"retry_tasl"')


@pytest.mark.parametrize(
    ("spoil", "error"), [(flip, SignatureInvalid), (lambda data: b"no json", FrameMalformed)]
)
def test_bad_frame_of_the_brain_ends_the_connection(scene, brain, spoil, error):
    """A frame that fails our checks is not acted upon and the connection is closed."""

    def send_spoilt():
        brain.link.command("c-1")
        brain.link.say(spoil(brain.link._inbox.get_nowait()))

    ended = scene.run(5, (1, send_spoilt))
    assert isinstance(ended.error, error)
    assert brain.link.closed_with == 1002
    assert scene.commands == []


def test_replayed_frame_ends_the_connection(scene, brain):
    """The same command frame twice is carried out once."""

    def send_twice():
        brain.link.command("c-1")
        frame = brain.link._inbox.get_nowait()
        brain.link.say(frame)
        brain.link.say(frame)

    ended = scene.run(5, (1, send_twice))
    assert type(ended.error).__name__ == "FrameReplayed"
    assert len(scene.commands) == 1


def test_first_frame_must_be_hello_ack(scene, brain):
    """A brain that begins with something else is no brain of this protocol."""
    brain.answers_hello = False
    ended = scene.run(5, (1, lambda: brain.link.say(b'{"v":2,"type":"error","id":"e"}')))
    assert isinstance(ended.error, FrameMalformed)


def test_error_frames(scene, brain, caplog):
    """A harmless complaint is logged; a fatal one ends the connection."""
    ended = scene.run(
        5,
        (1, lambda: brain.link.complain("note", fatal=False)),
        (2, lambda: brain.link.complain("scheduler_upgrade_required", fatal=True)),
    )
    assert isinstance(ended.error, BrainComplained)
    assert "the brain reports note" in caplog.text
