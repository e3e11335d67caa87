"""Redaction that tells which rule took what, for people who want to see it.

The normal path knows nothing of this: the classes here are made for one look and let the
ordinary walk and the ordinary text rules do the work, listening where something is taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from z4j_otel.redaction.policy import RedactionPolicy
from z4j_otel.redaction.text import TextRules
from z4j_otel.redaction.walk import NO_ROOM, Rules, Walk

__all__ = ["Finding", "ListeningRules", "ListeningWalk"]

_MOST_PART_CHARS = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule's work at one place."""

    path: str
    """Where: ``kwargs.user.email``, ``args[0]``; a key that was itself redacted shows its
    marker. Empty for the value as a whole."""
    rule: str
    """The rule's public name, as docs/reference/redaction.md lists them."""
    count: int
    """How many parts of the value it took there, those beyond a cut included."""


class _ListeningTexts(TextRules):
    """Text rules that remember what the last call took."""

    taken: list[str]

    def redact(
        self,
        text: str,
        cap_bytes: int,
        keep: Literal["head", "tail"] = "head",
        dropped_bytes: int = 0,
    ) -> str:
        self.taken = []
        return super().redact(text, cap_bytes, keep, dropped_bytes)

    def _take(self, secret: str, rule: str) -> str:
        self.taken.append(rule)
        return super()._take(secret, rule)

    def _is_clean_at_cut(self, text: str, keep: str) -> bool:
        taken = list(self.taken)
        is_clean = super()._is_clean_at_cut(text, keep)
        # What is found there now will be found once more, in the whole text.
        self.taken = taken
        return is_clean


class ListeningRules(Rules):
    """Rules of one policy for one explanation: their memory is their own."""

    texts: _ListeningTexts

    def __init__(self, policy: RedactionPolicy) -> None:
        super().__init__(policy)
        self.texts = _ListeningTexts(policy, self.keys)

    def rules_in_key(self, key: str) -> list[str]:
        """Return by which rules parts of a key itself must go."""
        self._known.pop(key, None)
        self.texts.taken = []
        self.read_key(key)
        return self.texts.taken


class ListeningWalk(Walk):
    """A walk that knows where it is and notes what it takes."""

    __slots__ = ("_listening", "_path", "_taken", "taken")

    def __init__(self, rules: ListeningRules, room_bytes: int, path: str) -> None:
        super().__init__(rules, room_bytes)
        self._listening = rules
        self._path: list[str | int] = [path] if path else []
        self._taken = ""
        self.taken: list[tuple[str, str]] = []
        """Path and rule of each part that was taken, in the order of the value."""

    def findings(self) -> list[Finding]:
        """Return what was taken, each rule once for each path."""
        return [Finding(*place, count) for place, count in Counter(self.taken).items()]

    def value(self, value: Any) -> Any:
        """Forget what was taken from a value that is dropped."""
        before = len(self.taken)
        result = super().value(value)
        if result is NO_ROOM:
            del self.taken[before:]
        return result

    def _item(self, value: Any) -> Any:
        place = self._path[-1]
        assert isinstance(place, int)
        self._path[-1] = place + 1
        return self.value(value)

    def _take(self, value: Any, rule: str) -> str:
        # The place is known when the marker is shown.
        self._taken = rule
        return super()._take(value, rule)

    def _text(self, text: str, unread_bytes: int = 0) -> Any:
        safe = super()._text(text, unread_bytes)
        self._note([self._taken] if self._taken else self._listening.texts.taken)
        self._taken = ""
        return safe

    def _sequence(self, items: list[Any], size: int) -> list[Any]:
        self._path.append(-1)
        try:
            return super()._sequence(items, size)
        finally:
            self._path.pop()

    def _entry(self, out: dict[str, Any], key: str, item: Any, rule: str) -> bool:
        in_key = self._listening.rules_in_key(key)
        self._path.append(self._rules.read_key(key)[0])
        before = len(self.taken)
        try:
            self._note(in_key)
            is_kept = super()._entry(out, key, item, rule)
        finally:
            self._path.pop()
        if not is_kept:
            del self.taken[before:]
        return is_kept

    def _note(self, rules: list[str]) -> None:
        path = path_of(self._path)
        self.taken += [(path, rule) for rule in rules]


def path_of(parts: list[str | int]) -> str:
    """Write a path as people read it."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part[:_MOST_PART_CHARS]}" if text else part[:_MOST_PART_CHARS]
    return text
