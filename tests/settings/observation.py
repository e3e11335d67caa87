"""What an observation of a setting is, and how one is written down.

Every row of ``z4j_otel.config.SETTINGS`` has one: a function that is given a
:class:`~tests.settings.lab.Lab`, in which one configuration holds, and returns what can be
seen of the setting's effect, in a few words. It looks where the effect is (at the brain's
end, in a file, at a log) and never at the configuration itself. ::

    @observe("worker_role", "beat", seen="beat", default="other")
    def _role(lab):
        return lab.talk().hello.worker_role
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OBSERVATIONS", "REFUSED", "Observation", "observe"]

REFUSED = "refused"
"""What is seen of a configuration that is no good: no agent starts."""


@dataclass(frozen=True)
class Observation:
    """How one setting's effect is seen."""

    name: str
    value: Any
    """Another value than the default, as code gives it; or makes it of the lab."""
    seen: str
    """What is seen when the value holds."""
    default: str
    """What is seen when nothing is set."""
    look: Callable[[Any], str]
    base: dict[str, Any] = field(default_factory=dict)
    """What else the environment holds, by setting name: a text, or what makes it of the lab."""


OBSERVATIONS: dict[str, Observation] = {}
"""All observations by the setting's name."""


def observe(name: str, value: Any, *, seen: str, default: str, **base: Any) -> Callable[..., Any]:
    """Register a function as the observation of a setting; see :class:`Observation`."""

    def add(look: Callable[[Any], str]) -> Callable[[Any], str]:
        assert name not in OBSERVATIONS, f"{name} has two observations"
        OBSERVATIONS[name] = Observation(name, value, seen, default, look, base)
        return look

    return add
