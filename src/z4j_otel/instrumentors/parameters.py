"""Reading a command's parameters: each value checked, each refusal in plain words.

Shared by the adapters of all engines. A refusal names the parameter and what was expected,
never the value, which may be a secret.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from z4j_otel.errors import CommandRefused

__all__ = [
    "MAX_ID_CHARS",
    "MAX_NAME_CHARS",
    "read_array",
    "read_eta_s",
    "read_object",
    "read_priority_label",
    "read_task_id",
    "read_text",
    "require_text",
]

MAX_ID_CHARS: Final = 200
"""The longest task id the wire has."""
MAX_NAME_CHARS: Final = 255
"""The longest name of a task or queue: AMQP's bound on a short string."""

_LABELS: Final = frozenset({"critical", "high", "normal", "low"})
_ETA_PAST_S: Final = 60.0
_ETA_AHEAD_S: Final = 365 * 86_400.0


def read_text(
    parameters: Mapping[str, Any], key: str, *, max_chars: int = MAX_NAME_CHARS
) -> str | None:
    """Return a text of 1 to ``max_chars`` printable characters, or None where there is none.

    Raises:
        CommandRefused: The value is no such text.
    """
    value = parameters.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise CommandRefused(f"{key} must be a text")
    if not 0 < len(value) <= max_chars:
        raise CommandRefused(f"{key} must have 1 to {max_chars} characters")
    if not value.isprintable():
        raise CommandRefused(f"{key} must not have control characters")
    return value


def require_text(
    parameters: Mapping[str, Any], key: str, *, max_chars: int = MAX_NAME_CHARS
) -> str:
    """Return a text as :func:`read_text` does, refusing where there is none.

    Raises:
        CommandRefused: The value is missing or is no such text.
    """
    value = read_text(parameters, key, max_chars=max_chars)
    if value is None:
        raise CommandRefused(f"{key} is missing")
    return value


def read_task_id(parameters: Mapping[str, Any]) -> str:
    """Return ``task_id``, 1 to 200 printable characters.

    Raises:
        CommandRefused: It is missing or is no such text.
    """
    return require_text(parameters, "task_id", max_chars=MAX_ID_CHARS)


def read_array(parameters: Mapping[str, Any], key: str) -> list[Any] | None:
    """Return a list, or None where there is none.

    Raises:
        CommandRefused: The value is no list.
    """
    value = parameters.get(key)
    if value is None:
        return None
    if not isinstance(value, list):
        raise CommandRefused(f"{key} must be a list")
    return value


def read_object(parameters: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """Return an object untouched, or None where there is none.

    Raises:
        CommandRefused: The value is no object, or has a key that is no text.
    """
    value = parameters.get(key)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise CommandRefused(f"{key} must be an object")
    if not all(isinstance(name, str) for name in value):
        raise CommandRefused(f"{key} must have texts as keys")
    return value


def read_eta_s(parameters: Mapping[str, Any], *, now_ns: int) -> float | None:
    """Return ``eta`` where it lies ahead; None means at once.

    A moment up to 60 seconds ago counts as now: the command was on its way meanwhile.

    Args:
        parameters: The command's parameters.
        now_ns: Current time, nanoseconds since the Unix epoch.

    Returns:
        Seconds since the Unix epoch, later than now, or None.

    Raises:
        CommandRefused: The value is no finite number, is more than 60 seconds ago or more
            than 365 days ahead.
    """
    value = parameters.get("eta")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CommandRefused("eta must be a number of seconds since 1970")
    try:
        ahead_s = float(value) - now_ns / 1e9
    except OverflowError:
        ahead_s = math.inf
    if not -_ETA_PAST_S <= ahead_s <= _ETA_AHEAD_S:
        raise CommandRefused("eta must lie between 60 seconds ago and 365 days ahead")
    return float(value) if ahead_s > 0 else None


def read_priority_label(parameters: Mapping[str, Any]) -> str | None:
    """Return the operator's priority, or None where the engine's own is to stay.

    The brain sends ``normal`` whether or not anybody chose it, so ``normal`` means no
    choice: a task published with another priority keeps it.

    Returns:
        ``critical``, ``high``, ``low`` or None.

    Raises:
        CommandRefused: The value is no label the brain knows.
    """
    value = parameters.get("priority")
    if value is None:
        return None
    if not isinstance(value, str) or value not in _LABELS:
        raise CommandRefused("priority must be critical, high, normal or low")
    return None if value == "normal" else value
