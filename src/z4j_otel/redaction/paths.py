"""A walk that knows where it is, for redactors of the application and for explanations."""

from __future__ import annotations

from typing import Any, Final

from z4j_otel.redaction.custom import REDACT, ask
from z4j_otel.redaction.policy import MARKER, REDACTED
from z4j_otel.redaction.walk import Rules, Walk

__all__ = ["PathWalk"]

_MOST_PART_CHARS: Final = 64


class PathWalk(Walk):
    """One pass over one value; the application's redactors are asked about each leaf."""

    __slots__ = ("_path",)

    def __init__(self, rules: Rules, room_bytes: int, path: str) -> None:
        super().__init__(rules, room_bytes)
        self._path: list[str | int] = [path] if path else []

    def value(self, value: Any) -> Any:
        """Redact what the application's redactors answer."""
        redactors = self._rules.policy.redactors
        if redactors and not (type(value) is str and MARKER.fullmatch(value)):
            value, rule = ask(redactors, self._where(), value)
            if rule:
                self._note_answer(rule)
            if value is REDACT:
                value = REDACTED
        return super().value(value)

    def _note_answer(self, rule: str) -> None:
        """Take notice that a redactor of the application changed a value."""

    def _item(self, value: Any) -> Any:
        place = self._path[-1]
        assert isinstance(place, int)
        self._path[-1] = place + 1
        return self.value(value)

    def _sequence(self, items: list[Any], size: int) -> list[Any]:
        self._path.append(-1)
        try:
            return super()._sequence(items, size)
        finally:
            self._path.pop()

    def _entry(self, out: dict[str, Any], key: str, item: Any, rule: str) -> bool:
        self._path.append(self._rules.read_key(key)[0])
        try:
            return super()._entry(out, key, item, rule)
        finally:
            self._path.pop()

    def _where(self) -> str:
        """Return the path as people write it: ``kwargs.user.email``, ``args[0]``."""
        text = ""
        for part in self._path:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                text += f".{part[:_MOST_PART_CHARS]}" if text else part[:_MOST_PART_CHARS]
        return text
