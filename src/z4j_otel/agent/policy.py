"""Which of the brain's commands may run here: the local policy, ``Z4J_COMMANDS``.

Whoever runs the worker decides what an operator may do to it, whatever the brain allows.
The policy is part of the worker's own settings: no command can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Final

from z4j_otel.commands import BRAIN_ACTIONS, Action, Capability, Command, capability_of
from z4j_otel.errors import CommandRefused
from z4j_otel.ids import CommandId

__all__ = ["permitted", "policy_of", "scheduler_tokens"]

_OVERRIDES: Final = ("override_args", "override_kwargs")
_RETRIES: Final = (Action.RETRY_TASK.value, Action.BULK_RETRY.value)

_CHANGES: Final = frozenset(
    {
        Capability.CREATE_SCHEDULE.value,
        Capability.UPDATE_SCHEDULE.value,
        Capability.DELETE_SCHEDULE.value,
        Capability.TRIGGER_SCHEDULE.value,
    }
)
_SWITCHES: Final = frozenset({Capability.ENABLE_SCHEDULE.value, Capability.DISABLE_SCHEDULE.value})
_QUESTIONS: Final = frozenset(
    {
        Action.RECONCILE_TASK.value,
        Action.SCHEDULE_ACTIVATE.value,
        Action.SCHEDULE_RESYNC.value,
    }
)
"""The brain asks these by itself, and they change nothing: a list of what operators may do
need not name them."""


def policy_of(items: Iterable[str]) -> Callable[[Command], None]:
    """Return what raises ``CommandRefused`` for a command that must not run here.

    Args:
        items: The setting ``commands``. A name allows an action, ``-name`` denies it,
            ``family.*`` stands for all that begin so, ``none`` denies everything. Nothing
            but denials means that the rest is allowed. A denial wins. A retry with other
            arguments runs what the brain likes, and has to be allowed as ``submit_task``, too.
    """
    items = tuple(items)
    denied = [item[1:] for item in items if item.startswith("-")]
    allowed = [item for item in items if not item.startswith("-")]

    def check(command: Command) -> None:
        if _is_denied(command.action, denied, allowed):
            raise CommandRefused(
                f"{command.action[:80]} is denied here by Z4J_COMMANDS; to allow it, change this"
                " setting where the agent runs and start it again"
            )
        is_new = any(command.parameters.get(name) is not None for name in _OVERRIDES)
        if is_new and _is_denied(Action.SUBMIT_TASK.value, denied, allowed):
            raise CommandRefused(
                f"{command.action[:80]} with other arguments is a new task, and submit_task is"
                " denied here by Z4J_COMMANDS; repeat it as it was, or change this setting where"
                " the agent runs and start it again"
            )

    return check


def permitted(tokens: Iterable[str], policy: Callable[[Command], None]) -> list[str]:
    """Return the capability tokens that are worth offering, sorted: some action is allowed.

    Args:
        tokens: What an engine can do.
        policy: Raises ``CommandRefused`` for a command that must not run here.
    """
    return sorted(
        token
        for token in set(tokens)
        if any(_is_allowed(action, policy) for action in _actions_of(token))
    )


def scheduler_tokens(tokens: Iterable[str], policy: Callable[[Command], None]) -> list[str]:
    """Return what is offered of a scheduler, sorted; nothing where it must not be mirrored.

    Args:
        tokens: What the scheduler can do.
        policy: Raises ``CommandRefused`` for a command that must not run here.
    """
    if not _is_allowed(Action.SCHEDULE_ACTIVATE.value, policy):
        return []
    offered = {*tokens, Capability.SCHEDULE_SNAPSHOT.value}
    if _is_allowed(Action.SCHEDULE_MUTATE.value, policy):
        return sorted({*offered, Capability.SCHEDULE_MUTATION.value})
    is_switched = _is_allowed(Action.SCHEDULE_CONTROL.value, policy)
    return sorted(offered - _CHANGES - (frozenset() if is_switched else _SWITCHES))


def _actions_of(token: str) -> Iterable[str]:
    if token == Capability.RETRY_BY_REFERENCE.value:
        return _RETRIES
    return [action for action in BRAIN_ACTIONS if capability_of(action) == token] or [token]


def _is_allowed(action: str, policy: Callable[[Command], None]) -> bool:
    try:
        policy(Command(CommandId(""), action))
    except CommandRefused:
        return False
    return True


def _is_denied(action: str, denied: list[str], allowed: list[str]) -> bool:
    if _matches(action, denied) or "none" in allowed:
        return True
    return bool(allowed) and not _matches(action, allowed) and action not in _QUESTIONS


def _matches(action: str, names: list[str]) -> bool:
    return any(fnmatchcase(action, name) for name in names)
