"""Beat's configuration as a scheduler: shown, triggered, never changed."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc
from celery.schedules import crontab

from z4j_otel.errors import AdapterError, CommandRefused, CommandUnsupported
from z4j_otel.instrumentors.celery.beat_runs import SCHEDULE_HEADER
from z4j_otel.instrumentors.celery.handle import CeleryHandle
from z4j_otel.instrumentors.celery.scheduler import BeatScheduler, beat_schedulers
from z4j_otel.schedules import ScheduleChange

ENTRIES = {
    "hourly": {"task": "app.add", "schedule": 3600, "args": (1, 2), "options": {"queue": "slow"}},
    "nightly": {
        "task": "app.clean",
        "schedule": crontab(0, 4),
        "kwargs": {"day": BeatLazyFunc(lambda: "today")},
        "options": {"headers": {"own": 1}, "expires": 60},
    },
}


class Sender:
    """Keeps what is published."""

    def __init__(self):
        self.sent = []

    def publish(self, *what):
        """Take one."""
        self.sent.append(what)


@pytest.fixture
def app():
    """An app with two entries."""
    app = Celery("schedules", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = dict(ENTRIES)
    return app


@pytest.fixture
def sender():
    """A sender."""
    return Sender()


@pytest.fixture
def scheduler(app, sender):
    """The app's scheduler."""
    (scheduler,) = beat_schedulers(CeleryHandle(app), sender, "celery")
    return scheduler


def test_entries_are_read_from_the_configuration(scheduler):
    """They have keys of their names, and say where they come from."""
    hourly, nightly = scheduler.read()
    assert (hourly.name, hourly.task_name, hourly.queue) == ("hourly", "app.add", "slow")
    assert hourly.source_key == hourly.external_id
    assert hourly.source_key == "static:" + hashlib.sha256(b"hourly").hexdigest()
    assert (nightly.kind, nightly.expression) == ("cron", "0 4 * * *")
    assert nightly.next_run_at.endswith("04:00:00.000000+00:00")
    assert {each.source for each in (hourly, nightly)} == {"celery-beat:static"}
    assert {each.scheduler for each in (hourly, nightly)} == {"celery-beat"}


def test_entry_is_published_as_beat_would(scheduler, sender):
    """With its options, lazy arguments made now, and the schedule's name in a header."""
    hourly, nightly = scheduler.read()
    seen = []
    scheduler.trigger(hourly.source_key, seen.append, task_id="t-1")
    told = scheduler.trigger(nightly.source_key, seen.append, task_id="t-2")
    assert told == {"schedule_id": nightly.source_key, "task_name": "app.clean", "task_id": "t-2"}
    assert seen == [hourly, nightly]
    first, second = sender.sent
    assert first == (
        "app.add",
        [1, 2],
        {},
        {"queue": "slow", "headers": {SCHEDULE_HEADER: "hourly"}},
        "t-1",
    )
    assert second[2] == {"day": "today"}
    assert second[3] == {"expires": 60, "headers": {"own": 1, SCHEDULE_HEADER: "nightly"}}
    assert "headers" not in ENTRIES["hourly"]["options"]


def test_refusal_comes_before_the_publish(scheduler, sender):
    """What the operator saw is compared first."""

    def refuse(_current):
        raise CommandRefused("changed")

    with pytest.raises(CommandRefused):
        scheduler.trigger(scheduler.read()[0].source_key, refuse, task_id="t")
    for key in ("static:no", "database:1", "other"):
        with pytest.raises(CommandRefused):
            scheduler.trigger(key, lambda _: None, task_id="t")
    assert sender.sent == []


@pytest.mark.parametrize("key", ["static:abc", None, "database:1"])
def test_configuration_cannot_be_changed(scheduler, key):
    """And says where it can."""
    with pytest.raises(CommandUnsupported):
        scheduler.apply(ScheduleChange("update", key), lambda _: {})
    assert scheduler.capabilities() == ["list", "read", "trigger_now"]


def test_version_follows_the_configuration(app, scheduler):
    """An entry that is added while the app runs is found."""
    before = scheduler.version()
    assert scheduler.version() == before
    app.conf.beat_schedule = {**ENTRIES, "more": ENTRIES["hourly"]}
    assert scheduler.version() != before


def test_entry_objects_of_beat_are_read_too(app, scheduler):
    """A configuration may hold beat's own objects."""
    app.conf.beat_schedule = {"one": [("task", "app.add"), ("schedule", 5)]}
    assert scheduler.read()[0].expression == "5.0"


def test_configuration_that_cannot_be_read_withholds_everything(app, scheduler):
    """Half an inventory would delete the other half at the brain."""
    app.conf.beat_schedule = {"broken": {"task": "app.add", "schedule": 5}, "more": 7}
    with pytest.raises(AdapterError):
        scheduler.read()


def test_app_without_schedules_has_no_scheduler(app, sender):
    """It has no part in what the deployment agrees on."""
    app.conf.beat_schedule = {}
    assert beat_schedulers(CeleryHandle(app), sender, "celery") == []
    broken = SimpleNamespace(app=None)
    assert beat_schedulers(broken, sender, "celery") == []


def test_named_instance_has_a_scheduler_of_its_own(app, sender):
    """Two apps of a process are two owners."""
    named = BeatScheduler(app, sender, "analytics")
    assert named.name == "analytics-beat"
    assert named.read()[0].engine == "analytics"
