"""The policy of one task, as a value: checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from zlib import crc32

from z4j_otel.errors import ConfigError

__all__ = ["PRIORITIES", "Paths", "TaskPolicy", "build_policy", "strictest"]

PRIORITIES: Final = ("critical", "high", "normal", "low")
"""The brain's labels, the most urgent first."""

_MOST_PATHS: Final = 100
_MOST_TAGS: Final = 32
_MOST_TAG_CHARS: Final = 200
_MOST_MS: Final = 10**12
_HASHES: Final = 2**32
_SOURCE: Final = "z4j_task"

Paths: TypeAlias = frozenset[tuple[str, ...]]
"""Places in a task's arguments: a name, and the keys to follow from there."""


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """What may be told of one task."""

    redact: Paths = frozenset()
    """Arguments, or places in them, whose values are hidden."""
    keep: Paths | None = None
    """The only ones whose values are shown; None for all."""
    redact_result: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    priority: str | None = None
    """One of :data:`PRIORITIES`, for messages that have none of their own."""
    skip: bool = False
    """Whether nothing at all is told of the task's runs."""
    sample_rate: float = 1.0
    """The share of runs that are told, 0 to 1."""
    expected_duration_ms: int | None = None
    deadline_ms: int | None = None

    @property
    def hides_arguments(self) -> bool:
        """Whether the value of any argument is hidden."""
        return bool(self.redact) or self.keep is not None

    def tells_of(self, task_id: object) -> bool:
        """Whether a run is told; every process gives the same answer for one task id."""
        if self.skip:
            return False
        if self.sample_rate >= 1:
            return True
        return crc32(str(task_id).encode("utf-8", "replace")) < self.sample_rate * _HASHES


def strictest(policies: Iterable[TaskPolicy]) -> TaskPolicy | None:
    """Return one policy that hides what any of them hides; None for none.

    Of tags, and of what only one value can be told of, the first one's word counts.
    """
    found: TaskPolicy | None = None
    for policy in policies:
        if found is None or found == policy:
            found = policy
            continue
        keeps = [each.keep for each in (found, policy) if each.keep is not None]
        found = TaskPolicy(
            redact=found.redact | policy.redact,
            keep=frozenset.intersection(*keeps) if keeps else None,
            redact_result=found.redact_result or policy.redact_result,
            tags={**policy.tags, **found.tags},
            priority=found.priority or policy.priority,
            skip=found.skip or policy.skip,
            sample_rate=min(found.sample_rate, policy.sample_rate),
            expected_duration_ms=found.expected_duration_ms or policy.expected_duration_ms,
            deadline_ms=found.deadline_ms or policy.deadline_ms,
        )
    return found


def build_policy(options: Mapping[str, Any]) -> TaskPolicy:
    """Check what a user gave, and return it as a policy.

    Args:
        options: By the names of the policy's members; None stands for what was not given.

    Raises:
        ConfigError: A value is not of the expected form; the text names it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return TaskPolicy(**{name: _READERS[name](name, value) for name, value in given.items()})


def _paths(name: str, value: Any) -> Paths:
    wanted = f"expected a list of the names of arguments, as {name}=['card', 'user.email']"
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise ConfigError(name, _SOURCE, wanted)
    if len(value) > _MOST_PATHS:
        raise ConfigError(name, _SOURCE, f"expected at most {_MOST_PATHS} names")
    paths = set()
    for each in value:
        parts = tuple(each.split(".")) if isinstance(each, str) else ()
        if not parts or not all(parts):
            raise ConfigError(name, _SOURCE, wanted)
        paths.add(parts)
    return frozenset(paths)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(name, _SOURCE, "expected True or False")
    return value


def _tags(name: str, value: Any) -> Mapping[str, str]:
    if isinstance(value, (list, tuple, set, frozenset)):
        # The existing agents' form: names alone.
        value = dict.fromkeys(value, "true")
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) and text for pair in value.items() for text in pair
    ):
        raise ConfigError(name, _SOURCE, f"expected texts by name, as {name}={{'team': 'billing'}}")
    if len(value) > _MOST_TAGS or any(
        len(text) > _MOST_TAG_CHARS for pair in value.items() for text in pair
    ):
        bounds = f"expected at most {_MOST_TAGS} tags of at most {_MOST_TAG_CHARS} characters"
        raise ConfigError(name, _SOURCE, bounds)
    return dict(value)


def _priority(name: str, value: Any) -> str:
    if value not in PRIORITIES:
        raise ConfigError(name, _SOURCE, f"expected one of {', '.join(PRIORITIES)}")
    return str(value)


def _rate(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= 1:
        raise ConfigError(name, _SOURCE, "expected a number from 0 (no run) to 1 (every run)")
    return float(value)


def _milliseconds(name: str, value: Any) -> int:
    if type(value) is not int or not 0 < value <= _MOST_MS:
        raise ConfigError(name, _SOURCE, "expected a whole number of milliseconds above 0")
    return value


_READERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "redact": _paths,
    "keep": _paths,
    "redact_result": _truth,
    "tags": _tags,
    "priority": _priority,
    "skip": _truth,
    "sample_rate": _rate,
    "expected_duration_ms": _milliseconds,
    "deadline_ms": _milliseconds,
}
