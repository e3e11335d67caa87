"""Which policy a task has: from its name to what a decorator said of it.

Theory of operation
    A policy is written on what it decorates: a function, a task's class, a task. Engines
    know tasks by name and find them here by a :class:`TaskFinder`; whatever leads from the
    task to the function is looked at on the way, so the order of decorators is free.

    Everything that leaves passes the gate, which asks by name, in whichever process it is.
    A process in which nothing was ever decorated does not even ask: :data:`in_use` is empty.
    Answers for tasks that are known are kept; each new policy makes all of them void.

    A process that has policies and does not know a task cannot tell whether it has one, and
    hides its arguments: policies fail closed.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from z4j_otel.task_policies.policy import TaskPolicy, strictest
from z4j_otel.task_policies.signatures import Parameters, read_parameters

__all__ = [
    "ATTRIBUTE",
    "BoundPolicy",
    "TaskFinder",
    "declare",
    "finders",
    "forget_answers",
    "in_use",
    "policies_on",
    "policy_of",
]

ATTRIBUTE: Final = "__z4j_policy__"
"""What a decorated object keeps its policy under."""
_MOST_HOPS: Final = 32

in_use: Final[list[bool]] = []
"""Empty until this process declares a policy: what tasks pay where nobody does."""


@dataclass(frozen=True, slots=True)
class BoundPolicy:
    """A policy together with what it is applied to."""

    policy: TaskPolicy
    parameters: Parameters | None = None
    """None where they are not known: then each positional argument may be any of them."""
    is_canvas: bool = False
    """Whether the task is one of the engine's own, whose arguments hold those of others."""


class TaskFinder(Protocol):
    """What an engine knows of the tasks of this process."""

    def tasks(self, name: str) -> list[Any]:
        """Return what is registered under a name: of several apps several."""
        ...

    def function(self, task: Any) -> Callable[..., Any]:
        """Return what is called with the task's arguments."""
        ...

    def is_canvas(self, name: str) -> bool:
        """Whether a task of this name takes other tasks with their arguments."""
        ...

    def arguments(self, name: str, task_id: str) -> tuple[Any, Any] | None:
        """Return the arguments of a run that is in this process's hands, if it is known."""
        ...


_FINDERS: Final = {"celery": "z4j_otel.instrumentors.celery.policies:FINDER"}
"""By the module that an engine's users have imported; loaded once a policy is asked for."""
_UNKNOWN: Final = BoundPolicy(TaskPolicy(keep=frozenset()))
_named: dict[str, TaskPolicy] = {}
_answers: dict[str, BoundPolicy | None] = {}


def declare(policy: TaskPolicy, name: str | None = None) -> None:
    """Note that there is a policy, perhaps for all tasks of a name."""
    if name is not None:
        _named[name] = strictest(filter(None, (policy, _named.get(name)))) or policy
    in_use[:] = [True]
    forget_answers()


def forget_answers() -> None:
    """Look every task up anew."""
    global _answers  # noqa: PLW0603 -- replaced whole: who looks up right now keeps the old ones
    _answers = {}


def policy_of(name: str) -> BoundPolicy | None:
    """Return the policy of the tasks of a name; None where they have none."""
    answers = _answers
    if name in answers:
        return answers[name]
    if not in_use or not name:
        return None
    is_certain, found = _look_up(name)
    if is_certain:
        answers[name] = found
    return found


def finders() -> list[TaskFinder]:
    """Return what the engines in use know of this process's tasks."""
    return [
        pkgutil.resolve_name(path) for module, path in _FINDERS.items() if module in sys.modules
    ]


def _look_up(name: str) -> tuple[bool, BoundPolicy | None]:
    """Return whether a task is known, and the policy that goes for it."""
    engines = finders()
    known = [(engine, task) for engine in engines for task in engine.tasks(name)]
    said = [_named[name]] if name in _named else []
    for _, task in known:
        said += policies_on(task)
    policy = strictest(said)
    if known:
        engine, task = known[0]
        if engine.is_canvas(name):
            return True, BoundPolicy(policy or TaskPolicy(), is_canvas=True)
        parameters = read_parameters(engine.function(task))
        return True, None if policy is None else BoundPolicy(policy, parameters)
    if policy is not None:
        return False, BoundPolicy(policy)
    return False, _UNKNOWN if engines else None


def policies_on(task: Any) -> Iterator[TaskPolicy]:
    """Yield what decorators have written on a task, its class, or its function."""
    for start in (task, getattr(task, "run", None)):
        thing = start
        for _ in range(_MOST_HOPS):
            if thing is None:
                break
            policy = getattr(thing, ATTRIBUTE, None)
            if isinstance(policy, TaskPolicy):
                yield policy
            thing = getattr(thing, "__wrapped__", None)
