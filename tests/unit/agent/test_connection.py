"""One connection, against the real session code and a scripted brain."""

from __future__ import annotations

import asyncio
import re

import pytest

from z4j_otel.agent.braintime import BrainTime
from z4j_otel.agent.connection import BrainConnection
from z4j_otel.agent.connection_failures import BatchesUnacked, BrainComplained, HelloUnanswered
from z4j_otel.agent.uploader import Uploader
from z4j_otel.errors import (
    BufferFull,
    ConnectFailed,
    ConnectionLost,
    ConnectionSuperseded,
    FrameMalformed,
    SignatureInvalid,
)
from z4j_otel.wire.frames import AgentStatus, Heartbeat, Hello
from z4j_otel.wire.session import FrameTooLarge, Role, Session


class Scene:
    """A connection with everything around it in sight."""

    def __init__(self, loop, clock, brain, buffer, ledger, kit):
        self.loop, self.brain, self.kit = loop, brain, kit
        self.buffer, self.ledger, self.clock = buffer, ledger, clock
        self.health = {}
        self.tasks, self.times_asked_for_all = [], 0
        self.commands, self.news = [], []
        self.asked_behind = []
        self.uploader = Uploader(buffer, ledger, clock)
        self.connection = self.make()

    def make(self, **settings):
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
            time=BrainTime(self.clock),
            heartbeat_s=30,
            **settings,
        )

    def heartbeat(self):
        """Build a heartbeat."""
        return Heartbeat(adapter_health=self.health)

    def ask(self):
        """Note how many heartbeats the brain had when the engines were asked."""
        self.asked_behind.append(len(self.brain.of(self.kit.HeartbeatReceived)))

    def status(self, connected_at_ns):
        """Build diagnostics."""
        return AgentStatus(current_session_age_seconds=0)

    def registry(self, *, is_first):
        """Tell what waits to be told of tasks."""
        self.times_asked_for_all += is_first
        told, self.tasks = self.tasks, []
        return told

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


def test_engines_are_asked_behind_each_heartbeat(scene):
    """What they are asked on another thread never competes with a frame to be sent."""
    scene.run(95)
    assert scene.asked_behind == list(range(1, len(scene.asked_behind) + 1))
    assert len(scene.asked_behind) == len(scene.brain.of(scene.kit.HeartbeatReceived))


def test_status_once_a_minute(scene, brain, kit):
    """Diagnostics go beside a heartbeat, about once a minute."""
    scene.run(100)
    assert len(brain.of(kit.AgentStatusReceived)) == 2


def test_no_status_where_it_is_switched_off(scene, brain, kit):
    """Heartbeats go on."""
    scene.connection = scene.make(tells_status=False)
    scene.run(130)
    assert not brain.of(kit.AgentStatusReceived)
    assert len(brain.of(kit.HeartbeatReceived)) > 5


@pytest.mark.parametrize(
    ("agent_id", "is_told"),
    [("", False), ("11111111-1111-4111-8111-111111111111", False), ("2" * 36, True)],
)
def test_token_of_another_agent_is_told(scene, caplog, agent_id, is_told):
    """Whoever says which agent this is learns that the brain disagrees."""
    scene.connection = scene.make(agent_id=agent_id)
    scene.run(1)
    assert ("set Z4J_TOKEN to that agent's token" in caplog.text) is is_told


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


def test_renewed_connection_ends_when_nothing_is_out(scene, buffer, brain, kit):
    """What was sent is settled first, so that nothing is sent twice."""
    brain.acks_batches = False
    kit.fill(buffer, 1)
    ended = scene.run(
        9,
        (3, scene.connection.renew),
        (5, lambda: [brain.link.ack(batch) for batch in brain.of(kit.BatchReceived)]),
    )
    assert isinstance(ended.error, ConnectionSuperseded)
    assert len(brain.events) == 1
    assert buffer.stats().entries == 0


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


class NarrowTransport:
    """A scripted brain's transport that takes small messages and confirms them itself."""

    def __init__(self, brain, max_bytes):
        self.brain, self.max_bytes = brain, max_bytes
        self.refused, self.takes_s = 0, 0
        brain.acks_batches = False

    async def connect(self):
        """Open a connection whose ``send`` does what a request would."""
        link = await self.brain.connect()
        inner_send = link.send
        confirmed = []

        async def send(data):
            if len(data) > self.max_bytes:
                self.refused += 1
                raise FrameTooLarge(len(data), self.max_bytes)
            await inner_send(data)
            last = self.brain.received[-1]
            if hasattr(last, "events"):
                await asyncio.sleep(self.takes_s)
                confirmed[0](last.frame_id)

        link.send = send
        link.on_delivered = confirmed.append
        return link


def test_transport_that_confirms_by_itself_settles_batches(scene, brain, buffer, kit):
    """Where no acks come as frames, the transport's word empties the buffer and proves us."""
    scene.connection._transport = NarrowTransport(brain, 1_000_000)
    kit.fill(buffer, 3)
    scene.run(0.5)
    assert [event["id"] for event in brain.events] == ["0", "1", "2"]
    assert buffer.stats().entries == 0
    assert scene.news == ["proven", "stable"]


def test_narrow_transport_gets_smaller_batches(scene, brain, buffer, kit):
    """What the transport refuses for its size is sent in parts, in order, nothing lost."""
    scene.connection._transport = narrow = NarrowTransport(brain, 2_000)
    kit.fill(buffer, 50, size=200)
    scene.run(30)
    assert [event["id"] for event in brain.events] == [str(number) for number in range(50)]
    assert buffer.stats().entries == 0
    assert 0 < narrow.refused < 5


def test_narrow_transport_gets_heartbeats_without_health(scene, brain, kit):
    """A sign of life gets through where the workers' details do not."""
    scene.connection._transport = NarrowTransport(brain, 2_000)
    scene.health = {"celery.worker_details": "x" * 5_000}
    scene.run(0.5)
    assert [frame.payload["adapter_health"] for frame in brain.of(kit.HeartbeatReceived)] == [{}]


def test_command_is_carried_out_though_its_ack_fails(scene, brain):
    """A command that was delivered is delivered once only: the connection's end costs it not."""

    def command_and_drop():
        brain.link.command("c-1")
        brain.link._lost = ConnectionLost(1006)

    scene.run(5, (1, command_and_drop))
    assert [command.id for command in scene.commands] == ["c-1"]


HOUR_NS = 3600 * 1_000_000_000


class WrongClock:
    """A machine an hour behind its brain."""

    def __init__(self, clock):
        self.clock = clock

    def now_ns(self):
        """Return the wall clock, nanoseconds."""
        return self.clock.now_ns() - HOUR_NS

    def monotonic_s(self):
        """Return the monotonic clock, seconds."""
        return self.clock.monotonic_s()


def test_commands_wait_for_the_proof_while_the_clock_is_corrected(scene, brain, clock):
    """What came before the first ack of this connection is acked and carried out after it."""
    scene.connection._time = BrainTime(WrongClock(clock))
    brain.acks_batches = False
    seen = []
    scene.run(
        5,
        (1, lambda: [brain.link.command(f"c-{n}") for n in range(2)]),
        (3, lambda: seen.extend(scene.commands)),
        (4, lambda: brain.link.ack(next(f for f in brain.received if hasattr(f, "events")))),
        (4.5, lambda: brain.link.command("c-2")),
    )
    assert seen == []
    assert [command.id for command in scene.commands] == ["c-0", "c-1", "c-2"]


def test_held_commands_follow_a_proof_that_is_no_frame(scene, brain, clock):
    """Where the transport confirms batches, its word lets commands go, in their order."""
    scene.connection._time = BrainTime(WrongClock(clock))
    scene.connection._transport = narrow = NarrowTransport(brain, 1_000_000)
    narrow.takes_s = 1
    seen = []
    scene.run(
        3,
        (0.5, lambda: [brain.link.command(f"c-{n}") for n in range(2)]),
        (0.9, lambda: seen.extend(scene.commands)),
        (1.5, lambda: brain.link.command("c-2")),
    )
    assert seen == []
    assert [command.id for command in scene.commands] == ["c-0", "c-1", "c-2"]


def test_held_commands_survive_a_connection_that_ends_under_their_acks(scene, brain, clock):
    """All that came over a proven connection are carried out, acked or not."""
    scene.connection._time = BrainTime(WrongClock(clock))
    brain.acks_batches = False

    def prove_and_break():
        send = brain.link.send

        async def send_once_more(data):
            await send(data)
            brain.link.drop(1006)

        brain.link.send = send_once_more
        brain.link.ack(next(f for f in brain.received if hasattr(f, "events")))

    scene.run(
        5, (1, lambda: [brain.link.command(f"c-{n}") for n in range(6)]), (2, prove_and_break)
    )
    assert sorted(command.id for command in scene.commands) == [f"c-{n}" for n in range(6)]


def test_commands_are_handed_over_with_their_age(scene, brain, clock):
    """The time on the way counts, by the brain's clock and beyond what clocks may differ."""

    def late():
        brain.link.now_ns = lambda: clock.now_ns() - 40 * 10**9
        brain.link.command("c-2")

    scene.run(3, (1, lambda: brain.link.command("c-1")), (2, late))
    assert [round(command.age_s) for command in scene.commands] == [0, 30]


def test_held_commands_are_bounded(scene, brain, clock):
    """A replay that floods us with commands fills no memory."""
    scene.connection._time = BrainTime(WrongClock(clock))
    brain.acks_batches = False
    scene.run(2, (1, lambda: [brain.link.command(f"c-{n}") for n in range(600)]))
    assert len(scene.connection._held) == 500


def without_time(brain):
    """Let the brain's hello_ack tell no time."""
    connect = brain.connect

    async def connecting():
        link = await connect()
        say = link.say
        link.say = lambda data: say(re.sub(rb',?"ts":"[^"]*"', b"", data, count=1))
        link.server_time_ns = brain.clock.now_ns() + 7200 * 1_000_000_000
        return link

    return connecting


def test_clock_of_the_upgrade_counts_where_hello_ack_tells_none(scene, brain):
    """The Date header stands in for the brain's own word."""
    brain.connect = without_time(brain)
    scene.run(0.001)
    assert scene.connection._time.offset_s == pytest.approx(7200)


def test_broken_storage_does_not_end_the_connection(scene, brain, buffer, kit):
    """While the buffer fails heartbeats go on; when it is mended events do, too."""
    lease = buffer.lease
    kit.fill(buffer, 3)

    def failing(*arguments, **options):
        raise BufferFull

    buffer.lease = failing
    scene.run(60, (40, lambda: setattr(buffer, "lease", lease)))
    assert len(brain.links) == 1
    assert len(brain.events) == 3


def test_unacked_batches_end_the_connection(scene, brain, buffer, kit):
    """Three minutes without any ack, and another connection is tried."""
    brain.acks_batches = False
    kit.fill(buffer, 3)
    ended = scene.run(300)
    assert isinstance(ended.error, BatchesUnacked)
    assert scene.news == ["proven"]


def test_reports_say_less_after_two_ends_without_a_culprit(scene, brain, kit):
    """When only heartbeats can have done it, they go bare for ten minutes, then in full."""
    scene.health = {"celery.queue_depths": "{}"}
    for _ in range(2):
        scene.run(5, (1, lambda: brain.link.drop(1011)))
        scene.connection = scene.make()
    brain.received.clear()
    scene.run(620)
    beats = brain.of(kit.HeartbeatReceived)
    bare = [beat.payload["adapter_health"] == {} for beat in beats]
    assert bare[0]
    assert not bare[-1]
    assert bare == sorted(bare, reverse=True)
    assert len(brain.of(kit.AgentStatusReceived)) == 1
