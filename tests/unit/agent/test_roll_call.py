"""Telling which workers are here."""

from __future__ import annotations

import threading

from z4j_otel.agent.roll_call import RollCall


class Sink:
    """Keeps what it is given."""

    def __init__(self):
        self.told = []
        self.has_some = threading.Event()

    def emit(self, record):
        """Take a record."""
        facts = record.facts
        self.told.append((record.kind.value, facts.engine, facts.worker))
        self.has_some.set()


def test_worker_is_online_daily_and_alive_in_between(kit, clock, loop):
    """Each call tells each worker of this process once."""
    sink, engine = Sink(), kit.FakeEngine()
    call = RollCall(sink, [engine], clock=clock, spawn=lambda job: job())
    for hour in range(26):
        loop.now_s = hour * 3600.0
        call()
    kinds = [kind for kind, *rest in sink.told if rest == ["celery", "w@host"]]
    online = [hour for hour, kind in enumerate(kinds) if kind == "worker.online"]
    assert (len(kinds), online) == (26, [0, 24])
    assert set(kinds) == {"worker.online", "worker.heartbeat"}


def test_process_without_worker_tells_nothing(kit, clock):
    """A web process has none, and another process's worker is not ours to tell."""
    sink, engine = Sink(), kit.FakeEngine()
    engine.details = {}
    RollCall(sink, [engine], clock=clock, spawn=lambda job: job())()
    assert sink.told == []


def test_slow_engine_is_asked_elsewhere(kit, clock):
    """The call returns at once: it is made on the agent's event loop."""
    sink, engine, go = Sink(), kit.FakeEngine(), threading.Event()

    def details():
        assert go.wait(10)
        return {"w@host": {}}

    engine.worker_details = details
    RollCall(sink, [engine], clock=clock)()
    assert sink.told == []
    go.set()
    assert sink.has_some.wait(10)


def test_failing_engine_is_no_harm(kit, clock):
    """An engine that cannot tell its workers ends nothing."""
    sink, engine = Sink(), kit.FakeEngine()
    engine.worker_details = lambda: 1 / 0
    RollCall(sink, [engine], clock=clock, spawn=lambda job: job())()
    assert sink.told == []
