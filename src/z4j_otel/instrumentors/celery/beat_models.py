"""Writes what an operator wants into the rows of django-celery-beat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.celery.beat_expressions import (
    parse_clocked,
    parse_cron,
    parse_interval,
    parse_solar,
    parse_timezone,
)
from z4j_otel.instrumentors.parameters import read_array, read_object, read_text, require_text
from z4j_otel.schedules import Schedule

__all__ = ["change_entry"]

_MAX_NAME_CHARS: Final = 200
_TIMING: Final = ("kind", "expression", "timezone")
_REFERENCES: Final = {"interval": "interval", "cron": "crontab", "solar": "solar"}
_MICROSECONDS: Final = 1_000_000


def change_entry(
    entry: Any, definition: Mapping[str, Any], current: Schedule | None, using: str
) -> None:
    """Set members of an entry and save it; the caller's transaction.

    Args:
        entry: A ``PeriodicTask``, new or as it is stored.
        definition: Members of the brain's row, and their new values.
        current: The entry as the brain knows it; None for a new one.
        using: Name of the database.

    Raises:
        CommandRefused: A value is missing or not allowed.
        ValidationError: The model does not take it.
    """
    if current is None or "name" in definition:
        entry.name = require_text(definition, "name", max_chars=_MAX_NAME_CHARS)
    if current is None or "task_name" in definition:
        entry.task = require_text(definition, "task_name", max_chars=_MAX_NAME_CHARS)
    if current is None or any(name in definition for name in _TIMING):
        _set_timing(entry, definition, current, using)
    if "queue" in definition:
        entry.queue = read_text(definition, "queue", max_chars=_MAX_NAME_CHARS)
    if "args" in definition:
        entry.args = json.dumps(read_array(definition, "args") or [])
    if "kwargs" in definition:
        entry.kwargs = json.dumps(read_object(definition, "kwargs") or {})
    if "is_enabled" in definition:
        entry.enabled = _flag(definition["is_enabled"])
    entry.clean_fields()
    entry.save(using=using)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CommandRefused("is_enabled must be true or false")
    return value


def _set_timing(
    entry: Any, definition: Mapping[str, Any], current: Schedule | None, using: str
) -> None:
    known = {} if current is None else {name: getattr(current, name) for name in _TIMING}
    wanted = {**known, **{name: definition[name] for name in _TIMING if name in definition}}
    kind = require_text({"kind": "interval", **wanted}, "kind")
    expression = require_text(wanted, "expression")
    zone = read_text(wanted, "timezone") or "UTC"
    make = _MAKERS.get(kind)
    if make is None:
        raise CommandRefused("a schedule's kind is interval, cron, solar or clocked")
    found = make(expression, zone, using)
    for name in ("interval", "crontab", "solar", "clocked"):
        setattr(entry, name, None)
    setattr(entry, _REFERENCES.get(kind, kind), found)
    # The model demands it of what happens once.
    entry.one_off = kind == "clocked" or (entry.one_off and known.get("kind") != "clocked")


def _interval(expression: str, _zone: str, using: str) -> Any:
    from django_celery_beat.models import IntervalSchedule  # noqa: PLC0415 -- an extra

    seconds = parse_interval(expression)
    if seconds == int(seconds):
        return _one(IntervalSchedule, using, every=int(seconds), period=IntervalSchedule.SECONDS)
    every = round(seconds * _MICROSECONDS)
    return _one(IntervalSchedule, using, every=every, period=IntervalSchedule.MICROSECONDS)


def _cron(expression: str, zone: str, using: str) -> Any:
    from django_celery_beat.models import CrontabSchedule  # noqa: PLC0415 -- an extra

    minute, hour, day, month, weekday = parse_cron(expression)
    return _one(
        CrontabSchedule,
        using,
        minute=minute,
        hour=hour,
        day_of_month=day,
        month_of_year=month,
        day_of_week=weekday,
        timezone=parse_timezone(zone),
    )


def _solar(expression: str, _zone: str, using: str) -> Any:
    from django_celery_beat.models import SolarSchedule  # noqa: PLC0415 -- an extra

    event, latitude, longitude = parse_solar(expression)
    return _one(SolarSchedule, using, event=event, latitude=latitude, longitude=longitude)


def _clocked(expression: str, zone: str, using: str) -> Any:
    from django_celery_beat.models import ClockedSchedule  # noqa: PLC0415 -- an extra

    return _one(ClockedSchedule, using, clocked_time=parse_clocked(expression, zone))


_MAKERS: Final[dict[str, Callable[[str, str, str], Any]]] = {
    "interval": _interval,
    "cron": _cron,
    "solar": _solar,
    "clocked": _clocked,
}


def _one(model: Any, using: str, **values: Any) -> Any:
    """Return a row with these values, the first where there are several, or a new one."""
    found = model.objects.using(using).filter(**values).first()
    if found is None:
        found = model(**values)
        found.full_clean()
        found.save(using=using)
    return found
