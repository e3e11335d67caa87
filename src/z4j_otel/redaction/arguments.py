"""A task's arguments without those that its policy hides.

Theory of operation
    The paths of a policy make a tree of names. A value is copied along the tree only as far
    as it leads; a list is looked through. Where a path leads into something that is neither
    a dict nor a list, a text or an object, nothing tells whether the value is in there, so
    all of it goes: what cannot be told apart is hidden. Nothing of the application's runs,
    as everywhere in the redaction. Afterwards the common rules still apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from z4j_otel.redaction.leaves import read_items, read_pairs, read_text
from z4j_otel.redaction.policy import REDACTED
from z4j_otel.task_policies.lookup import BoundPolicy, policy_of

__all__ = ["hide_arguments", "hides_result_inside"]

_Tree: TypeAlias = Mapping[str, Any]
_ALL: Final[_Tree] = MappingProxyType({})
"""The end of a path: the whole value."""
_MOST_VALUES: Final = 20_000
_SIGNATURE: Final = frozenset({"task", "args", "kwargs"})
_MOST_DEPTH: Final = 60


def hide_arguments(
    bound: BoundPolicy,
    args: Any,
    kwargs: Any,
    hidden: list[Any] | None = None,
    *,
    is_whole: bool = True,
) -> tuple[Any, Any]:
    """Return a task's arguments with a marker in the place of what is hidden.

    Args:
        bound: The task's policy.
        args: Positional arguments; None where they are not known.
        kwargs: Keyword arguments; None where they are not known.
        hidden: Receives the values that were hidden.
        is_whole: Whether nothing may come before the positional arguments, as results do
            that a chain or a chord passes on.
    """
    hider = _Hider(bound, [] if hidden is None else hidden)
    if not is_whole or hider.misses_one(args, kwargs):
        hider.has_places = False
    return hider.positional(args), hider.keywords(kwargs)


def hides_result_inside(args: Any, kwargs: Any) -> bool:
    """Tell whether the arguments of a task of the engine's own name a task without result."""
    found: list[BoundPolicy] = []
    _Signatures([], found).value((args, kwargs))
    return any(bound.policy.redact_result for bound in found)


class _Hider:
    """One pass over the arguments of one call."""

    def __init__(self, bound: BoundPolicy, hidden: list[Any]) -> None:
        policy = bound.policy
        self._parameters = bound.parameters
        self._redact = _tree(policy.redact)
        self._keep = None if policy.keep is None else _tree(policy.keep)
        self._is_needed = policy.hides_arguments
        self._signatures = _Signatures(hidden, []) if bound.is_canvas else None
        self._copy = _Copy(hidden)
        self.has_places = self._parameters is not None
        """Whether the place of an argument tells its name."""

    def misses_one(self, args: Any, kwargs: Any) -> bool:
        """Whether a decorator of the application must give the function some argument.

        It may come before those that are told, so places mean nothing.
        """
        parameters = self._parameters
        kind = type(args)
        if parameters is None or kind not in (list, tuple) or type(kwargs) is not dict:
            return False
        given = {*parameters.by_place[: len(args)], *map(read_text, kwargs)}
        return not parameters.required <= given

    def positional(self, args: Any) -> Any:
        if args is not None and self._signatures is not None:
            args = self._signatures.value(args)
        if not self._is_needed or args is None:
            return args
        if not issubclass(type(args), (list, tuple)):
            return self._copy.hide(args)
        base: Any = list if issubclass(type(args), list) else tuple
        return [
            self._argument(self._names_at(place), value)
            for place, value in enumerate(base.__iter__(args))
        ]

    def keywords(self, kwargs: Any) -> Any:
        if kwargs is not None and self._signatures is not None:
            kwargs = self._signatures.keywords(kwargs)
        if not self._is_needed or kwargs is None:
            return kwargs
        if not issubclass(type(kwargs), dict):
            return self._copy.hide(kwargs)
        return {
            key: self._argument(self._names_of(read_text(key)), value)
            for key, value in dict.items(kwargs)
        }

    def _argument(self, names: tuple[str, ...], value: Any) -> Any:
        """Return one argument as it is shown; it has several names if it is one of many."""
        if not names:
            return self._copy.hide(value)
        if self._keep is not None:
            kept = next((self._keep[name] for name in names if name in self._keep), None)
            if kept is None:
                return self._copy.hide(value)
            value = self._copy.only(value, kept)
        for name in names:
            if name in self._redact:
                value = self._copy.without(value, self._redact[name])
        return value

    def _names_at(self, place: int) -> tuple[str, ...]:
        parameters = self._parameters
        if parameters is None or not self.has_places:
            return ()
        if place < len(parameters.by_place):
            return (parameters.by_place[place],)
        return () if parameters.rest is None else (parameters.rest,)

    def _names_of(self, key: str) -> tuple[str, ...]:
        parameters = self._parameters
        if parameters is None or key in parameters.by_name:
            return (key,)
        return () if parameters.others is None else (key, parameters.others)


class _Copy:
    """Copies values along a tree, within bounds: a value may contain itself."""

    def __init__(self, hidden: list[Any]) -> None:
        self._hidden = hidden
        self._left = _MOST_VALUES

    def hide(self, value: Any) -> Any:
        self._hidden.append(value)
        return REDACTED

    def without(self, value: Any, tree: _Tree, depth: int = 0) -> Any:
        """Return a value without what the tree leads to."""
        return self._along(value, tree, depth, self.without, lambda item: item)

    def only(self, value: Any, tree: _Tree, depth: int = 0) -> Any:
        """Return nothing of a value but what the tree leads to."""
        if not tree:
            return value
        return self._along(value, tree, depth, self.only, self.hide)

    def _along(
        self,
        value: Any,
        tree: _Tree,
        depth: int,
        follow: Callable[[Any, _Tree, int], Any],
        other: Callable[[Any], Any],
    ) -> Any:
        self._left -= 1
        if not tree or self._left < 0 or depth > _MOST_DEPTH:
            return self.hide(value)
        if value is None:
            return None
        pairs = read_pairs(value)
        if pairs is not None:
            return {
                key: follow(item, tree[name], depth + 1) if name in tree else other(item)
                for key, item in pairs
                for name in (read_text(key),)
            }
        items = read_items(value)
        if items is not None:
            return [follow(item, tree, depth + 1) for item in items]
        return self.hide(value)


class _Signatures:
    """Applies the policies of tasks whose signatures are arguments of another one."""

    def __init__(self, hidden: list[Any], found: list[BoundPolicy]) -> None:
        self._hidden = hidden
        self._found = found
        self._left = _MOST_VALUES

    def value(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _MOST_DEPTH:
            return _Copy(self._hidden).hide(value)
        if issubclass(type(value), dict):
            return self.keywords(value, depth)
        items = read_items(value)
        return value if items is None else [self.value(item, depth + 1) for item in items]

    def keywords(self, value: Any, depth: int = 0) -> Any:
        if not issubclass(type(value), dict):
            return self.value(value, depth + 1)
        copy = {key: self.value(item, depth + 1) for key, item in dict.items(value)}
        name = copy.get("task")
        if not copy.keys() >= _SIGNATURE or type(name) is not str:
            return self._mapped(copy)
        bound = policy_of(name)
        if bound is None:
            return copy
        self._found.append(bound)
        args, kwargs = hide_arguments(
            bound,
            copy["args"],
            copy["kwargs"],
            self._hidden,
            is_whole=copy.get("immutable") is True,
        )
        return {**copy, "args": args, "kwargs": kwargs}

    def _mapped(self, copy: dict[Any, Any]) -> dict[Any, Any]:
        """Hide what a map gives to its task, call by call, if the task has a policy."""
        task = copy.get("task")
        name = task.get("task") if type(task) is dict else None
        bound = policy_of(name) if type(name) is str else None
        if "it" in copy and bound is not None and bound.policy.hides_arguments:
            copy["it"] = _Copy(self._hidden).hide(copy["it"])
        return copy


def _tree(paths: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """Return paths as a tree; the shorter of two that go the same way is the end of both."""
    tree: dict[str, Any] = {}
    for path in sorted(paths, key=len):
        node = tree
        for name in path[:-1]:
            node = node.setdefault(name, {})
            if node is _ALL:
                break
        else:
            node[path[-1]] = _ALL
    return tree
