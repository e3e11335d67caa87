"""What a schedule publishes when it is due, and how its runs are known by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

__all__ = ["SCHEDULE_HEADER", "Due", "around_due", "beats", "name_schedule", "schedule_of"]

SCHEDULE_HEADER: Final = "periodic_task_name"
"""Message header with the schedule's name; django-celery-beat's own."""
_due: Final[ContextVar[str]] = ContextVar("z4j_celery_schedule", default="")
beats: Final[list[bool]] = []
"""Empty until this process is known to run beat."""


class Due(NamedTuple):
    """One publish of a schedule: everything beat would say."""

    name: str
    """The schedule's."""
    task_name: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    """As for ``apply_async``."""

    def options_with_name(self) -> dict[str, Any]:
        """Return the options, with a header that names the schedule."""
        headers = {**(self.options.get("headers") or {}), SCHEDULE_HEADER: self.name}
        return {**self.options, "headers": headers}


def schedule_of(headers: Mapping[str, Any]) -> str | None:
    """Return the name of the schedule that published a message, or None."""
    name = headers.get(SCHEDULE_HEADER)
    return name if isinstance(name, str) and name else None


def around_due(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """``celery.beat.Scheduler.apply_async``: note which entry is published."""
    entry = kwargs.get("entry", args[0] if args else None)
    with _publishing(str(getattr(entry, "name", "") or "")):
        return wrapped(*args, **kwargs)


def name_schedule(headers: dict[str, Any]) -> None:
    """Say in a message's headers which schedule publishes it, if one does right now."""
    name = _due.get()
    if name:
        headers.setdefault(SCHEDULE_HEADER, name)


@contextmanager
def _publishing(name: str) -> Iterator[None]:
    token = _due.set(name)
    try:
        yield
    finally:
        _due.reset(token)
