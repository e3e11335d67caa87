"""The user's own redactors: code of the application that looks at single values.

A redactor is called with the path of a value (``kwargs.customer.name``, ``args[0]``) and
the value, and answers with what may be shown: the same, another text, number or truth value,
None, or :data:`REDACT`; any other answer hides the value, too. It sees
texts, numbers and truth values before the built-in rules do, and what it answers passes
them like any other value. It runs in the task's process for each of them, at most as many
as the policy's bounds let through, so it should be quick. When it raises, the value is
redacted; the failure is counted, and told once a minute at most.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from z4j_otel.guard import note_failure

__all__ = ["REDACT", "CustomRedactor", "NamedRedactor", "ask"]

CustomRedactor = Callable[[str, Any], Any]
"""Takes a path and a value, gives a value or :data:`REDACT`."""


class _Redact:
    """The answer that a value must go."""

    def __repr__(self) -> str:
        return "REDACT"


REDACT: Final = _Redact()
"""What a custom redactor answers when the value must not be shown at all."""

_LEAVES: Final = (str, int, float, bool)


class NamedRedactor:
    """A redactor of the settings: a function by its dotted name.

    It is imported when it is first asked, for the settings are read before the application
    is there. Where the import fails, each value it should have seen is redacted.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._function: CustomRedactor | None = None

    def __call__(self, path: str, value: Any) -> Any:
        """Ask the function, raising what it raises; also ``ImportError``, ``AttributeError``."""
        return (self._function or self.load())(path, value)

    def load(self) -> CustomRedactor:
        """Import the function, raising what its module raises; also ``AttributeError``."""
        module, _, name = self.name.rpartition(".")
        function: CustomRedactor = getattr(import_module(module), name)
        self._function = function
        return function

    def __repr__(self) -> str:
        return f"NamedRedactor({self.name!r})"


def ask(redactors: tuple[CustomRedactor, ...], path: str, value: Any) -> tuple[Any, str]:
    """Return what the redactors make of a value, and which one must be named for it.

    Args:
        redactors: Asked in their order, each with the answer of the one before.
        path: Where the value is.
        value: Any value; only plain texts, numbers and truth values are shown to them.

    Returns:
        The value and "", when no redactor changed it; else the new value or
        :data:`REDACT`, and the rule's name ``custom:<number>``.
    """
    if type(value) not in _LEAVES:
        return value, ""
    rule = ""
    for number, redactor in enumerate(redactors, 1):
        try:
            answer = redactor(path, value)
        except Exception as error:  # noqa: BLE001 -- the guard: the application's code
            note_failure(f"custom redactor {number}", error)
            return REDACT, f"custom:{number}"
        if answer is not value:
            rule = f"custom:{number}"
            if type(answer) not in _LEAVES:
                return (None if answer is None else REDACT), rule
            value = answer
    return value, rule
