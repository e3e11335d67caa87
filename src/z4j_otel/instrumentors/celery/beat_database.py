"""The schedules of django-celery-beat, in the application's own database.

Theory of operation
    Every access is one short visit: connections that have been idle for too long are closed
    before and after it, as Django does around a request, so a thread of ours keeps none
    longer than the application's settings say. Tables are reached through the models, so
    that whatever the application has put around them holds here, too: routers, signals,
    validation. A save tells a running beat, which reads its table again.

    django-celery-beat notes in one row when a schedule was changed last; runs do not count.
    That row is all that is looked at every few seconds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final

from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.celery.beat_expressions import describe, iso_of, next_run_of
from z4j_otel.instrumentors.celery.beat_models import change_entry
from z4j_otel.instrumentors.celery.beat_runs import Due
from z4j_otel.instrumentors.schedules import Settle
from z4j_otel.schedules import Schedule, ScheduleChange

__all__ = ["DATABASE_PREFIX", "DatabaseEntries", "is_installed"]

DATABASE_PREFIX: Final = "database:"
SOURCE: Final = "celery-beat:database"
_APP: Final = "django_celery_beat"
_UNREADABLE: Final = "[unreadable]"


def is_installed() -> bool:
    """Whether this process has a Django that is set up, with django-celery-beat in it."""
    registry = getattr(sys.modules.get("django.apps"), "apps", None)
    return registry is not None and registry.ready and registry.is_installed(_APP)


class DatabaseEntries:
    """The table of periodic tasks."""

    def __init__(self, *, engine: str, scheduler: str) -> None:
        self._engine = engine
        self._scheduler = scheduler

    def version(self) -> str:
        """Return when a schedule was changed last."""
        from django_celery_beat.models import PeriodicTasks  # noqa: PLC0415 -- an extra

        with _visit():
            return str(PeriodicTasks.last_change())

    def read(self, now: datetime) -> list[Schedule]:
        """Return all entries, in one query."""
        with _visit():
            return [self._schedule(entry, now) for entry in _entries().order_by("pk")]

    def apply(self, change: ScheduleChange, settle: Settle) -> str:
        """Create, change or delete an entry, in one transaction; see the port."""
        from django.db import router, transaction  # noqa: PLC0415 -- an extra
        from django_celery_beat.models import PeriodicTask  # noqa: PLC0415 -- an extra

        using = router.db_for_write(PeriodicTask)
        with _visit(is_write=True), transaction.atomic(using=using):
            entry = None if change.key is None else self._locked(change.key, using)
            now = datetime.now(timezone.utc)
            current = None if entry is None else self._schedule(entry, now)
            definition = settle(current)
            if change.operation == "create":
                entry = PeriodicTask()
            if entry is None:
                raise CommandRefused("the schedule is gone")
            if change.operation == "delete":
                key = _key(entry)
                entry.delete()
                return key
            change_entry(entry, definition, current, using)
            return _key(entry)

    def find(self, key: str) -> tuple[Schedule, Due] | None:
        """Return an entry by its key, and what beat would publish for it."""
        with _visit():
            entry = _entries().filter(pk=_number(key)).first()
            if entry is None:
                return None
            schedule = self._schedule(entry, datetime.now(timezone.utc))
            return schedule, _due(entry)

    def _locked(self, key: str, using: str) -> Any:
        # Without the tables beside it: databases do not lock what may be missing.
        from django_celery_beat.models import PeriodicTask  # noqa: PLC0415 -- an extra

        entries = PeriodicTask.objects.using(using).select_for_update()
        return entries.filter(pk=_number(key)).first()

    def _schedule(self, entry: Any, now: datetime) -> Schedule:
        timing = entry.solar or (entry.scheduler and entry.schedule)
        when = describe(timing, "UTC")
        key = _key(entry)
        next_run = next_run_of(timing, entry.last_run_at, now) if entry.enabled else None
        return Schedule(
            source_key=key,
            engine=self._engine,
            scheduler=self._scheduler,
            name=entry.name,
            task_name=entry.task,
            kind=when.kind,
            expression=when.text,
            timezone=when.timezone,
            queue=entry.queue or None,
            args=_read_json(entry.args, list, [_UNREADABLE]),
            kwargs=_read_json(entry.kwargs, dict, {_UNREADABLE: True}),
            is_enabled=entry.enabled,
            last_run_at=iso_of(entry.last_run_at),
            next_run_at=next_run,
            total_runs=entry.total_run_count,
            external_id=key,
            source=SOURCE,
        )


def _entries() -> Any:
    from django_celery_beat.models import PeriodicTask  # noqa: PLC0415 -- an extra

    return PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")


@contextmanager
def _visit(*, is_write: bool = False) -> Iterator[None]:
    """Use the database for a moment, and say in our own words what went wrong."""
    from django.core.exceptions import ValidationError  # noqa: PLC0415 -- an extra
    from django.db import Error, IntegrityError, close_old_connections  # noqa: PLC0415 -- an extra

    close_old_connections()
    try:
        yield
    except CommandError:
        raise
    except ValidationError as error:
        raise CommandRefused("; ".join(error.messages)[:500]) from error
    except IntegrityError as error:
        raise CommandRefused(f"the database refuses it: {error}"[:500]) from error
    except Error as error:
        text = f"the database of the schedules failed ({type(error).__name__})"
        raise AdapterError(text, indeterminate=is_write) from error
    finally:
        close_old_connections()


def _key(entry: Any) -> str:
    return f"{DATABASE_PREFIX}{entry.pk}"


def _number(key: str) -> int:
    digits = key.removeprefix(DATABASE_PREFIX)
    # More digits than a key has would be the database's own error.
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else -1  # noqa: PLR2004 -- see above


def _read_json(text: str | None, kind: type, otherwise: Any) -> Any:
    try:
        value = json.loads(text or ("[]" if kind is list else "{}"))
    except ValueError:
        return otherwise
    return value if isinstance(value, kind) else otherwise


def _due(entry: Any) -> Due:
    """Return what beat publishes for an entry."""
    names = ("queue", "exchange", "routing_key", "priority")
    options = {name: getattr(entry, name) for name in names if getattr(entry, name) is not None}
    if entry.expires_:
        options["expires"] = entry.expires_
    options["headers"] = _read_json(entry.headers, dict, {})
    args, kwargs = _read_json(entry.args, list, None), _read_json(entry.kwargs, dict, None)
    if args is None or kwargs is None:
        raise CommandRefused("the schedule's arguments cannot be read; correct them in Django")
    return Due(entry.name, entry.task, args, kwargs, options)
