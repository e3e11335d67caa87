"""``bulk_retry``: run several tasks again, one after the other, each by reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from z4j_otel.clock import Clock
from z4j_otel.commands import Command, planned_task_id
from z4j_otel.errors import AdapterError, CommandError, CommandRefused
from z4j_otel.instrumentors.parameters import MAX_ID_CHARS, read_array, read_object

__all__ = ["BulkRetry"]

_HARD_CAP: Final = 10_000
_DEFAULT_MAX: Final = 1000
_SHARE_OF_TIME: Final = 0.8
"""Of the command's time; what is left is for the answer."""
_MAX_BROKEN: Final = 3
_MAX_FAILURES: Final = 100
_MAX_ERROR_CHARS: Final = 200


class BulkRetry:
    """Repeats tasks by their ids.

    Args:
        retry: Carries out one ``retry_task``, given its parameters and the new task's id.
        clock: Tells when the command's time is up.
    """

    def __init__(
        self, retry: Callable[[dict[str, Any], str], dict[str, Any]], clock: Clock
    ) -> None:
        self._retry = retry
        self._clock = clock

    def retry(self, command: Command) -> dict[str, Any]:
        """Run tasks again; those that cannot are told one by one.

        It ends early when the time is up or the broker failed three times in a row; what
        was not tried counts as skipped.

        Args:
            command: Its parameters are ``filter`` with ``task_ids``, perhaps ``task_names``
                and ``task_priorities``, and ``max``.

        Returns:
            ``requested``, ``succeeded``, ``failed``, ``skipped``, ``capped``,
            ``circuit_broken``, ``new_task_ids`` and ``failures`` (at most 100 of them, each
            ``task_id`` and ``error``).

        Raises:
            CommandError: Nothing could be repeated; of a single task its own error.
        """
        condition = read_object(command.parameters, "filter") or {}
        asked = _read_ids(condition)
        most = _read_max(command.parameters)
        names = read_object(condition, "task_names") or {}
        priorities = read_object(condition, "task_priorities") or {}
        deadline_s = self._clock.monotonic_s() + command.timeout_s * _SHARE_OF_TIME
        new_ids: list[str] = []
        errors: list[tuple[str, CommandError]] = []
        broken = 0
        for task_id in asked[:most]:
            if self._clock.monotonic_s() > deadline_s or broken == _MAX_BROKEN:
                break
            try:
                new_ids.append(self._retry_one(command, task_id, names, priorities))
                broken = 0
            except CommandError as error:
                errors.append((task_id, error))
                broken = broken + 1 if isinstance(error, AdapterError) else 0
        if errors and not new_ids:
            raise _summary(errors)
        return {
            "requested": len(asked),
            "succeeded": len(new_ids),
            "failed": len(errors),
            "skipped": len(asked) - len(new_ids) - len(errors),
            "capped": len(asked) > most,
            "circuit_broken": broken == _MAX_BROKEN,
            "new_task_ids": new_ids,
            "failures": [
                {"task_id": task_id, "error": str(error)[:_MAX_ERROR_CHARS]}
                for task_id, error in errors[:_MAX_FAILURES]
            ],
        }

    def _retry_one(
        self, command: Command, task_id: str, names: dict[str, Any], priorities: dict[str, Any]
    ) -> str:
        one = {
            "task_id": task_id,
            "task_name": names.get(task_id),
            "priority": priorities.get(task_id),
        }
        return str(self._retry(one, planned_task_id(command, task_id))["new_task_id"])


def _summary(errors: list[tuple[str, CommandError]]) -> CommandError:
    """Return what is raised when nothing was repeated."""
    first = errors[0][1]
    if len(errors) == 1:
        return first
    uncertain = any(error.indeterminate for _, error in errors)
    text = f"none of {len(errors)} tasks could be repeated; the first: {first.message}"
    return type(first)(text, indeterminate=uncertain)


def _read_ids(condition: dict[str, Any]) -> list[str]:
    found = read_array(condition, "task_ids")
    if not found:
        raise CommandRefused("filter.task_ids is missing; select tasks and repeat those")
    if len(found) > _HARD_CAP:
        raise CommandRefused(f"more than {_HARD_CAP} tasks; repeat them in parts")
    for task_id in found:
        if not isinstance(task_id, str) or not 0 < len(task_id) <= MAX_ID_CHARS:
            raise CommandRefused(
                f"each of task_ids must be a text of 1 to {MAX_ID_CHARS} characters"
            )
    # A task named twice is meant once.
    return list(dict.fromkeys(found))


def _read_max(parameters: dict[str, Any]) -> int:
    value = parameters.get("max", _DEFAULT_MAX)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _HARD_CAP:
        raise CommandRefused(f"max must be a whole number from 1 to {_HARD_CAP}")
    return value
