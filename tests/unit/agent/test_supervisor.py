"""Connections one after the other: pauses and news."""

from __future__ import annotations

import asyncio
import logging

import pytest

from z4j_otel.agent.connection import Ended
from z4j_otel.agent.connection_failures import Phase
from z4j_otel.agent.supervisor import LinkState, Supervisor
from z4j_otel.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectionSuperseded,
    SignatureInvalid,
)
from z4j_otel.transport.backoff import Backoff


class Life:
    """A connection that lives as long as the script says."""

    def __init__(self, on_proven, on_stable, script):
        self.seconds, self.error, self.gets_proven, self.gets_stable = script
        self.on_proven, self.on_stable = on_proven, on_stable
        self.phase = Phase(self.gets_proven, self.gets_proven)
        self.woken = self.renewed = 0

    async def run(self):
        """Run for a while."""
        if self.gets_proven:
            self.on_proven()
        if self.gets_stable:
            self.on_stable()
        await asyncio.sleep(self.seconds)
        return Ended(self.error, self.phase, 1006)

    def wake(self):
        """Count the wake-up."""
        self.woken += 1

    def renew(self):
        """Count the renewal."""
        self.renewed += 1


REFUSED = (0, ConnectFailed("refused"), False, False)
BAD_TOKEN = (0, ConnectionLost(4401), False, False)


class Scene:
    """A supervisor whose connections follow a list."""

    def __init__(self, loop, ledger):
        self.loop = loop
        self.scripts, self.opened_at, self.states = [], [], []
        self.supervisor = Supervisor(
            self._open, backoff=Backoff(lambda: 0.0), ledger=ledger, on_state=self.states.append
        )

    def _open(self, on_proven, on_stable):
        self.opened_at.append(self.loop.now_s)
        script = self.scripts.pop(0) if self.scripts else (1e6, ConnectionLost(1), True, False)
        return Life(on_proven, on_stable, script)

    def run(self, seconds, *script):
        """Run for a while."""

        async def play():
            for moment, act in script:
                self.loop.call_later(moment, act)
            task = asyncio.ensure_future(self.supervisor.run())
            await asyncio.wait([task], timeout=seconds)
            self.last_state = self.supervisor.state
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self.loop.run_until_complete(play())


@pytest.fixture
def scene(loop, ledger, caplog):
    """Return a supervisor, with its log recorded from DEBUG on."""
    caplog.set_level(logging.DEBUG, "z4j_otel.agent")
    return Scene(loop, ledger)


def levels(caplog):
    """Return the levels of what the supervisor logged."""
    return [r.levelname for r in caplog.records if r.name.endswith(("supervisor", "news"))]


def test_pauses_grow_until_connected(scene):
    """Failed attempts follow each other at 1, 2 and 4 seconds."""
    scene.scripts = [REFUSED] * 3
    scene.run(60)
    assert scene.opened_at == [0, 1, 3, 7]
    assert scene.last_state is LinkState.CONNECTED
    assert scene.states == [True, False]


def test_same_news_is_told_once(scene, caplog):
    """One warning for a lasting problem, details at DEBUG, one line on recovery."""
    scene.scripts = [REFUSED] * 3
    scene.run(60)
    assert levels(caplog) == ["WARNING", "DEBUG", "DEBUG", "INFO"]


def test_other_news_is_told_again(scene, caplog):
    """When the cause changes, that is worth a warning of its own."""
    scene.scripts = [REFUSED, BAD_TOKEN, BAD_TOKEN]
    scene.run(60)
    assert levels(caplog) == ["WARNING", "WARNING", "DEBUG", "INFO"]
    assert "Z4J_TOKEN" in caplog.text


def test_handshake_alone_does_not_reset_the_pauses(scene):
    """Connections that die young keep the row growing; a stable one ends it."""
    young = (0, ConnectionLost(1011), True, False)
    stable = (0, ConnectionLost(1011), True, True)
    scene.scripts = [young, young, young, stable]
    scene.run(60)
    assert scene.opened_at == [0, 1, 3, 7, 8]


def test_recovery_is_told_as_such(scene, caplog):
    """After an outage the log says that the connection is there again."""
    scene.scripts = [(5, ConnectionLost(1012), True, True)]
    scene.run(60)
    assert levels(caplog) == ["INFO", "WARNING", "INFO"]
    assert "connected to the brain again" in caplog.text


def test_refused_frames_are_counted(scene, ledger):
    """A frame of the brain that failed our checks is counted."""
    scene.scripts = [(1, SignatureInvalid("x"), True, False)]
    scene.run(60)
    assert ledger.frames_refused == 1


def test_network_pause_can_be_cut_short(scene):
    """A flush tries at once when only the network was in the way."""
    scene.scripts = [REFUSED] * 5
    scene.run(3.5, (3.2, scene.supervisor.retry_now))
    assert scene.opened_at == [0, 1, 3, 3.2]


def test_other_pauses_cannot(scene):
    """A refused token is not tried again before its time."""
    scene.scripts = [BAD_TOKEN] * 2
    scene.run(11, (1, scene.supervisor.retry_now))
    assert scene.opened_at == [0, 10]


def test_wake_reaches_the_connection(scene):
    """Wake-ups go to the connection there is, and nowhere before the first."""
    scene.supervisor.wake()
    woken = []
    scene.run(
        2,
        (1, scene.supervisor.wake),
        (1.5, lambda: woken.append(scene.supervisor.connection.woken)),
    )
    assert woken == [1]


def test_renewal_reaches_the_connection(scene):
    """As a wake-up does; before the first connection there is nothing to renew."""
    scene.supervisor.renew()
    renewed = []
    scene.run(
        2,
        (1, scene.supervisor.renew),
        (1.5, lambda: renewed.append(scene.supervisor.connection.renewed)),
    )
    assert renewed == [1]


def test_description(scene):
    """Status displays get the state, the problem in words and the row of failures."""
    scene.scripts = [BAD_TOKEN]
    seen = []
    scene.run(5, (2, lambda: seen.append(scene.supervisor.describe(0))))
    (described,) = seen
    assert described["state"] == "waiting"
    assert "Z4J_TOKEN" in described["problem"]
    assert described["failures_in_a_row"] == {"auth": 1}
    assert described["brain_version"] is None
    assert described["next_attempt_in_s"] == 8


def test_unexpected_errors_have_their_traceback_at_debug(scene, caplog):
    """A fault of our own is told by name; its details are at DEBUG."""
    scene.scripts = [(0, ZeroDivisionError("x"), False, False)]
    scene.run(0.5)
    assert levels(caplog) == ["DEBUG", "WARNING"]


def test_superseded_connection_is_followed_at_once(loop, ledger, caplog):
    """A transport that has a better connection open is asked for it without pause or complaint."""
    scene = Scene(loop, ledger)
    scene.scripts = [(5, ConnectionSuperseded(), True, True)]
    scene.run(10)
    assert scene.opened_at == [0, 5]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert scene.supervisor.streaks == {}


def test_connection_that_does_not_last_is_told_once(scene, caplog):
    """A brain that accepts and refuses in turn gets two lines, and one when it is well."""
    young = (3, ConnectionLost(4403), True, False)
    scene.scripts = [young] * 5 + [(1e6, ConnectionLost(1012), True, True)]
    scene.run(400)
    told = [level for level in levels(caplog) if level != "DEBUG"]
    assert told == ["INFO", "WARNING", "INFO"]


def test_pause_asked_for_by_the_server(scene):
    """Retry-After of a proxy decides the next attempt."""
    scene.scripts = [(0, ConnectFailed("x", http_status=503, retry_after_s=45), False, False)]
    scene.run(60)
    assert scene.opened_at == [0, 45]


def test_evictions_after_long_lives_still_slow_down(scene):
    """Stable sessions that end by eviction do not reset the pause between them."""
    evicted = (30, ConnectionLost(4002), True, True)
    scene.scripts = [evicted] * 4
    scene.run(700)
    assert scene.opened_at == [0, 60, 150, 300, 570]


def test_superseded_connection_is_no_failure(scene, caplog):
    """When the transport has a better connection open, it is taken at once and in silence."""
    scene.scripts = [(5, ConnectionSuperseded(), True, True)]
    scene.run(60)
    assert scene.opened_at == [0, 5]
    assert levels(caplog) == ["INFO"]
