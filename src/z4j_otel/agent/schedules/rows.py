"""Schedules as the brain may see them, and its wishes as the scheduler may take them.

The brain redacts every event before it checks the digests in it, and drops without a word
what differs then. So a row is redacted here before any digest is taken, by rules that
include the brain's own. What an operator sends back may hold what was shown: values that
are as they were shown mean the values behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from z4j_otel.errors import CommandRefused
from z4j_otel.redaction import Redactor
from z4j_otel.redaction.arguments import hide_arguments
from z4j_otel.redaction.policy import MARKER, REDACTED
from z4j_otel.schedules import Schedule, row_of
from z4j_otel.task_policies import policy_of
from z4j_otel.wire.schedules import digest

__all__ = ["RowRedactor"]

_MAX_STRING_BYTES: Final = 8000
"""The brain cuts strings of more than 8192 bytes, which breaks the digest."""
_MAX_CHARS: Final = 200
"""Of texts that the brain keeps in columns."""
_COLUMNS: Final = ("name", "task_name", "kind", "expression", "timezone", "queue")
_DEFINED: Final = ("name", "task_name", "kind", "expression", "timezone", "queue", "args", "kwargs")
"""The members that an operator may define and that may have been redacted."""


class RowRedactor:
    """Turns schedules into rows that may leave the process.

    Args:
        redactor: The agent's own; its rules are used, and its bounds as far as the brain's.
    """

    def __init__(self, redactor: Redactor) -> None:
        policy = redactor.policy
        if policy.max_string_bytes > _MAX_STRING_BYTES:
            redactor = Redactor(replace(policy, max_string_bytes=_MAX_STRING_BYTES))
        self._redactor = redactor

    def row(self, schedule: Schedule) -> dict[str, Any]:
        """Return the redacted row of a schedule, of the protocol's form."""
        row = row_of(schedule)
        for name in _COLUMNS:
            if row[name] is not None:
                row[name] = self._redactor.redact_text(row[name]).strip()[:_MAX_CHARS].strip()
        if row["name"] != schedule.name:
            # Two names that differ only in what was taken out are still two names.
            key = schedule.source_key
            row["name"] = f"{row['name'][: _MAX_CHARS - len(key) - 3]} ({key})".strip()
        row["task_name"] = row["task_name"] or "unknown"
        args, kwargs = _told_arguments(schedule)
        row["args"] = _list(self._redactor.redact(args))
        row["kwargs"] = _object(self._redactor.redact(kwargs))
        return row

    def unredacted(self, definition: Mapping[str, Any], current: Schedule | None) -> dict[str, Any]:
        """Return what an operator defines, with the true values behind what was shown.

        Args:
            definition: Members of a row and their new values.
            current: The schedule that is to be changed; None for a new one.

        Raises:
            CommandRefused: A value has a part that was redacted, and another that is new.
        """
        shown = None if current is None else self.row(current)
        wanted: dict[str, Any] = {}
        for name, value in definition.items():
            if shown is not None and name in shown and digest(shown[name]) == digest(value):
                # As it was: not a change, whatever is behind it.
                continue
            if name in _DEFINED and _has_marker(value):
                raise CommandRefused(
                    f"{name} holds {REDACTED}, which stands for a value that only the scheduler"
                    " knows; change it where the schedule is kept, or write the value out"
                )
            wanted[name] = value
        return wanted


def _told_arguments(schedule: Schedule) -> tuple[Any, Any]:
    """Return the arguments without what the policy of the schedule's task hides."""
    bound = policy_of(schedule.task_name)
    if bound is None:
        return schedule.args, schedule.kwargs
    return hide_arguments(bound, schedule.args, schedule.kwargs)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}


def _has_marker(value: Any) -> bool:
    if isinstance(value, str):
        return MARKER.search(value) is not None
    if isinstance(value, dict):
        return any(_has_marker(key) or _has_marker(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_marker(item) for item in value)
