"""Who offers the schedules, when it connects again, and what it looks at."""

from __future__ import annotations

import asyncio
import logging

import pytest

from z4j_otel.agent.schedules.ownership import MirrorSeat
from z4j_otel.agent.schedules.service import FEATURE, ScheduleService
from z4j_otel.commands import Command
from z4j_otel.errors import AdapterError
from z4j_otel.ids import CommandId

from .scripted import activation, command, schedule


class Seats:
    """A service of a scene, with its seat."""

    def __init__(self, scene, path):
        self.scene = scene
        self.seat = MirrorSeat(path)
        self.reconnects = 0
        self.service = ScheduleService(
            scene.mirror,
            self.seat,
            scene.clock,
            reconnect=self._reconnect,
            is_taken=lambda: self.is_taken,
            random=lambda: 0.0,
        )
        self.is_taken = True
        self.jobs = []
        self.service._pool.submit = self.jobs.append

    def _reconnect(self):
        self.reconnects += 1

    def connect(self):
        """Open a connection; return what it offers."""
        features = self.service.connecting()
        self.service.connected(is_connected=True)
        return features

    async def look(self):
        """Do what is due, to its end."""
        self.service.tick()
        while self.jobs:
            self.jobs.pop()()
        await asyncio.sleep(0)


@pytest.fixture
def seats(scene, tmp_path):
    """A service that can have the seat."""
    seats = Seats(scene, tmp_path / "seat")
    yield seats
    seats.service.close()


def test_only_the_owner_offers_its_schedules(scene, tmp_path, seats):
    """The other one waits, and takes the seat by connecting again when it is free."""
    other = Seats(scene, tmp_path / "seat")
    assert seats.connect() == [FEATURE]
    assert other.connect() == []
    other.service.tick()
    assert (other.reconnects, other.jobs) == (0, [])
    seats.service.close()
    other.service.tick()
    assert other.reconnects == 1
    assert other.connect() == [FEATURE]
    other.service.close()


def test_owner_without_a_stream_connects_again_with_growing_pauses(scene, seats):
    """Another machine may have had the stream a moment ago."""
    waits = []
    for _ in range(7):
        seats.connect()
        begun_s, reconnects = scene.clock.monotonic_s(), seats.reconnects
        while seats.reconnects == reconnects:
            seats.service.tick()
            scene.clock.advance(1.0)
        waits.append(round(scene.clock.monotonic_s() - begun_s))
    assert waits == [11, 21, 41, 81, 161, 301, 301]


def test_nobody_connects_again_where_no_stream_can_be_given(scene, seats):
    """Over long-poll and to old brains there is nothing to wait for."""
    seats.connect()
    seats.is_taken = False
    scene.clock.advance(1000.0)
    seats.service.tick()
    assert seats.reconnects == 0


def test_stream_that_is_given_ends_the_waiting(scene, seats):
    """The next loss of the stream is answered quickly again."""
    seats.connect()
    seats.service.received(command("schedule.external.activate", activation()))
    seats.service.received(Command(CommandId("other"), "retry_task"))
    scene.mirror.activate(activation())
    scene.clock.advance(1000.0)
    asyncio.run(seats.look())
    assert seats.reconnects == 0
    assert seats.service.describe()["is_owner"] is True


def test_end_of_the_connection_closes_the_epoch(scene, seats):
    """Nothing is looked at until there is another one."""
    seats.connect()
    scene.activate()
    seats.service.connected(is_connected=False)
    assert not scene.mirror.is_active("celery-beat")
    seats.service.tick()
    assert seats.jobs == []


def test_changes_are_looked_for_and_told(scene, seats):
    """Two looks never run at a time."""

    async def play():
        seats.connect()
        scene.activate()
        await seats.look()
        scene.told()
        scene.scheduler.put(schedule("c"))
        seats.service.tick()
        seats.service.tick()
        assert len(seats.jobs) == 1
        await seats.look()

    asyncio.run(play())
    assert [event["kind"] for event in scene.told()] == ["schedule.created"]


def test_runs_are_compared_once_a_minute(scene, seats):
    """A quick look does not see them."""

    async def play():
        seats.connect()
        scene.activate()
        await seats.look()
        scene.scheduler.entries["a"] = schedule("a", total_runs=5)
        scene.told()
        await seats.look()
        assert scene.told() == []
        scene.clock.advance(61.0)
        await seats.look()
        assert len(scene.told()) == 1

    asyncio.run(play())


@pytest.mark.parametrize("problem", [AdapterError("the database is away"), RuntimeError("x")])
def test_unreadable_schedules_are_told_once(scene, seats, caplog, problem):
    """One warning, and the brain keeps what it has."""

    async def play():
        seats.connect()
        scene.activate()
        scene.scheduler.problem = problem
        for _ in range(3):
            scene.clock.advance(61.0)
            await seats.look()

    with caplog.at_level(logging.WARNING):
        asyncio.run(play())
    assert [record.action for record in caplog.records] == ["schedules_unreadable"]


def test_late_look_survives_the_end_of_the_loop(scene, seats):
    """A database may answer after the agent has ended."""

    async def play():
        seats.connect()
        scene.activate()
        seats.service.tick()

    asyncio.run(play())
    seats.jobs.pop()()
