"""How the brain makes rows of tasks out of events (PROTOCOL §5.6).

Theory of operation: a row is keyed by engine and task id. The first event of one of the
six kinds below makes it; any later event is first accepted or rejected, and then fills
the columns of its kind and no others:

1. a final event on a row that is not final is always accepted,
2. any other event on a final row never is,
3. within the same tier, an event older than a time the row has is rejected; ties pass,
4. a rejected event may still fill in a missing name.

An agent that sends events out of lifecycle order loses columns, here as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.clock import iso_z
from z4j_otel.devbrain.fingerprint import failure_fingerprint
from z4j_otel.devbrain.rows import EventRow, TaskRow

__all__ = ["FINAL_STATES", "TaskTable"]

FINAL_STATES: Final = frozenset({"success", "failure", "revoked"})

_STATE_OF: Final = {
    "task.received": "received",
    "task.started": "started",
    "task.succeeded": "success",
    "task.failed": "failure",
    "task.retried": "retry",
    "task.revoked": "revoked",
}
_PRIORITIES: Final = frozenset({"critical", "high", "normal", "low"})
_MAX_TEXT_CHARS: Final = 8192
_MAX_ID_CHARS: Final = 200
_MAX_RECONCILED_EXCEPTION_CHARS: Final = 500


@dataclass(slots=True)
class _Task:
    """The columns of one row, times in nanoseconds."""

    name: str = "unknown"
    queue: str | None = None
    state: str = "pending"
    priority: str = "normal"
    args: Any = None
    kwargs: Any = None
    result: Any = None
    exception: str | None = None
    traceback: str | None = None
    retry_count: int = 0
    received_at_ns: int | None = None
    started_at_ns: int | None = None
    finished_at_ns: int | None = None
    runtime_ms: int | None = None
    worker_name: str | None = None
    parent_task_id: str | None = None
    root_task_id: str | None = None
    fingerprint: str | None = None
    last_failed_at_ns: int | None = None
    created_at_ns: int = 0
    updated_at_ns: int = 0

    def is_older(self, at_ns: int) -> bool:
        """Whether no time of the row is later than ``at_ns``."""
        times = (self.received_at_ns, self.started_at_ns, self.finished_at_ns)
        return all(time is None or time <= at_ns for time in times)


class TaskTable:
    """The task rows of one project."""

    def __init__(
        self, project_id: str, is_foreign: Callable[[str], bool] = lambda _task_id: False
    ) -> None:
        """Make an empty table.

        Args:
            project_id: The project that the rows belong to.
            is_foreign: Whether a task id is known to other projects only; such an id is
                not taken as a parent or root.
        """
        self._project_id = project_id
        self._is_foreign = is_foreign
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._ids: set[str] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def apply(self, event: EventRow, *, at_ns: int, now_ns: int) -> bool:
        """Project one stored event; True when a row took it.

        Args:
            event: The event; its own time is cut to the second and not used.
            at_ns: When it happened, exactly; later than ``now_ns`` counts as now.
            now_ns: The brain's clock.
        """
        state = _STATE_OF.get(event.kind)
        task_id, data = event.task_id, event.data
        if state is None or not task_id:
            return False
        at_ns = min(at_ns, now_ns)
        key = (event.engine, task_id)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = _new_task(data, now_ns)
            self._ids.add(task_id)
        elif not _is_accepted(task, state, at_ns):
            _fill_missing_name(task, data)
            return False
        task.state = state
        task.updated_at_ns = now_ns
        priority = data.get("priority")
        if isinstance(priority, str) and priority in _PRIORITIES:
            task.priority = priority
        self._fill(task, task_id, state, data, at_ns)
        return True

    def reconcile(self, engine: str, task_id: str, answer: dict[str, Any], now_ns: int) -> bool:
        """Apply the result of a ``reconcile_task`` (PROTOCOL §6.2); True when it changed a row.

        ``answer["finished_at_ns"]`` is the parsed time or None.
        """
        task = self._tasks.get((engine, task_id))
        state = answer.get("engine_state")
        if task is None or task.state in FINAL_STATES or state not in {"success", "failure"}:
            return False
        exception = answer.get("exception")
        if exception is not None and not isinstance(exception, str):
            return False
        task.state = state
        task.finished_at_ns = answer.get("finished_at_ns") or now_ns
        if exception is not None:
            task.exception = exception[:_MAX_RECONCILED_EXCEPTION_CHARS]
        task.updated_at_ns = now_ns
        return True

    def has_id(self, task_id: str) -> bool:
        """Whether any engine has a row with this id."""
        return task_id in self._ids

    def row(self, engine: str, task_id: str) -> TaskRow | None:
        """Return a snapshot of one row, or None."""
        task = self._tasks.get((engine, task_id))
        return None if task is None else self._snapshot(engine, task_id, task)

    def rows(self) -> list[TaskRow]:
        """Return snapshots of all rows, in order of creation."""
        return [self._snapshot(*key, task) for key, task in self._tasks.items()]

    def unfinished_before(self, moment_ns: int) -> Iterator[tuple[str, str]]:
        """Yield engine and id of the tasks the brain would ask about (PROTOCOL §6.2)."""
        for key, task in self._tasks.items():
            since = task.started_at_ns or task.received_at_ns or task.created_at_ns
            if task.state in {"pending", "started", "retry"} and since < moment_ns:
                yield key

    def _fill(
        self, task: _Task, task_id: str, state: str, data: dict[str, Any], at_ns: int
    ) -> None:
        if state == "received":
            _fill_received(task, data, at_ns)
            # A second `received` without relatives keeps those of the first.
            parent = self._relative(data.get("parent_task_id"), task_id)
            root = self._relative(data.get("root_task_id"), task_id)
            task.parent_task_id = parent or task.parent_task_id
            task.root_task_id = root or task.root_task_id
        elif state == "started":
            task.started_at_ns = at_ns
            task.worker_name = _text(data.get("worker"))
        elif state == "retry":
            task.retry_count = _integer(data.get("retry_count")) or 0
        else:
            _fill_final(task, state, data, at_ns)

    def _relative(self, value: object, task_id: str) -> str | None:
        relative = "" if value is None else str(value)
        is_usable = (
            0 < len(relative) <= _MAX_ID_CHARS
            and "\0" not in relative
            and relative != task_id
            and (self.has_id(relative) or not self._is_foreign(relative))
        )
        return relative if is_usable else None

    def _snapshot(self, engine: str, task_id: str, task: _Task) -> TaskRow:
        return TaskRow(
            project_id=self._project_id,
            engine=engine,
            task_id=task_id,
            name=task.name,
            queue=task.queue,
            state=task.state,
            priority=task.priority,
            args=task.args,
            kwargs=task.kwargs,
            result=task.result,
            exception=task.exception,
            traceback=task.traceback,
            retry_count=task.retry_count,
            eta=None,
            received_at=_iso(task.received_at_ns),
            started_at=_iso(task.started_at_ns),
            finished_at=_iso(task.finished_at_ns),
            runtime_ms=task.runtime_ms,
            worker_name=task.worker_name,
            parent_task_id=task.parent_task_id,
            root_task_id=task.root_task_id,
            tags=[],
            fingerprint=task.fingerprint,
            last_failed_at=_iso(task.last_failed_at_ns),
            created_at=iso_z(task.created_at_ns),
            updated_at=iso_z(task.updated_at_ns),
        )


def _new_task(data: dict[str, Any], now_ns: int) -> _Task:
    return _Task(
        name=_text(data.get("task_name")) or "unknown",
        queue=_text(data.get("queue")),
        created_at_ns=now_ns,
    )


def _is_accepted(task: _Task, state: str, at_ns: int) -> bool:
    if (state in FINAL_STATES) != (task.state in FINAL_STATES):
        return state in FINAL_STATES
    return task.is_older(at_ns)


def _fill_missing_name(task: _Task, data: dict[str, Any]) -> None:
    if task.name in {"", "unknown", "<unknown>"} or task.name.startswith("<unknown:"):
        task.name = _text(data.get("task_name")) or task.name


def _fill_received(task: _Task, data: dict[str, Any], at_ns: int) -> None:
    task.name = _text(data.get("task_name")) or task.name
    task.queue = _text(data.get("queue"))
    task.args = data.get("args")
    task.kwargs = data.get("kwargs")
    task.received_at_ns = at_ns


def _fill_final(task: _Task, state: str, data: dict[str, Any], at_ns: int) -> None:
    task.finished_at_ns = at_ns
    is_failure = state == "failure"
    task.result = data.get("result") if state == "success" else None
    task.exception = _cut(data.get("exception")) if is_failure else None
    task.traceback = _cut(data.get("traceback")) if is_failure else None
    task.runtime_ms = None if state == "revoked" else _integer(data.get("runtime_ms"))
    if is_failure:
        task.fingerprint = failure_fingerprint(task.exception, task.traceback)
        task.last_failed_at_ns = at_ns


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _cut(value: object) -> str | None:
    return None if value is None else str(value)[:_MAX_TEXT_CHARS]


def _integer(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]  # whatever was sent
    except (TypeError, ValueError, OverflowError):
        return None


def _iso(at_ns: int | None) -> str | None:
    return None if at_ns is None else iso_z(at_ns)
