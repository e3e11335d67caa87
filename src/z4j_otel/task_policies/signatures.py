"""Which arguments a task takes, and in which order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Parameters", "read_parameters"]

_KIND = inspect.Parameter
_BY_PLACE = (_KIND.POSITIONAL_ONLY, _KIND.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The names of a task's parameters."""

    by_place: tuple[str, ...] = ()
    """Those that a positional argument can be for, in order."""
    by_name: frozenset[str] = frozenset()
    """Those that a keyword argument can be for."""
    rest: str | None = None
    """The name of ``*args``, or None."""
    others: str | None = None
    """The name of ``**kwargs``, or None."""
    required: frozenset[str] = frozenset()
    """Those of ``by_place`` without which there is no call."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        rest = [name for name in (self.rest, self.others) if name is not None]
        return list(dict.fromkeys([*self.by_place, *sorted(self.by_name), *rest]))


def read_parameters(function: Callable[..., Any]) -> Parameters | None:
    """Return the parameters that a call of a function sees; None where they are not told."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    named = {each.kind: each.name for each in parameters}
    return Parameters(
        by_place=tuple(each.name for each in parameters if each.kind in _BY_PLACE),
        by_name=frozenset(
            each.name
            for each in parameters
            if each.kind in (_KIND.POSITIONAL_OR_KEYWORD, _KIND.KEYWORD_ONLY)
        ),
        rest=named.get(_KIND.VAR_POSITIONAL),
        others=named.get(_KIND.VAR_KEYWORD),
        required=frozenset(
            each.name
            for each in parameters
            if each.kind in _BY_PLACE and each.default is each.empty
        ),
    )
