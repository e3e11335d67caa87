"""Kinds and expressions: from Celery's objects, and from what operators type."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab
from celery.schedules import schedule as interval

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.beat_expressions import (
    describe,
    iso_of,
    next_run_of,
    parse_clocked,
    parse_cron,
    parse_interval,
    parse_solar,
    parse_timezone,
)

NOW = datetime(2026, 11, 21, 16, 7, 15, 123, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (interval(3600), ("interval", "3600.0", "UTC")),
        (interval(timedelta(milliseconds=500)), ("interval", "0.5", "UTC")),
        (crontab(0, 4, day_of_week="mon-fri"), ("cron", "0 4 * * mon-fri", "UTC")),
        (crontab(minute={30, 0}, hour=[1, 2]), ("cron", "0,30 1,2 * * *", "UTC")),
        (crontab(minute="0, 30"), ("cron", "0,30 * * * *", "UTC")),
        (SimpleNamespace(clocked_time=NOW), ("clocked", "2026-11-21T16:07:15.000123+00:00", "UTC")),
        (
            SimpleNamespace(event="sunset", latitude="47.370000", longitude="8"),
            ("solar", "sunset:47.37:8", "UTC"),
        ),
        (SimpleNamespace(event="sunset", lat=-47.5, lon=8.0), ("solar", "sunset:-47.5:8", "UTC")),
        (SimpleNamespace(), ("interval", "SimpleNamespace", "UTC")),
    ],
)
def test_schedules_are_described(schedule, expected):
    """Each kind has one form; a class that nobody knows is told by its name."""
    assert describe(schedule, "UTC") == expected


def test_timezone_of_a_cron_is_its_own():
    """Where it has one."""
    schedule = crontab(0, 4)
    schedule.__dict__["tz"] = ZoneInfo("Europe/Zurich")
    assert describe(schedule, "UTC").timezone == "Europe/Zurich"


def test_next_run_does_not_depend_on_the_moment_of_asking():
    """Two looks within a period say the same."""
    cron = crontab(minute="*/15")
    cron.__dict__["tz"] = timezone.utc
    later = NOW + timedelta(seconds=77)
    assert next_run_of(cron, None, NOW) == "2026-11-21T16:15:00.000000+00:00"
    assert next_run_of(cron, None, later) == next_run_of(cron, None, NOW)
    assert next_run_of(interval(60), NOW, later) == "2026-11-21T16:08:15.000123+00:00"
    assert next_run_of(interval(60), None, NOW) is None
    assert next_run_of(SimpleNamespace(clocked_time=NOW), None, NOW) == iso_of(NOW)
    assert next_run_of(SimpleNamespace(_orig_minute="*"), None, NOW) is None
    assert next_run_of(SimpleNamespace(), None, NOW) is None


def test_moments_are_written_as_the_brain_reads_them():
    """UTC, six digits; without a timezone it is UTC already."""
    assert iso_of(NOW.replace(tzinfo=None)) == "2026-11-21T16:07:15.000123+00:00"
    assert iso_of(NOW.astimezone(ZoneInfo("Europe/Zurich"))) == iso_of(NOW)
    assert iso_of(None) is None


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "often", "", "1e12"])
def test_interval_is_a_sensible_number(text):
    """Beat would spin, or never run."""
    with pytest.raises(CommandRefused):
        parse_interval(text)


def test_what_can_be_typed_is_read():
    """The forms of the table."""
    assert parse_interval("0.5") == 0.5
    assert parse_cron("*/5 4 1,15 * mon-fri") == ("*/5", "4", "1,15", "*", "mon-fri")
    assert parse_solar("sunset:47.37:8.54") == ("sunset", "47.37", "8.54")
    assert parse_clocked("2027-01-01T00:00:00Z", "UTC") == datetime(2027, 1, 1, tzinfo=timezone.utc)
    zurich = parse_clocked("2027-01-01T00:00:00", "Europe/Zurich")
    assert zurich.utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("text", ["* * * *", "99 * * * *", "x y z a b", "1;2 * * * *"])
def test_cron_that_celery_cannot_read_is_refused(text):
    """Nothing is stored that would stop beat."""
    with pytest.raises(CommandRefused):
        parse_cron(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_solar, "sunset"),
        (parse_solar, "sunset:north:east"),
        (parse_solar, "sunset:nan:1"),
        (lambda text: parse_clocked(text, "UTC"), "tomorrow"),
        (lambda text: parse_clocked(text, "No/Where"), "2027-01-01T00:00:00"),
        (parse_timezone, "No/Where"),
        (parse_timezone, "../../etc/passwd"),
    ],
)
def test_other_forms_are_refused(parse, text):
    """In words, not by an error of the database."""
    with pytest.raises(CommandRefused):
        parse(text)
