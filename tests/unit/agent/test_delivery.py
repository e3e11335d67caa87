"""Delivery under faults: the whole agent against the embedded brain, in virtual time.

Every test ends with the same two questions: did every event arrive, and none twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging

import pytest

from z4j_otel.buffer.base import DropReason, EntryKind
from z4j_otel.errors import ConnectFailed
from z4j_otel.wire.frames import Hello
from z4j_otel.wire.session import Role, Session
from z4j_otel.wire.signing import decode_secret

from .field import HOUR, Field


@pytest.fixture
def field(loop, clock, buffer, ledger, kit, caplog):
    """Return an agent and a brain that know nothing of each other yet."""
    caplog.set_level(logging.INFO, "z4j_otel.agent")
    return Field(loop, clock, buffer, ledger, kit)


def told(caplog):
    """Return the lines an operator sees of the connection."""
    return [
        f"{record.levelname} {record.getMessage().removeprefix('[z4j] ')}"
        for record in caplog.records
        if record.name.endswith((".news", ".braintime", ".uploader"))
    ]


def test_brain_down_for_hours(field, caplog):
    """Six hours of refusals: some 650 attempts, two lines, everything delivered after."""
    field.add(5000)
    field.memory.is_refusing = True
    field.play(
        6 * HOUR + 120, (6 * HOUR, lambda: setattr(field.memory, "is_refusing", False))
    ).check()
    assert 700 < field.network.connects < 730
    assert [line.split(":")[0] for line in told(caplog)] == [
        "WARNING not connected to the brain",
        "INFO connected to the brain",
    ]


def test_brain_restarts_again_and_again(field):
    """A close with 1012 every seven seconds loses nothing."""
    restarts = [(7 * n, lambda: field.brain.operator.disconnect(1012)) for n in range(1, 20)]
    more = [(7 * n + 3, lambda: field.add(100)) for n in range(1, 20)]
    field.play(300, *restarts, *more).check()


def test_slow_brain_is_given_time(field):
    """One ack a second: all arrives, nothing is sent twice."""
    field.brain.faults.limit_acks(1)
    field.add(3000)
    field.play(120).check()
    assert field.ledger.resent == 0


def test_very_slow_brain_gets_smaller_batches(field):
    """Acks that take twenty seconds shrink the batches."""
    field.brain.faults.delay_acks(20)
    field.add(2000)
    field.play(600).check()
    assert field.status["batch_limit"] == 25


@pytest.mark.parametrize(
    "fault",
    [
        lambda faults: faults.drop_acks(5),
        lambda faults: faults.lose_batches(5),
        lambda faults: faults.repeat_acks(20),
        lambda faults: faults.reorder_acks(4),
        lambda faults: faults.ack_unknown_ids(20),
        lambda faults: faults.corrupt_signatures(3),
        lambda faults: faults.close_at_batch(1011, count=4),
        lambda faults: faults.close_at_batch(4400, count=4),
        lambda faults: faults.close_at_batch(1009, count=4),
        lambda faults: faults.close_at_hello(1012, count=3),
    ],
)
def test_faults_of_acks_and_closes(field, fault):
    """Lost, repeated, reordered, foreign, forged: every event arrives once."""
    field.add(1500)
    fault(field.brain.faults)
    field.play(900).check()
    assert field.buffer.stats().dropped == {}
    assert field.ledger.acked == 1500


def test_acks_for_good_lost_lead_to_another_connection(field, caplog):
    """A brain that acknowledges nothing is left after three minutes, with one line."""
    field.brain.faults.lose_batches(9999)
    field.add(10)
    field.play(500, (450, field.brain.faults.clear))
    assert field.network.connects == 3
    assert sum("acknowledges nothing" in line for line in told(caplog)) == 1


@pytest.mark.parametrize("boundary", range(25))
def test_cut_at_every_frame_sent(field, boundary):
    """The connection breaks before the n-th frame; nothing is lost or told twice."""
    field.add(900)
    field.network.cut_after_sends(boundary)
    field.play(120).check()
    assert field.network.connects >= 1


@pytest.mark.parametrize("boundary", range(12))
def test_cut_at_every_frame_received(field, boundary):
    """The connection breaks before the n-th frame of the brain; nothing is lost."""
    field.add(900)
    field.network.cut_after_receives(boundary)
    field.play(120).check()


def test_silent_loss_of_frames(field):
    """A network that swallows frames: the brain closes nothing, batches are sent again."""
    field.add(900)
    field.network.lose_sends(6)
    field.play(600).check()


@pytest.mark.parametrize("position", [0, 137, 499])
def test_poison_blocks_nobody(field, position):
    """The one event the brain chokes on is rejected and counted; all others arrive."""
    field.add(500)
    poison = json.loads(field.buffer.lease(500, max_bytes=10**9, now_ns=0)[position].body)
    field.buffer.release(range(1, 501))
    field.brain.faults.choke_on(poison["id"])
    field.play(600, (550, lambda: field.add(1))).check(missing=[poison["task_id"]])
    assert field.buffer.stats().dropped == {(EntryKind.EVENT, DropReason.REJECTED): 1}


def test_probe_that_is_lost_after_a_suspicion_is_sent_again(field):
    """Until it is acked nothing else may go: neither for good nor in a loop without a pause."""
    field.add(20)
    (entry,) = field.buffer.lease(1, max_bytes=10**9, now_ns=0)
    field.buffer.release([entry.sequence])
    field.brain.faults.choke_on(json.loads(entry.body)["id"])

    def recover_but_lose_the_probe():
        field.brain.faults.clear()
        field.brain.faults.lose_batches()

    field.play(120, (0.5, recover_but_lose_the_probe)).check()


def test_brain_that_chokes_on_everything_costs_nothing(field):
    """For an hour every batch ends the connection: nothing is rejected, all arrives after."""
    field.add(300)
    field.brain.faults.close_at_batch(1011, count=100_000)

    def mend():
        field.brain.faults.clear()

    field.play(2 * HOUR, (HOUR, mend), (HOUR + 1200, lambda: field.add(1)))
    field.check()
    assert field.buffer.stats().dropped == {}


def test_frames_fit_what_the_brain_announces(field):
    """With a cap of 8 KiB batches shrink, and an event of 30 KB is reduced, not lost."""
    field.build(max_frame_bytes=8192)
    field.add(50, size=1000)
    field.add(1, size=30_000)
    field.add(50, size=1000)
    field.play(120).check()
    assert field.buffer.stats().dropped == {}
    assert "4400" not in str(field.status)
    reduced = next(e for e in field.brain.events() if e.task_id == "t-50")
    assert reduced.data["reduced"] == ["blob"]


CLOSES = [
    (1000, "connection", [1, 2, 4, 8, 16, 30]),
    (1001, "connection", [1, 2, 4, 8, 16, 30]),
    (1011, "protocol", [1, 2, 4, 8, 16, 32, 60]),
    (1012, "connection", [1, 2, 4, 8, 16, 30]),
    (4002, "slot", [30, 60, 120, 240, 480, 600]),
    (4400, "protocol", [1, 2, 4, 8, 16, 32, 60]),
    (4401, "auth", [10, 20, 40, 80, 160, 320, 600]),
    (4403, "auth", [10, 20, 40, 80, 160, 320, 600]),
    (4408, "connection", [1, 2, 4, 8, 16, 30]),
    (4426, "incompatible", [120, 240, 480, 960, 1920, 3600]),
    (4427, "incompatible", [120, 240, 480, 960, 1920, 3600]),
    (4429, "capacity", [60, 120, 240, 480, 600]),
]


@pytest.mark.parametrize(("code", "kind", "delays"), CLOSES)
def test_each_close_code_has_its_pauses_one_line_and_an_end(field, caplog, code, kind, delays):
    """Pauses grow as documented, the log has one line, and the agent recovers by itself."""
    field.add(10)
    opened = []
    connect = field.memory.connect

    async def noting():
        opened.append(round(field.loop.time(), 3))
        return await connect()

    field.memory.connect = noting
    count = len(delays) + 2
    field.brain.faults.close_at_hello(code, count=count)
    field.play(sum(delays) + 3 * max(delays) + 60).check()
    assert [b - a for a, b in itertools.pairwise(opened)] == [
        *delays,
        delays[-1],
        delays[-1],
    ]
    lines = told(caplog)
    assert [line.split()[0] for line in lines] == ["WARNING", "INFO"]
    assert lines[0].endswith(f"next attempt in {delays[0]} s")
    assert field.status["failures_in_a_row"] == {}


FAILURES = [
    (ConnectFailed("nobody listens at u", cause="refused"), "is the brain up", "connection"),
    (ConnectFailed("no HTTP", cause="not_http"), "is Z4J_BRAIN_URL the brain's", "connection"),
    (ConnectFailed("no TLS", cause="no_tls"), "use http:// for this port", "connection"),
    (ConnectFailed("expired", cause="tls_expired"), "renew it, or set", "connection"),
    (ConnectFailed("other host", cause="tls_host"), "use the name in", "connection"),
    (ConnectFailed("unknown CA", cause="tls_issuer"), "set Z4J_CA_FILE", "connection"),
    (ConnectFailed("HTTP 404", http_status=404), "check brain_url", "connection"),
    (ConnectFailed("redirects", http_status=301), "redirects", "connection"),
    (ConnectFailed("a page", http_status=200), "a page", "connection"),
    (ConnectFailed("HTTP 502", http_status=502), "a proxy answers", "connection"),
    (ConnectFailed("HTTP 401", http_status=401), "asks for a login", "auth"),
    (ConnectFailed("HTTP 403", http_status=403), "a proxy forbids", "auth"),
    (ConnectFailed("HTTP 429", http_status=429), "too many", "capacity"),
]
PAUSES = {
    "connection": [1, 2, 4, 8, 16, 30, 30],
    "auth": [10, 20, 40, 80, 160, 320, 600, 600],
    "capacity": [60, 120, 240, 480, 600, 600],
}


@pytest.mark.parametrize(("failure", "words", "kind"), FAILURES)
def test_each_failure_to_connect_has_its_pauses_and_one_line(field, caplog, failure, words, kind):
    """Whatever is in the way: pauses as documented, one clear line, recovery by itself."""
    field.add(10)
    opened, delays = [], PAUSES[kind]
    connect = field.memory.connect

    async def failing():
        opened.append(round(field.loop.time(), 3))
        if len(opened) <= len(delays):
            raise failure
        return await connect()

    field.memory.connect = failing
    field.play(sum(delays) + 60).check()
    assert [b - a for a, b in itertools.pairwise(opened)] == delays
    bad, good = told(caplog)
    assert words in bad
    assert bad.endswith(f"next attempt in {delays[0]} s")
    assert good == "INFO connected to the brain"


def test_wrong_secret(field, caplog):
    """The first signed frame is refused each time: pauses grow to ten minutes, one line."""
    field.add(10)
    field.brain.operator.rotate_secret()
    field.play(3000)
    assert field.network.connects == 10
    (line,) = told(caplog)
    assert "Z4J_HMAC_SECRET does not belong" in line
    assert len(field.brain.events()) == 0
    assert field.buffer.stats().entries == 10


def test_revoked_in_mid_session_and_minted_anew(field, caplog):
    """Two closes, one line; with the new token everything goes on by itself."""

    def mint():
        field.token = field.brain.mint_agent("again").token

    field.play(
        400,
        (5, lambda: field.add(10)),
        (50, lambda: field.brain.operator.revoke(field.credentials.agent_id)),
        (60, lambda: field.add(10)),
        (200, mint),
    ).check()
    lines = told(caplog)
    assert [line.split()[0] for line in lines] == ["INFO", "WARNING", "INFO"]
    assert "revoked this agent's token, or the project was archived" in lines[1]


def test_project_archived_and_restored(field, caplog):
    """While the project is archived the agent waits; then it goes on."""
    project = field.brain._state.project("default")
    field.play(
        400,
        (5, lambda: field.add(10)),
        (50, field.brain.operator.archive),
        (60, lambda: field.add(10)),
        (200, lambda: setattr(project, "is_archived", False)),
    ).check()
    assert [line.split()[0] for line in told(caplog)] == ["INFO", "WARNING", "INFO"]


def test_worker_cap_reached(field, caplog):
    """Without a free slot the agent asks every minute and more; then it gets one."""
    field.build(worker_cap=1)
    field.add(10)
    other = field.brain.open(field.token)
    session = Session(Role.AGENT, decode_secret(field.credentials.hmac_secret))
    hello = Hello(agent_version="1", framework="bare", worker_id="other")
    other.receive(session.send_hello(hello, frame_id="h"))
    field.play(500, (150, other.disconnected)).check()
    lines = told(caplog)
    assert [line.split()[0] for line in lines] == ["WARNING", "INFO"]
    assert "ws_per_agent_concurrency_cap" in lines[0]
    assert "60 s" in lines[0]
    assert field.network.connects == 3


@pytest.mark.parametrize("hours", [-5, 3, 48])
def test_clock_wrong_by_hours(field, caplog, hours):
    """Signatures follow the brain's clock, commands come through, one line tells of it."""
    field.machine_clock.offset_s = hours * HOUR
    field.add(100)
    commands = []

    def order():
        commands.append(field.brain.issue("submit_task", unchecked=True, engine="celery"))

    field.play(100, (0, order), (50, order)).check()
    assert field.executed == [command.id for command in commands]
    assert field.status["clock_offset_s"] == -hours * HOUR
    lines = [line for line in told(caplog) if "clock" in line]
    assert len(lines) == 1
    assert f"{abs(hours)} h 0 min" in lines[0]
    (beat, *_) = [payload for _, payload in field.brain.heartbeats]
    assert float(beat["adapter_health"]["agent.clock_offset_s"]) == -hours * HOUR


def test_clock_stepped_in_mid_session(field, caplog):
    """NTP moves the clock by hours, twice, and the connection does not notice."""

    def step(offset_s):
        field.machine_clock.offset_s = offset_s

    field.play(
        300,
        (5, lambda: field.add(10)),
        (50, lambda: step(4 * HOUR)),
        (60, lambda: field.add(10)),
        (150, lambda: step(0)),
        (160, lambda: field.add(10)),
    ).check()
    assert field.network.connects == 1
    assert [line.split()[0] for line in told(caplog)] == ["INFO", "WARNING", "INFO"]


def test_replayed_session_gets_no_command_carried_out(field):
    """A recorded session, played back later, sets the clock back but commands nothing."""
    recorded = []
    connect = field.memory.connect

    class Tap:
        """Notes what the brain says."""

        def __init__(self, inner):
            self.send, self.close, self.inner = inner.send, inner.close, inner

        async def receive(self):
            """Return the next frame, noted."""
            frame = await self.inner.receive()
            recorded.append(frame)
            return frame

    async def recording():
        return Tap(await connect())

    field.memory.connect = recording
    field.play(30, (1, lambda: field.brain.issue("submit_task", unchecked=True, engine="celery")))
    assert len(field.executed) == 1

    class Replay:
        """Says the same again."""

        def __init__(self):
            self.frames = list(recorded)

        async def send(self, data):
            """Take anything."""

        async def receive(self):
            """Return the next recorded frame."""
            if not self.frames:
                await asyncio.sleep(1e6)
            return self.frames.pop(0)

        async def close(self, code=1000, reason=""):
            """Do nothing."""

    async def replaying():
        return Replay()

    field.memory.connect = replaying
    field.buffer.begin_command = lambda *_, **__: True  # as after a day, when ids are forgotten
    field.loop.now_s += 5 * HOUR
    field.play(30)
    assert len(field.executed) == 1
