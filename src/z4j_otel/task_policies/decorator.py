"""``z4j_task`` and ``z4j_meta``: how users give a task its policy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from z4j_otel.errors import ConfigError
from z4j_otel.task_policies.lookup import ATTRIBUTE, declare
from z4j_otel.task_policies.policy import TaskPolicy, build_policy, strictest
from z4j_otel.task_policies.signatures import read_parameters

__all__ = ["z4j_meta", "z4j_task"]

_T = TypeVar("_T")
_SOURCE: Final = "z4j_task"


def z4j_task(
    name: str | None = None,
    *,
    redact: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    redact_result: bool | None = None,
    tags: Mapping[str, str] | Sequence[str] | None = None,
    priority: str | None = None,
    skip: bool | None = None,
    sample_rate: float | None = None,
    expected_duration_ms: int | None = None,
    deadline_ms: int | None = None,
) -> Callable[[_T], _T]:
    """Say what z4j may tell of a task: a decorator for its function, its class, or the task.

    It may stand above or below the engine's own decorator, and changes nothing of the task
    itself. Two policies for one task add up to the stricter one.

    Args:
        name: A task's name, for a process that publishes the task without having it; the
            policy goes for that name at once, also where nothing is decorated.
        redact: Arguments whose values are hidden, by name, however they are passed;
            ``"user.email"`` means a member of an argument, also of each one in a list.
        keep: Arguments whose values are shown; those of all others are hidden.
        redact_result: Whether the result is hidden.
        tags: Told with every event, besides the configured tags; names alone are ``true``.
        priority: ``critical``, ``high``, ``normal`` or ``low``, for messages without one.
        skip: Whether nothing at all is told of the task's runs.
        sample_rate: The share of runs that are told, 0 to 1, chosen by task id: all of a
            run, in every process, or nothing.
        expected_duration_ms: Told with every event.
        deadline_ms: Told with every event.

    Returns:
        The decorator; it returns what it is given.

    Raises:
        ConfigError: A value is not of the expected form, or names no argument of the task.
    """
    if name is not None and not (isinstance(name, str) and name):
        raise ConfigError(
            _SOURCE, "decorator", "expected options in parentheses: @z4j_task(redact=['card'])"
        )
    policy = build_policy(
        {
            "redact": redact,
            "keep": keep,
            "redact_result": redact_result,
            "tags": tags,
            "priority": priority,
            "skip": skip,
            "sample_rate": sample_rate,
            "expected_duration_ms": expected_duration_ms,
            "deadline_ms": deadline_ms,
        }
    )
    if name is not None:
        declare(policy, name)

    def decorate(target: _T) -> _T:
        _write(_behind(target), policy)
        declare(policy)
        return target

    return decorate


def z4j_meta(
    name: str | None = None,
    *,
    redact_kwargs: Sequence[str] | None = None,
    keep_kwargs: Sequence[str] | None = None,
    **options: Any,
) -> Callable[[_T], _T]:
    """Do what :func:`z4j_task` does, by the name and keywords of the existing agents.

    Args:
        name: As for ``z4j_task``.
        redact_kwargs: Arguments whose values are hidden, added to ``redact``.
        keep_kwargs: Arguments whose values are shown, added to ``keep``.
        options: All options of ``z4j_task``.

    Returns:
        The decorator; it returns what it is given.

    Raises:
        ConfigError: A value is not of the expected form, or names no argument of the task.
    """
    for option, more in (("redact", redact_kwargs), ("keep", keep_kwargs)):
        if more is not None:
            build_policy({option: more})
            options[option] = [*(options.get(option) or ()), *more]
    return z4j_task(name, **options)


def _behind(target: Any) -> Any:
    """Return what a policy can be written on without making the task of a lazy proxy.

    Celery's decorators return proxies, and looking through them would make the task, or all
    of the app's, before the application is ready. Their function is at hand, though.
    """
    resolve = getattr(type(target), "_get_current_object", None)
    if resolve is None:
        return target
    try:
        local = object.__getattribute__(target, "_Proxy__local")
        arguments = object.__getattribute__(target, "_Proxy__args")
    except AttributeError:  # it is no promise any more
        return resolve(target)
    if arguments and inspect.isroutine(arguments[0]):
        return arguments[0]
    function = inspect.getclosurevars(local).nonlocals.get("fun")
    return resolve(target) if function is None else function


def _write(target: Any, policy: TaskPolicy) -> None:
    if not callable(target) and not hasattr(target, "run"):
        raise ConfigError(_SOURCE, "decorator", "expected a function, a task or a task's class")
    _check_names(target, policy)
    # A class has its base's policy, too, and must not change it.
    own = vars(target).get(ATTRIBUTE) if hasattr(target, "__dict__") else None
    try:
        setattr(target, ATTRIBUTE, strictest(each for each in (policy, own) if each is not None))
    except (AttributeError, TypeError):
        text = "this object takes no policy; decorate the function that the task runs"
        raise ConfigError(_SOURCE, "decorator", text) from None


def _check_names(target: Any, policy: TaskPolicy) -> None:
    """Refuse a name that no argument has: a slip of the pen would be a leak."""
    function = getattr(target, "run", target)
    parameters = read_parameters(function)
    if parameters is None or parameters.others is not None:
        return
    for option, paths in (("redact", policy.redact), ("keep", policy.keep or ())):
        for path in sorted(paths):
            if path[0] not in parameters.names:
                near = get_close_matches(path[0], parameters.names, n=1)
                guess = f"did you mean {near[0]!r}? " if near else ""
                known = ", ".join(parameters.names) or "none"
                text = f"the task has no argument {path[0]!r}; {guess}it has: {known}"
                raise ConfigError(option, _SOURCE, text)
