"""What becomes of an event between the frame and the tables.

Theory of operation, in this order: scrub (PROTOCOL §5.2), read (§5.1), clamp the clock
(§5.4), compare with what is stored (§5.3), store, project (§5.6). An event of a task is
known by engine, task id, kind and *whole second*; any other by its id and exact time. An
event that cannot be stored for good is settled all the same: it is counted as rejected
and never comes again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from z4j_otel.clock import parse_iso_ns
from z4j_otel.devbrain.brain_rules import BrainRules
from z4j_otel.devbrain.inventory import Inventory
from z4j_otel.devbrain.projection import TaskTable
from z4j_otel.devbrain.rows import EventRow
from z4j_otel.ids import new_uuid

__all__ = ["KNOWN_KINDS", "Intake"]

KNOWN_KINDS: Final = frozenset(
    [
        "task.sent",
        "task.received",
        "task.started",
        "task.succeeded",
        "task.failed",
        "task.retried",
        "task.revoked",
        "task.rejected",
        "worker.online",
        "worker.offline",
        "worker.heartbeat",
        "queue.depth_report",
        "schedule.run_started",
        "schedule.run_completed",
        "schedule.created",
        "schedule.updated",
        "schedule.deleted",
        "schedule.snapshot",
    ]
)

_NS: Final = 1_000_000_000
_MAX_PAST_NS: Final = 400 * 86_400 * _NS
_MAX_FUTURE_NS: Final = 60 * _NS
_UUID_CHARS: Final = 36
# Widths of the columns; PostgreSQL refuses what is longer.
_MAX_ENGINE_CHARS: Final = 40
_MAX_TASK_ID_CHARS: Final = 200
_DATA_WIDTHS: Final = (("task_name", 500), ("queue", 200), ("worker", 200))


class Intake:
    """Takes the events of one project into its tables."""

    def __init__(
        self, project_id: str, rules: BrainRules, tasks: TaskTable, inventory: Inventory
    ) -> None:
        self._project_id = project_id
        self._rules = rules
        self._tasks = tasks
        self._inventory = inventory
        self._known: set[tuple[str, str, str, int]] = set()
        self.events: list[EventRow] = []
        """All stored events, in order of arrival."""
        self.refused: Counter[str] = Counter()
        """Events settled without being stored, by reason."""

    def take(self, raw: object, agent_id: str, now_ns: int) -> bool:
        """Take one element of a batch; True when it is newly stored."""
        if not isinstance(raw, dict):
            return self._refuse("not an object")
        event = self._rules.apply(raw)
        engine, kind = event.get("engine"), event.get("kind")
        if not (isinstance(engine, str) and engine and isinstance(kind, str) and kind):
            return self._refuse("no engine or kind")
        at_ns = _clamped(event.get("occurred_at"), now_ns)
        row = self._read(event, engine, kind, agent_id, at_ns)
        if not _fits(row):
            return self._refuse("does not fit a column")
        self._inventory.touch(engine, row.data, at_ns)
        # Without a task the engine and kind do not count: the sender's id alone does.
        identity = (
            (engine, row.task_id, row.kind, row.occurred_at_ns)
            if row.task_id
            else ("", row.sent_id, "", row.occurred_at_ns)
        )
        if identity in self._known:
            return self._refuse("duplicate")
        self._known.add(identity)
        self.events.append(row)
        self._inventory.count(engine, row.kind, row.data, agent_id)
        self._tasks.apply(row, at_ns=at_ns, now_ns=now_ns)
        return True

    def _refuse(self, reason: str) -> bool:
        self.refused[reason] += 1
        return False

    def _read(
        self, event: dict[str, Any], engine: str, kind: str, agent_id: str, at_ns: int
    ) -> EventRow:
        task_id = event.get("task_id")
        data = event.get("data")
        return EventRow(
            project_id=self._project_id,
            agent_id=agent_id,
            engine=engine,
            task_id=task_id if isinstance(task_id, str) else "",
            kind=kind if kind in KNOWN_KINDS else "unknown",
            occurred_at_ns=at_ns - at_ns % _NS if task_id else at_ns,
            data=data if isinstance(data, dict) else {},
            sent_id=_event_id(event.get("id")),
        )


def _event_id(value: object) -> str:
    """Return the sender's id when the brain would take it, else a random one."""
    if (
        isinstance(value, str)
        and len(value) == _UUID_CHARS
        and value[14] in "47"
        and value[8] == value[13] == value[18] == value[23] == "-"
    ):
        try:
            int(value.replace("-", ""), 16)
        except ValueError:
            return new_uuid()
        return value.lower()
    return new_uuid()


def _clamped(value: object, now_ns: int) -> int:
    """Read ``occurred_at``; now when it is missing, unreadable, too old or in the future."""
    at_ns = _read_time(value)
    if at_ns is None or not now_ns - _MAX_PAST_NS <= at_ns <= now_ns + _MAX_FUTURE_NS:
        return now_ns
    return at_ns


def _read_time(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    for text in (value, f"{value}+00:00"):  # a time without an offset is UTC
        try:
            return parse_iso_ns(text)
        except ValueError:
            continue
    return None


def _fits(row: EventRow) -> bool:
    return (
        len(row.engine) <= _MAX_ENGINE_CHARS
        and len(row.task_id) <= _MAX_TASK_ID_CHARS
        and all(
            not isinstance(text := row.data.get(key), str) or len(text) <= width
            for key, width in _DATA_WIDTHS
        )
        and not (_has_nul(row.task_id) or _has_nul(row.data))
    )


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
