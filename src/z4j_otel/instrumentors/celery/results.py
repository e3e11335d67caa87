"""What the result backend knows of a task, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from z4j_otel.clock import iso_utc, parse_iso_ns
from z4j_otel.errors import AdapterError
from z4j_otel.instrumentors.celery.extract import queue_of

__all__ = ["StoredResult", "read_result"]

_MAX_EXCEPTION_CHARS: Final = 500
_READY: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


@dataclass(frozen=True, slots=True)
class StoredResult:
    """One task's row in the result backend."""

    state: str
    """Celery's state; ``PENDING`` means that the backend knows nothing."""
    finished_at: str | None = None
    """ISO time in UTC, or None while the task is not finished."""
    exception: str | None = None
    """``Class: message`` of a failure, at most 500 characters."""
    name: str | None = None
    args: list[Any] | tuple[Any, ...] | None = None
    """None unless the app has ``result_extended``; so are the next two."""
    kwargs: dict[str, Any] | None = None
    queue: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the task reached an end."""
        return self.state in _READY


def read_result(app: Any, task_id: str, task_name: str | None = None) -> StoredResult | None:
    """Ask the result backend about a task.

    Args:
        app: The Celery app.
        task_id: The task.
        task_name: Its name where known: a task class may have a backend of its own.

    Returns:
        What is stored, or None when the app has no backend that can be asked.

    Raises:
        AdapterError: The backend cannot be reached or cannot read the row.
    """
    try:
        backend = _backend(app, task_name)
        if backend is None:
            return None
        meta = backend.get_task_meta(task_id, cache=False)
    except Exception as error:
        message = f"the result backend cannot be read ({type(error).__name__})"
        raise AdapterError(message) from error
    return _as_value(meta)


def _backend(app: Any, task_name: str | None) -> Any:
    task = app.tasks.get(task_name) if task_name else None
    backend = app.backend if task is None else task.backend
    kind = type(backend)
    if kind.__name__ == "DisabledBackend" or kind.__module__ == "celery.backends.rpc":
        # rpc results are messages to one caller: reading would take them away.
        return None
    return backend


def _as_value(meta: Mapping[str, Any]) -> StoredResult:
    state = str(meta.get("status") or "PENDING")
    is_finished = state in _READY
    args, kwargs = meta.get("args"), meta.get("kwargs")
    return StoredResult(
        state=state,
        finished_at=_iso(meta.get("date_done")) if is_finished else None,
        exception=_exception(meta.get("result")) if is_finished and state != "SUCCESS" else None,
        name=_text(meta.get("name")),
        args=args if isinstance(args, list | tuple) else None,
        kwargs=dict(kwargs) if isinstance(kwargs, Mapping) else None,
        queue=queue_of({"routing_key": meta.get("queue")}),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _exception(result: object) -> str | None:
    if not isinstance(result, BaseException):
        return None
    try:
        text = f"{type(result).__name__}: {result}"
    except Exception:  # noqa: BLE001 -- the application's own __str__
        text = type(result).__name__
    return text[:_MAX_EXCEPTION_CHARS]


def _iso(moment: object) -> str | None:
    """Bring a backend's time to one form; a time without an offset is UTC, as Celery's is."""
    if isinstance(moment, datetime):
        moment = moment.isoformat()
    if not isinstance(moment, str):
        return None
    for text in (moment, f"{moment}+00:00"):
        try:
            return iso_utc(parse_iso_ns(text))
        except ValueError:
            continue
    return None
