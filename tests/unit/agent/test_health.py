"""Asking engines for their state."""

from __future__ import annotations

import json
import threading

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from z4j_otel.agent.health import HealthProbe
from z4j_otel.redaction import Redactor


@pytest.fixture
def jobs():
    """Return a list that collects what would run on threads."""
    return []


@pytest.fixture
def probe(kit, clock, jobs):
    """Return a probe of one engine, whose questions wait in ``jobs``."""
    engine = kit.FakeEngine()
    probe = HealthProbe([engine], Redactor(), clock=clock, spawn=jobs.append)
    probe.engine = engine
    return probe


def test_answers_are_json_text(probe, jobs):
    """Depths and details become JSON texts under the engine's name."""
    probe.refresh()
    assert probe.latest() == {}
    jobs.pop()()
    latest = probe.latest()
    assert json.loads(latest["celery.queue_depths"]) == {"celery": 3}
    assert json.loads(latest["celery.worker_details"]) == {"w@host": {"stats": {"pid": 7}}}


def test_details_are_redacted_and_names_are_the_wire_form(probe, jobs):
    """What the brain would not redact is redacted here; names match those in events."""
    probe.engine.details = {"celery@web-01.example.com": {"stats": {"password": "hunter2"}}}
    probe.refresh()
    jobs.pop()()
    text = probe.latest()["celery.worker_details"]
    assert "hunter2" not in text
    assert list(json.loads(text)) == ["celery@[web-01.example.com]"]


def test_names_with_secrets_are_redacted(probe, jobs):
    """Queues and workers are named by people; what looks like a secret goes, as in events."""
    key = "AKIA" + "Q" * 16
    probe.engine.details = {f"w@{key}": {}}
    probe.engine.depths = {f"q-{key}": 2, "q-AKIA" + "R" * 16: 3, "plain": 1}
    probe.refresh()
    jobs.pop()()
    latest = probe.latest()
    assert "AKIA" not in repr(latest)
    assert sorted(json.loads(latest["celery.queue_depths"]).values()) == [1, 5]


def test_tasks_are_handed_on(kit, clock):
    """An engine that tells its tasks is asked for them; one that knows none now tells nothing."""
    engine, told = kit.FakeEngine(), []
    engine.task_registry = lambda: {"a": {"name": "a"}}
    probe = HealthProbe(
        [engine, kit.FakeEngine("other")],
        Redactor(),
        clock=clock,
        spawn=lambda job: job(),
        on_tasks=lambda *answer: told.append(answer),
    )
    probe.refresh()
    engine.task_registry = lambda: None
    probe.refresh()
    assert told == [("celery", {"a": {"name": "a"}})]


def test_busy_engine_is_not_asked_again(probe, jobs):
    """A question that hangs is not repeated; the last answer stays for a while."""
    probe.refresh()
    jobs.pop()()
    probe.refresh()
    probe.refresh()
    assert len(jobs) == 1
    assert probe.latest()


def test_slow_engine_is_told_once(probe, clock, loop, caplog):
    """After the limit a warning names the engine, one time until it answers."""
    probe.refresh()
    loop.now_s = 6
    probe.refresh()
    probe.refresh()
    assert [r.action for r in caplog.records] == ["health_slow"]


def test_old_answers_are_left_out(probe, jobs, loop):
    """After two minutes an answer is no longer shown as the present."""
    probe.refresh()
    jobs.pop()()
    loop.now_s = 121
    assert probe.latest() == {}


def test_failing_engine_keeps_its_last_answer(probe, jobs):
    """An engine's error is no answer, and the next question is asked all the same."""
    probe.refresh()
    jobs.pop()()
    before = probe.latest()
    probe.engine.depths = RuntimeError("broker")
    probe.refresh()
    jobs.pop()()
    assert probe.latest() == before
    probe.refresh()
    assert len(jobs) == 1


def test_questions_run_on_a_thread_without_instrumentation(kit, clock):
    """By default a daemon thread asks, and its broker calls make no spans."""
    seen, engine = {}, kit.FakeEngine()
    done = threading.Event()

    def depths():
        seen["thread"] = threading.current_thread()
        seen["enabled"] = is_instrumentation_enabled()
        return {}

    def details():
        done.set()
        return {}

    engine.queue_depths, engine.worker_details = depths, details
    HealthProbe([engine], Redactor(), clock=clock).refresh()
    assert done.wait(10)
    assert seen["thread"].daemon
    assert not seen["enabled"]


def test_engine_is_asked_again_after_a_time_without_threads(kit, clock):
    """A thread that cannot start fails no heartbeat and costs one answer."""
    asked = []

    def spawn(job):
        asked.append(job)
        if len(asked) == 1:
            raise RuntimeError("can't start new thread")
        job()

    probe = HealthProbe([kit.FakeEngine()], Redactor(), clock=clock, spawn=spawn)
    probe.refresh()
    assert probe.latest() == {}
    probe.refresh()
    assert probe.latest()
