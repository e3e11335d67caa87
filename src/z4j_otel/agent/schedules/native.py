"""The schedulers of this process: what they have, redacted, and what operators do to them.

This is the half that needs the application: its tables, its connections. It runs in the
worker's process, also where the agent has a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from z4j_otel.agent.schedules.rows import RowRedactor
from z4j_otel.commands import Action, Command, planned_task_id
from z4j_otel.errors import CommandRefused, CommandUnsupported
from z4j_otel.guard import note_failure
from z4j_otel.instrumentors.adapter import EngineAdapter
from z4j_otel.instrumentors.parameters import read_object, require_text
from z4j_otel.instrumentors.schedules import Scheduled, Scheduler
from z4j_otel.redaction import Redactor
from z4j_otel.schedules import Schedule, ScheduleChange, configuration
from z4j_otel.wire.schedules import digest

__all__ = ["NATIVE_ACTIONS", "Desk", "NativeSchedules", "schedulers_of"]

NATIVE_ACTIONS: Final = frozenset(
    {
        Action.SCHEDULE_ACTIVATE.value,
        Action.SCHEDULE_CONTROL.value,
        Action.SCHEDULE_MUTATE.value,
        Action.SCHEDULE_RESYNC.value,
        Action.SCHEDULE_TRIGGER.value,
        Action.SCHEDULE_ENABLE.value,
        Action.SCHEDULE_DISABLE.value,
    }
)
"""The actions that are about an engine's own schedules."""

_MAX_KEY_CHARS: Final = 255
_OPERATIONS: Final = frozenset({"create", "update", "delete", "trigger"})
_CHANGEABLE: Final = frozenset(
    {
        *("name", "task_name", "kind", "expression", "timezone", "queue", "args", "kwargs"),
        "is_enabled",
    }
)


class Desk(Protocol):
    """What the agent needs of the schedulers, wherever they are."""

    def capabilities(self) -> Mapping[str, list[str]]:
        """Return the schedulers' own capability tokens, by name."""
        ...

    def version(self, name: str) -> str:
        """Return a text that changes with the schedules; raises ``CommandError``."""
        ...

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return all schedules, redacted; raises ``CommandError``."""
        ...


def schedulers_of(adapter: EngineAdapter) -> list[Scheduler]:
    """Return the schedulers that an adapter offers; none when it cannot tell them."""
    try:
        return list(adapter.schedulers()) if isinstance(adapter, Scheduled) else []
    except Exception as error:  # noqa: BLE001 -- rim: adapters are third parties'
        note_failure(f"asking engine {adapter.name} for its schedulers", error)
        return []


class NativeSchedules:
    """Implements :class:`Desk` in this process, and carries out what changes schedules.

    Args:
        engines: By name; looked through at every call.
        redactor: For everything that leaves.
        names: The schedulers that may be shown and changed; all of them when empty.
    """

    def __init__(
        self,
        engines: Mapping[str, EngineAdapter],
        redactor: Redactor,
        names: Collection[str] = (),
    ) -> None:
        self._engines = engines
        self._names = names
        self._redact = RowRedactor(redactor)
        self._actions: dict[str, Callable[[Scheduler, Command], dict[str, Any]]] = {
            Action.SCHEDULE_MUTATE.value: self._mutate,
            Action.SCHEDULE_CONTROL.value: self._control,
            Action.SCHEDULE_TRIGGER.value: self._trigger_now,
            Action.SCHEDULE_ENABLE.value: self._switch,
            Action.SCHEDULE_DISABLE.value: self._switch,
        }

    def capabilities(self) -> dict[str, list[str]]:
        """Return the schedulers' own capability tokens, by name."""
        known: dict[str, list[str]] = {}
        for each in self._all():
            try:
                known[each.name] = list(each.capabilities())
            except Exception as error:  # noqa: BLE001 -- rim: it is as good as not there
                note_failure(f"asking scheduler {each.name} what it can do", error)
        return known

    def version(self, name: str) -> str:
        """Return a text that changes with the schedules.

        Raises:
            CommandError: There is no such scheduler, or it cannot be read.
        """
        return self._find(name).version()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return all schedules, redacted.

        Raises:
            CommandError: There is no such scheduler, or it cannot be read.
        """
        return [self._redact.row(schedule) for schedule in self._find(name).read()]

    def execute(self, command: Command) -> dict[str, Any]:
        """Carry out the native part of a command on schedules.

        Returns:
            ``source_key``, and ``trigger_result`` where a task was published; nothing for
            commands that change no schedule.

        Raises:
            CommandUnsupported: There is no such scheduler, or it cannot do that.
            CommandRefused: The parameters or the schedule's state do not allow it.
            AdapterError: The scheduler's store or the broker failed.
        """
        if command.action == Action.SCHEDULE_RESYNC.value:
            return {}
        scheduler = self._find(command.parameters.get("scheduler") or command.target.scheduler)
        action = self._actions.get(command.action)
        return {} if action is None else action(scheduler, command)

    def _all(self) -> list[Scheduler]:
        found = [each for adapter in self._engines.values() for each in schedulers_of(adapter)]
        return [each for each in found if not self._names or each.name in self._names]

    def _find(self, name: Any) -> Scheduler:
        known = {each.name: each for each in self._all()}
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if not isinstance(name, str) or name not in known:
            raise CommandUnsupported(f"this agent has no scheduler {str(name)[:40]!r}")
        return known[name]

    def _mutate(self, scheduler: Scheduler, command: Command) -> dict[str, Any]:
        parameters = command.parameters
        operation = require_text(parameters, "operation")
        if operation not in _OPERATIONS:
            raise CommandUnsupported(f"there is no operation {operation[:40]!r} on schedules")
        expected = read_object(parameters, "expected")
        definition = read_object(parameters, "definition") or {}
        if unknown := sorted(set(definition) - _CHANGEABLE):
            raise CommandRefused(f"a schedule has no {unknown[0][:40]!r} that could be set")

        def settle(current: Schedule | None) -> dict[str, Any]:
            self._compare(expected, current)
            return self._redact.unredacted(definition, current)

        if operation == "create":
            if expected is not None:
                raise CommandRefused("a new schedule has no former state")
            return {"source_key": scheduler.apply(ScheduleChange(operation), settle)}
        key = require_text(parameters, "schedule_id", max_chars=_MAX_KEY_CHARS)
        if operation == "trigger":
            return self._trigger(scheduler, key, settle, command)
        return {"source_key": scheduler.apply(ScheduleChange(operation, key), settle)}

    def _compare(self, expected: dict[str, Any] | None, current: Schedule | None) -> None:
        """Refuse when the schedule is not what the operator saw."""
        now = None if current is None else configuration(self._redact.row(current))
        seen = None if expected is None else configuration(expected)
        if digest(now) != digest(seen):
            gone = "is gone" if now is None else "has changed"
            raise CommandRefused(f"the schedule {gone} since the operator saw it; look again")

    def _control(self, scheduler: Scheduler, command: Command) -> dict[str, Any]:
        parameters = command.parameters
        key = require_text(parameters, "source_key", max_chars=_MAX_KEY_CHARS)
        desired = read_object(parameters, "desired_projection") or {}
        is_enabled = desired.get("is_enabled")
        if not isinstance(is_enabled, bool) or digest(desired) != parameters.get(
            "desired_projection_digest"
        ):
            raise CommandRefused("the desired schedule does not match its digest")

        def settle(current: Schedule | None) -> dict[str, Any]:
            row = None if current is None else self._redact.row(current)
            # Runs may have gone on since the brain's copy: they are no contradiction.
            if row is None or (
                digest(row) != parameters.get("expected_projection_digest")
                and digest(configuration({**row, "is_enabled": is_enabled}))
                != digest(configuration(desired))
            ):
                raise CommandRefused("the schedule has changed since the operator saw it")
            return {"is_enabled": is_enabled}

        return {"source_key": scheduler.apply(ScheduleChange("update", key), settle)}

    def _trigger_now(self, scheduler: Scheduler, command: Command) -> dict[str, Any]:
        key = self._key_of(scheduler, command)
        return self._trigger(scheduler, key, _as_it_is, command)

    def _switch(self, scheduler: Scheduler, command: Command) -> dict[str, Any]:
        wanted = {"is_enabled": command.action == Action.SCHEDULE_ENABLE.value}
        change = ScheduleChange("update", self._key_of(scheduler, command))
        return {"source_key": scheduler.apply(change, lambda current: _as_it_is(current, wanted))}

    def _trigger(
        self, scheduler: Scheduler, key: str, settle: Any, command: Command
    ) -> dict[str, Any]:
        published = scheduler.trigger(key, settle, task_id=planned_task_id(command))
        told = {"status": "success", "result": published, "error": None}
        return {"source_key": key, "trigger_result": told}

    @staticmethod
    def _key_of(scheduler: Scheduler, command: Command) -> str:
        """Find what a simple command names, by its key or by its name (PROTOCOL §6.6)."""
        parameters = command.parameters
        names = [parameters.get(each) for each in ("external_id", "schedule_id", "schedule_name")]
        for schedule in scheduler.read():
            if schedule.source_key in names or schedule.name in names:
                return schedule.source_key
        raise CommandRefused("there is no such schedule; send schedule.resync and look again")


def _as_it_is(
    current: Schedule | None, wanted: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    if current is None:
        raise CommandRefused("the schedule is gone")
    return wanted or {}
