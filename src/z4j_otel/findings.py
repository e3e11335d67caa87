"""What a check found out, as a value: the words that ``z4j-otel doctor`` prints.

Whoever checks something returns findings; nobody prints them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

__all__ = ["Finding", "Verdict", "failed", "fine", "skipped", "warned"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Verdict(Enum):
    """How a check came out."""

    OK = "OK"
    WARN = "WARN"
    """It works, and not as well as it could, or not for long."""
    FAIL = "FAIL"
    """It does not work."""
    SKIP = "SKIP"
    """Nothing was checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found out. No text of it ever holds a secret."""

    name: str
    """Of the check: lower case, for example ``dns`` or ``celery.broker``."""
    verdict: Verdict
    message: str
    """What is so, in one line."""
    cure: str = ""
    """What to type or to change next, in one line; every WARN and FAIL has one."""
    steps: tuple[str, ...] = ()
    """The same at length: lines to type, or comments that begin with ``#``."""
    details: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """JSON values for programs."""

    @property
    def is_ok(self) -> bool:
        """Whether nothing is broken; a warning breaks nothing."""
        return self.verdict is not Verdict.FAIL


def fine(name: str, message: str, **details: Any) -> Finding:
    """Return that all is well."""
    return Finding(name, Verdict.OK, message, details=details)


def skipped(name: str, message: str, **details: Any) -> Finding:
    """Return that nothing was checked, and why."""
    return Finding(name, Verdict.SKIP, message, details=details)


def warned(name: str, message: str, cure: str, *steps: str, **details: Any) -> Finding:
    """Return what works and should be better, with its cure."""
    return Finding(name, Verdict.WARN, message, cure, steps, details)


def failed(name: str, message: str, cure: str, *steps: str, **details: Any) -> Finding:
    """Return what does not work, with its cure."""
    return Finding(name, Verdict.FAIL, message, cure, steps, details)
