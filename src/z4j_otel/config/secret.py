"""A text that must not be shown by accident."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

__all__ = ["Secret"]


class Secret:
    """Holds a secret; its ``repr`` and ``str`` say only whether it is set.

    It is true when it is not empty. It can be copied, as part of a configuration, but not
    pickled: a pickle would carry the value to a disk or a broker.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself; empty when unset."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __str__(self) -> str:
        return "set" if self._value else "unset"

    def __repr__(self) -> str:
        return f"Secret({self})"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
