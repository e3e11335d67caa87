"""Celery beat's schedules: of the app's configuration, and of django-celery-beat.

Both are told as one scheduler, ``celery-beat``, as beat itself merges them: where both have
an entry of one name, the database's counts, because beat has copied the other one there.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

from z4j_otel.commands import Capability
from z4j_otel.errors import AdapterError, CommandError, CommandRefused, CommandUnsupported
from z4j_otel.instrumentors.celery.beat_database import (
    DATABASE_PREFIX,
    DatabaseEntries,
    is_installed,
)
from z4j_otel.instrumentors.celery.beat_static import STATIC_PREFIX, StaticEntries
from z4j_otel.instrumentors.celery.handle import CeleryHandle, log_unreadable
from z4j_otel.instrumentors.celery.retry_and_submit import TaskSender
from z4j_otel.instrumentors.schedules import Scheduler, Settle
from z4j_otel.schedules import Schedule, ScheduleChange

__all__ = ["BeatScheduler", "beat_schedulers"]

_READING: Final = (
    Capability.LIST_SCHEDULES,
    Capability.READ_SCHEDULE,
    Capability.TRIGGER_SCHEDULE,
)
_WRITING: Final = (
    Capability.CREATE_SCHEDULE,
    Capability.UPDATE_SCHEDULE,
    Capability.DELETE_SCHEDULE,
    Capability.ENABLE_SCHEDULE,
    Capability.DISABLE_SCHEDULE,
)
_READ_ONLY: Final = (
    "this schedule stands in the app's configuration (beat_schedule), where nobody but its"
    " developers can change it"
)


def beat_schedulers(handle: CeleryHandle, sender: TaskSender, engine: str) -> list[Scheduler]:
    """Return the scheduler of an app, in a list; an empty one where nothing is scheduled.

    An app without schedules has no part in what its deployment agrees on about them.
    """
    try:
        if is_installed() or handle.app.conf.beat_schedule:
            return [BeatScheduler(handle.app, sender, engine)]
    except Exception as error:  # noqa: BLE001 -- the application's configuration may be broken
        log_unreadable("schedules", error)
    return []


class BeatScheduler:
    """Implements :class:`z4j_otel.instrumentors.schedules.Scheduler` for one app."""

    def __init__(self, app: Any, sender: TaskSender, engine: str) -> None:
        self.name = f"{engine}-beat"[:40]
        self._sender = sender
        self._static = StaticEntries(app, engine=engine, scheduler=self.name)
        self._database = (
            DatabaseEntries(engine=engine, scheduler=self.name) if is_installed() else None
        )

    def capabilities(self) -> list[str]:
        """Return what can be done with these schedules."""
        tokens = _READING if self._database is None else (*_READING, *_WRITING)
        return [token.value for token in tokens]

    def version(self) -> str:
        """Return a text that changes when a schedule is created, changed or deleted."""
        static = tuple(
            (each.source_key, each.task_name, each.kind, each.expression, each.queue)
            for each in self._read_static()
        )
        return f"{hash(static)} {self._database.version() if self._database else ''}"

    def read(self) -> list[Schedule]:
        """Return all schedules."""
        stored = self._database.read(_now()) if self._database is not None else []
        names = {each.name for each in stored}
        return [*stored, *(each for each in self._read_static() if each.name not in names)]

    def apply(self, change: ScheduleChange, settle: Settle) -> str:
        """Carry out one change in the database; see the port."""
        if change.key is not None and change.key.startswith(STATIC_PREFIX):
            raise CommandUnsupported(_READ_ONLY)
        if self._database is None:
            raise CommandUnsupported("schedules can be changed where django-celery-beat keeps them")
        return self._database.apply(change, settle)

    def trigger(self, key: str, settle: Settle, *, task_id: str) -> dict[str, Any]:
        """Publish an entry's task now, as beat would."""
        found = None
        if key.startswith(STATIC_PREFIX):
            found = self._static.find(key)
        elif key.startswith(DATABASE_PREFIX) and self._database is not None:
            found = self._database.find(key)
        if found is None:
            raise CommandRefused("there is no such schedule any more")
        schedule, due = found
        settle(schedule)
        self._sender.publish(due.task_name, due.args, due.kwargs, due.options_with_name(), task_id)
        return {"schedule_id": key, "task_name": due.task_name, "task_id": task_id}

    def _read_static(self) -> list[Schedule]:
        try:
            return self._static.read(_now())
        except CommandError:
            raise
        except Exception as error:
            text = f"the app's beat_schedule cannot be read ({type(error).__name__})"
            raise AdapterError(text) from error


def _now() -> datetime:
    return datetime.now(timezone.utc)
