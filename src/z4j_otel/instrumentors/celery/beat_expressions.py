"""When a schedule of Celery's runs, as the brain writes it: kind, expression and timezone.

==========  ==========================================================================
kind        expression
==========  ==========================================================================
interval    seconds: ``30``, ``0.5``
cron        minute, hour, day of month, month of year, day of week: ``0 4 * * mon-fri``
solar       event, latitude and longitude: ``sunset:47.37:8.54``
clocked     an ISO-8601 moment, once: ``2027-01-01T00:00:00+00:00``
==========  ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from z4j_otel.clock import iso_utc
from z4j_otel.errors import CommandRefused

__all__ = [
    "Expression",
    "describe",
    "iso_of",
    "next_run_of",
    "parse_clocked",
    "parse_cron",
    "parse_interval",
    "parse_solar",
    "parse_timezone",
]

_MAX_INTERVAL_S: Final = 10 * 366 * 86_400.0
_CRON_FIELDS: Final = 5
_SOLAR_PARTS: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Expression(NamedTuple):
    """When something runs."""

    kind: str
    text: str
    timezone: str


def describe(schedule: Any, default_timezone: str) -> Expression:
    """Return what the brain is told of a schedule object of Celery or django-celery-beat.

    A class that nobody knows is told by its name: it is shown, and cannot be edited.

    Args:
        schedule: The object.
        default_timezone: Where the object has none of its own.
    """
    if hasattr(schedule, "_orig_minute"):
        fields = (
            *(schedule._orig_minute, schedule._orig_hour, schedule._orig_day_of_month),  # noqa: SLF001 -- Celery's models read them, too
            *(schedule._orig_month_of_year, schedule._orig_day_of_week),  # noqa: SLF001 -- see above
        )
        zone = str(getattr(schedule, "tz", None) or default_timezone)
        return Expression("cron", " ".join(map(_field, fields)), zone)
    if hasattr(schedule, "clocked_time"):
        return Expression("clocked", iso_of(schedule.clocked_time) or "", "UTC")
    # Celery's object, which needs a library that may be missing, or the model's row.
    for latitude, longitude in (("lat", "lon"), ("latitude", "longitude")):
        if hasattr(schedule, latitude) and hasattr(schedule, longitude):
            place = (getattr(schedule, latitude), getattr(schedule, longitude))
            text = ":".join([str(schedule.event), *map(_number, place)])
            return Expression("solar", text, default_timezone)
    run_every = getattr(schedule, "run_every", None)
    if isinstance(run_every, timedelta):
        return Expression("interval", str(run_every.total_seconds()), default_timezone)
    return Expression("interval", type(schedule).__name__[:100], default_timezone)


def next_run_of(schedule: Any, last_run: datetime | None, now: datetime) -> str | None:
    """Return when an enabled schedule runs next, as the brain writes it; None for unknown.

    The answer stays the same until that moment.

    Args:
        schedule: The object.
        last_run: When it ran last, aware; None for never or unknown.
        now: The current time, aware.
    """
    try:
        if hasattr(schedule, "clocked_time"):
            return iso_of(schedule.clocked_time)
        if hasattr(schedule, "_orig_minute"):
            start, delta, _ = schedule.remaining_delta(now)
            return iso_of((start + delta).replace(second=0, microsecond=0))
        run_every = getattr(schedule, "run_every", None)
        if isinstance(run_every, timedelta) and last_run is not None:
            return iso_of(last_run + run_every)
    except Exception:  # noqa: BLE001 -- an application's own class may do anything
        return None
    return None


def iso_of(moment: datetime | None) -> str | None:
    """Return a moment as the brain writes it; one without a timezone is taken for UTC."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return iso_utc((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def parse_interval(text: str) -> float:
    """Return the seconds of an interval, more than 0 and at most ten years.

    Raises:
        CommandRefused: It is no such number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _MAX_INTERVAL_S:
        raise CommandRefused("an interval is a number of seconds, more than 0 and at most 10 years")
    return seconds


def parse_cron(text: str) -> tuple[str, str, str, str, str]:
    """Return the five fields of a cron expression, checked as Celery reads them.

    Raises:
        CommandRefused: There are not five, or Celery cannot read one.
    """
    from celery.schedules import ParseException, crontab  # noqa: PLC0415 -- Celery is an extra

    fields = text.split()
    if len(fields) != _CRON_FIELDS:
        raise CommandRefused(
            "a cron expression has five fields: minute, hour, day of month, month, day of week"
        )
    minute, hour, day, month, weekday = fields
    try:
        crontab(minute, hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    except (ParseException, ValueError) as error:
        raise CommandRefused(f"Celery cannot read this cron expression: {error}"[:500]) from error
    return minute, hour, day, month, weekday


def parse_solar(text: str) -> tuple[str, str, str]:
    """Return event, latitude and longitude.

    Raises:
        CommandRefused: It is not of this form.
    """
    parts = text.split(":")
    try:
        if len(parts) == _SOLAR_PARTS and all(math.isfinite(float(part)) for part in parts[1:]):
            return parts[0], parts[1], parts[2]
    except ValueError:
        pass
    raise CommandRefused("a solar schedule is an event, a latitude and a longitude, as sunset:47:8")


def parse_clocked(text: str, zone: str) -> datetime:
    """Return the moment of a clocked schedule, aware.

    Args:
        text: ISO-8601.
        zone: Its timezone where the text has no offset.

    Raises:
        CommandRefused: It is no moment.
    """
    plain = f"{text[:-1]}+00:00" if text.endswith("Z") else text
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise CommandRefused("a clocked schedule is a moment, as 2027-01-01T00:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=parse_timezone(zone))


def parse_timezone(name: str) -> ZoneInfo:
    """Return a timezone by its IANA name.

    Raises:
        CommandRefused: There is no such timezone here.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CommandRefused(f"there is no timezone {name[:60]!r} here") from None


def _field(value: Any) -> str:
    """Return one field of a cron expression, which may have been given as numbers."""
    if isinstance(value, str):
        return "".join(value.split()) or "*"
    if isinstance(value, Iterable):
        return ",".join(str(each) for each in sorted(value))
    return str(value)


def _number(value: Any) -> str:
    """Return a coordinate without zeros at its end."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text
