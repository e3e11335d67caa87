"""Schedules that live in an engine's own scheduler, as values.

A *schedule* is one entry of the scheduler: which task runs when. Its members are those of a
row that the brain mirrors (PROTOCOL §6.8), so nothing has to be translated on the way out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["LIVE_MEMBERS", "Schedule", "ScheduleChange", "configuration", "row_of"]

LIVE_MEMBERS: Final = ("last_run_at", "next_run_at", "total_runs")
"""What changes by itself while a schedule stays as it was configured."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a scheduler. Arguments are raw: it does not leave the process."""

    source_key: str
    """The scheduler's own identity of the entry; never used for another one."""
    engine: str
    scheduler: str
    """Name of the scheduler, which the brain calls the owner: ``celery-beat``."""
    name: str
    task_name: str
    kind: str = "interval"
    """``interval``, ``cron``, ``solar`` or ``clocked``."""
    expression: str
    """By kind: seconds; five fields (minute, hour, day of month, month, day of week); event,
    latitude and longitude with colons between; an ISO-8601 moment."""
    timezone: str = "UTC"
    """IANA name."""
    queue: str | None = None
    priority: str = "normal"
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    is_enabled: bool = True
    last_run_at: str | None = None
    """UTC with six fractional digits, as ``clock.iso_utc`` writes it."""
    next_run_at: str | None = None
    total_runs: int = 0
    external_id: str | None = None
    catch_up: str = "skip"
    source: str = "agent"
    """Where in the scheduler it comes from: ``celery-beat:static``."""
    source_hash: str | None = None


class ScheduleChange(msgspec.Struct, frozen=True):
    """What an operator wants to be done with one schedule."""

    operation: str
    """``create``, ``update`` or ``delete``."""
    key: str | None = None
    """The ``source_key``; None to create one."""


def row_of(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as the object that the brain mirrors, all 20 members present."""
    # Not by msgspec: an argument may be any object.
    return {name: getattr(schedule, name) for name in Schedule.__struct_fields__}


def configuration(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what changes by itself."""
    return {name: value for name, value in row.items() if name not in LIVE_MEMBERS}
