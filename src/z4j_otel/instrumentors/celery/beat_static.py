"""The schedules that stand in the app's own configuration: read-only, and to be triggered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from z4j_otel.instrumentors.celery.beat_expressions import describe, next_run_of
from z4j_otel.instrumentors.celery.beat_runs import Due
from z4j_otel.schedules import Schedule

__all__ = ["SOURCE", "STATIC_PREFIX", "StaticEntries"]

STATIC_PREFIX: Final = "static:"
SOURCE: Final = "celery-beat:static"
"""What the brain takes for read-only (PROTOCOL §6.8)."""


class StaticEntries:
    """``app.conf.beat_schedule``, which all processes of an app share."""

    def __init__(self, app: Any, *, engine: str, scheduler: str) -> None:
        self._app = app
        self._engine = engine
        self._scheduler = scheduler

    def is_empty(self) -> bool:
        """Whether nothing is configured."""
        return not self._app.conf.beat_schedule

    def read(self, now: datetime) -> list[Schedule]:
        """Return all entries."""
        return [self._schedule(name, entry, now) for name, entry in self._entries()]

    def find(self, key: str) -> tuple[Schedule, Due] | None:
        """Return an entry by its key, and what beat would publish for it."""
        for name, entry in self._entries():
            if _key(name) == key:
                schedule = self._schedule(name, entry, datetime.now(timezone.utc))
                due = Due(
                    name,
                    schedule.task_name,
                    [_value(each) for each in entry.get("args") or ()],
                    {key: _value(each) for key, each in (entry.get("kwargs") or {}).items()},
                    dict(entry.get("options") or {}),
                )
                return schedule, due
        return None

    def _entries(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, entry in dict(self._app.conf.beat_schedule or {}).items():
            # An entry may be an object of beat's own, whose fields have the same names.
            yield str(name), entry if isinstance(entry, Mapping) else dict(entry)

    def _schedule(self, name: str, entry: Mapping[str, Any], now: datetime) -> Schedule:
        from celery.schedules import maybe_schedule  # noqa: PLC0415 -- Celery is an extra

        timing = maybe_schedule(entry.get("schedule"), app=self._app)
        when = describe(timing, str(self._app.timezone))
        key = _key(name)
        return Schedule(
            source_key=key,
            engine=self._engine,
            scheduler=self._scheduler,
            name=name,
            task_name=str(entry.get("task") or name),
            kind=when.kind,
            expression=when.text,
            timezone=when.timezone,
            queue=_queue(entry.get("options") or {}),
            args=list(entry.get("args") or ()),
            kwargs=dict(entry.get("kwargs") or {}),
            next_run_at=next_run_of(timing, None, now),
            external_id=key,
            source=SOURCE,
        )


def _key(name: str) -> str:
    return STATIC_PREFIX + hashlib.sha256(name.encode()).hexdigest()


def _queue(options: Mapping[str, Any]) -> str | None:
    queue = options.get("queue")
    name = getattr(queue, "name", queue)
    return str(name) if name else None


def _value(argument: Any) -> Any:
    """Return an argument as beat would: some are made when the task is due."""
    from celery.beat import BeatLazyFunc  # noqa: PLC0415 -- Celery is an extra

    return argument() if isinstance(argument, BeatLazyFunc) else argument
