"""The agent's parts together, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools

import pytest

from z4j_otel.agent.hello import HelloBuilder
from z4j_otel.agent.loop import AgentLoop
from z4j_otel.agent.parts import Parts
from z4j_otel.agent.schedules.native import NativeSchedules
from z4j_otel.buffer.base import EntryKind
from z4j_otel.commands import CommandResult, CommandStatus
from z4j_otel.errors import BufferFull, ConnectFailed
from z4j_otel.redaction import Redactor

from .schedules.scripted import Adapter, MemoryScheduler, activation, schedule


class ListImporter:
    """A journal that is a list."""

    def __init__(self, buffer, loop):
        self.buffer, self.loop = buffer, loop
        self.pending, self.asked_at, self.is_closed = [], [], False

    def import_pending(self, now_ns):
        """Hand over what is pending."""
        self.asked_at.append(self.loop.now_s)
        count = len(self.pending)
        self.buffer.append([(EntryKind.EVENT, body) for body in self.pending], now_ns=now_ns)
        self.pending.clear()
        return count

    def close(self):
        """Close; remembered for the test."""
        self.is_closed = True


class Scene:
    """An agent's loop on virtual time."""

    def __init__(self, loop, clock, brain, buffer, ledger, kit):
        self.loop, self.brain, self.buffer, self.kit = loop, brain, buffer, kit
        self.importer = ListImporter(buffer, loop)
        self.states, self.announced_at = [], []
        self.on_idle = None
        hello = HelloBuilder(started_at_ns=clock.now_ns())
        hello.add_engine(kit.FakeEngine())
        self.parts = Parts(
            key=kit.KEY,
            heartbeat_s=30,
            transport=brain,
            buffer=buffer,
            importer=self.importer,
            engines={},
            hello=hello,
            ledger=ledger,
            redactor=Redactor(),
            clock=clock,
            random=lambda: 0.0,
            run_command=lambda command: CommandResult(CommandStatus.SUCCESS, {"x": 1}),
            announce=lambda: self.announced_at.append(loop.now_s),
        )

    def play(self, script):
        """Run the loop beside a coroutine function, which is given it."""

        async def both():
            work = AgentLoop(self.parts, on_state=self.states.append, on_idle=self.on_idle)
            # Threads do not know virtual time: commands run in place.
            work._dispatcher._lanes._jobs = self
            task = asyncio.ensure_future(work.run())
            result = await script(work)
            await work.stop(1)
            await task
            return result

        return self.loop.run_until_complete(both())

    def submit(self, job):
        """Take a job."""
        job()

    def add(self, count):
        """Journal some events."""
        self.importer.pending += [self.kit.event_bytes(n) for n in range(count)]


@pytest.fixture
def scene(loop, clock, brain, buffer, ledger, kit):
    """Return an agent's loop that has not begun."""
    return Scene(loop, clock, brain, buffer, ledger, kit)


def test_events_travel_from_the_journal_to_the_brain(scene, brain, ledger):
    """What is journalled arrives, and the counts agree."""

    async def script(work):
        await asyncio.sleep(1)
        scene.add(5)
        await asyncio.sleep(3)
        return scene.buffer.stats().entries

    assert scene.play(script) == 0
    assert len(brain.events) == 5
    assert (ledger.imported, ledger.acked) == (5, 5)


def test_event_that_no_import_counted_is_sent_soon_all_the_same(scene, brain):
    """What lies in the buffer does not wait for the next task to be captured."""

    async def script(work):
        await asyncio.sleep(60)
        scene.buffer.append([(EntryKind.EVENT, b'{"id":"1"}')], now_ns=1)
        await asyncio.sleep(3)
        return scene.buffer.stats().entries

    assert scene.play(script) == 0


def test_idle_agent_looks_every_two_seconds(scene):
    """Without records the journal is looked at now and then, and soon when they come."""

    async def script(work):
        await asyncio.sleep(100)
        quiet = [at for at in scene.importer.asked_at if at > 50]
        scene.add(1)
        await asyncio.sleep(1.3)
        scene.add(1)
        before = len(scene.importer.asked_at)
        await asyncio.sleep(1)
        return len(quiet), len(scene.importer.asked_at) - before

    quiet, busy = scene.play(script)
    assert quiet == 25
    assert busy >= 3


def test_idle_agent_sleeps_until_a_record_calls(scene):
    """Where this process captures it looks every five seconds, and at once when called."""
    calls = []
    scene.on_idle = calls.append

    async def script(work):
        await asyncio.sleep(100)
        looked_at = sorted(set(scene.importer.asked_at))
        scene.add(1)
        calls[-1]()
        await asyncio.sleep(0.01)
        return looked_at, len(scene.importer.pending)

    looked_at, pending = scene.play(script)
    assert [later - at for at, later in itertools.pairwise(looked_at)][-3:] == [5.0, 5.0, 5.0]
    assert pending == 0


def test_workers_are_announced_at_start_and_hourly(scene):
    """The roll is called at once, and again an hour later."""
    scene.brain.acks_batches = False

    async def script(work):
        await asyncio.sleep(3_700)

    scene.play(script)
    assert scene.announced_at[0] == 0
    assert 3_600 <= scene.announced_at[1] <= 3_602
    assert len(scene.announced_at) == 2


def test_failing_importer_and_announcement_do_not_stop_the_agent(scene, kit, brain):
    """Errors of other parts are kept away from the connection."""

    def fail(*arguments):
        raise OSError

    object.__setattr__(scene.parts, "announce", fail)
    scene.importer.import_pending = fail

    async def script(work):
        await asyncio.sleep(12)

    scene.play(script)
    assert len(brain.of(kit.HeartbeatReceived)) == 3
    assert scene.states == [True, False]


def test_journal_that_cannot_be_read_is_told_once(scene, brain, caplog):
    """One line with what to do, one when it is over; a full buffer has told of itself."""
    caplog.set_level("INFO", "z4j_otel.agent.loop")
    read = scene.importer.import_pending

    def denied(now_ns):
        raise PermissionError(13, "Permission denied", "/journal/active.log")

    def full(now_ns):
        raise BufferFull("the disk takes nothing")

    async def script(work):
        for behaviour in (full, denied, read, full, denied):
            scene.importer.import_pending = behaviour
            await asyncio.sleep(8)

    scene.parts.importer.import_pending = full
    scene.play(script)
    assert [line.split(":")[0] for line in caplog.messages] == [
        "the journal /journal/active.log cannot be read (Permission denied)",
        "the journal can be read again",
        "the journal /journal/active.log cannot be read (Permission denied)",
    ]


def test_cancelled_stop_ends_the_agent_all_the_same(scene, brain):
    """Nobody may go on after the time limit: the files are given up behind it."""
    brain.acks_batches = False
    scene.add(1)

    async def script(work):
        await asyncio.sleep(1)
        stopping = asyncio.ensure_future(work.stop(100))
        await asyncio.sleep(1)
        stopping.cancel()
        await asyncio.sleep(2)
        assert (brain.link.closed_with, scene.importer.is_closed) == (1000, True)

    scene.play(script)


def test_flush_delivers_what_was_captured(scene, brain):
    """Flush imports, sends and waits for the acks, without any lingering."""
    scene.add(450)

    async def script(work):
        begin_s = scene.loop.now_s
        return await work.flush(5), scene.loop.now_s - begin_s

    is_done, took_s = scene.play(script)
    assert is_done
    assert took_s < 0.2
    assert len(brain.events) == 450


def test_flush_gives_up_in_time(scene, brain):
    """Without a brain flush returns False at its deadline and loses nothing."""
    brain.failures = [ConnectFailed("x")] * 50
    scene.add(3)

    async def script(work):
        return await work.flush(5), scene.loop.now_s, scene.buffer.stats().entries

    is_done, now_s, entries = scene.play(script)
    assert not is_done
    assert 5 <= now_s < 5.1
    assert entries == 3


def test_command_is_answered_over_the_buffer(scene, brain, kit):
    """A command's result is stored, sent at once, and gone when the brain has read it."""

    async def script(work):
        await asyncio.sleep(1)
        brain.link.command("c-1")
        await asyncio.sleep(0.5)
        finished = brain.of(kit.CommandFinished)
        await asyncio.sleep(2)
        return finished, scene.buffer.stats().entries

    (finished, entries) = scene.play(script)
    assert [(f.command_id, f.result.result) for f in finished] == [("c-1", {"x": 1})]
    assert entries == 0


def test_result_is_sent_even_when_it_cannot_be_stored(scene, brain, kit):
    """A full disk does not cost the brain its answer."""

    async def script(work):
        await asyncio.sleep(1)
        scene.buffer.close()
        brain.link.command("c-1")
        await asyncio.sleep(0.5)
        return len(brain.of(kit.CommandFinished))

    assert scene.play(script) >= 1


def test_result_survives_a_reconnect(scene, brain, kit):
    """A result whose connection broke is sent again on the next one."""
    brain.acks_batches = False

    async def script(work):
        await asyncio.sleep(3)
        brain.link.command("c-1")
        await asyncio.sleep(0.5)
        brain.acks_batches = True
        brain.link.drop(1012)
        await asyncio.sleep(5)
        return len(brain.of(kit.CommandFinished)), scene.buffer.stats().entries

    assert scene.play(script) == (2, 0)


def test_end_closes_everything(scene, brain):
    """After the end the connection is closed with 1000, journal and buffer with it."""

    async def script(work):
        await asyncio.sleep(1)

    scene.play(script)
    assert brain.link.closed_with == 1000
    assert scene.importer.is_closed
    assert scene.states == [True, False]


def test_status_is_complete_and_plain(scene):
    """The snapshot shows connection, buffer and counts, and no secrets."""

    async def script(work):
        await asyncio.sleep(1)
        return work.status()

    status = scene.play(script)
    assert status["state"] == "connected"
    assert status["brain_version"] == "1.13.0"
    assert status["engines"] == ["celery"]
    assert status["buffer"]["entries"] == status["commands_held"] == 0
    assert repr(scene.kit.KEY) not in repr(status) + repr(scene.parts)


def test_state_is_shown_at_most_every_five_seconds_and_at_the_end(scene):
    """Whoever shows it gets the state on the way, and the last one when all is over."""
    shown = []
    parts = dataclasses.replace(
        scene.parts, show=lambda status: shown.append((scene.loop.now_s, status["state"]))
    )
    scene.parts = parts

    async def script(work):
        await asyncio.sleep(21)

    scene.play(script)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(shown[:-1])]
    assert all(5 <= gap <= 8 for gap in gaps)
    assert len(shown) >= 4
    assert [state for _, state in shown[1:]] == ["connected"] * (len(shown) - 2) + ["stopped"]


def test_failing_display_does_not_end_the_agent(scene, brain):
    """A disk that is full costs the display only."""

    def fail(_status):
        raise OSError(28, "No space left on device")

    scene.parts = dataclasses.replace(scene.parts, show=fail)

    async def script(work):
        scene.add(2)
        await asyncio.sleep(10)

    scene.play(script)
    assert len(brain.events) == 2


def test_status_names_the_way_to_the_brain(scene, brain):
    """A transport that has several ways says which one is in use."""

    async def script(work):
        ways = [work.status()["transport"]]
        brain.way = "longpoll"
        return [*ways, work.status()["transport"]]

    assert scene.play(script) == ["ws", "longpoll"]


def test_schedules_are_offered_activated_and_told(scene, brain, clock):
    """From the introduction to the inventory, over the session's own frames."""
    scheduler = MemoryScheduler(schedule("a"))
    desk = NativeSchedules({"celery": Adapter(scheduler)}, Redactor())
    scene.parts = dataclasses.replace(scene.parts, schedules=desk)

    async def script(work):
        await asyncio.sleep(1)
        brain.link.command("c-1", "schedule.external.activate", parameters=activation())
        await asyncio.sleep(3)
        return work.status()

    status = scene.play(script)
    hello = brain.of(scene.kit.HelloReceived)[0].hello
    assert hello.schedulers == ["celery-beat"]
    assert "external_schedule_protocol_v1" in hello.runtime_features
    assert [event["kind"] for event in brain.events] == ["schedule.snapshot"] * 2
    assert brain.of(scene.kit.CommandFinished)[0].result.result["sequence"] == 1
    assert status["schedules"] == {
        "is_owner": True,
        "streams": {"celery-beat": {"mirrored": True, "schedules": 1, "sequence": 1}},
    }
    assert "celery-beat" not in status["capabilities"]


def test_agent_without_schedules_offers_none(scene, brain):
    """Nor does one whose local policy denies to tell them."""
    desk = NativeSchedules({"celery": Adapter(MemoryScheduler())}, Redactor())
    for change in ({}, {"schedules": desk, "offered": lambda _tokens: []}):
        scene.parts = dataclasses.replace(scene.parts, **change)

        async def script(work):
            await asyncio.sleep(1)
            return work.status()["schedules"]

        assert scene.play(script) is None
    assert {tuple(each.hello.schedulers) for each in brain.of(scene.kit.HelloReceived)} == {()}


@pytest.mark.parametrize(
    ("version", "way", "expected"),
    [
        ("1.13.0", "ws", True),
        ("1.8.0", "ws", True),
        ("", "ws", True),
        ("2.0.0", "ws", True),
        ("1.7.9", "ws", False),
        ("1.0.6", "ws", False),
        ("1.13.0", "longpoll", False),
    ],
)
def test_brains_that_take_schedules(scene, brain, version, way, expected):
    """By WebSocket, from 1.8 on."""

    async def script(work):
        await asyncio.sleep(1)
        brain.way = way
        work._supervisor.connection.session.brain_version = version
        return work._brain_takes_schedules()

    assert scene.play(script) is expected


def test_engine_whose_schedulers_fail_does_not_end_the_agent(scene, brain):
    """The schedulers of the others are offered all the same."""
    no_schedulers, no_tokens = Adapter(), MemoryScheduler(name="other")
    no_schedulers.schedulers = no_tokens.capabilities = lambda: 1 // 0
    engines = {"a": no_schedulers, "b": Adapter(no_tokens), "c": Adapter(MemoryScheduler())}
    desk = NativeSchedules(engines, Redactor())
    scene.parts = dataclasses.replace(scene.parts, schedules=desk)

    async def script(work):
        await asyncio.sleep(1)

    scene.play(script)
    assert brain.of(scene.kit.HelloReceived)[0].hello.schedulers == ["celery-beat"]
