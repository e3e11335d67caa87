"""Redaction that tells which rule took what, for people who want to see it.

The normal path knows nothing of this: the classes here are made for one look and let the
ordinary walk and the ordinary text rules do the work, listening where something is taken.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from z4j_otel.redaction.paths import PathWalk
from z4j_otel.redaction.policy import RedactionPolicy
from z4j_otel.redaction.text import TextRules
from z4j_otel.redaction.walk import NO_ROOM, Rules

__all__ = ["Finding", "ListeningRules", "ListeningWalk"]


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


class ListeningWalk(PathWalk):
    """A walk that notes what it takes, and where."""

    __slots__ = ("_listening", "_taken", "taken")

    def __init__(self, rules: ListeningRules, room_bytes: int, path: str) -> None:
        super().__init__(rules, room_bytes, path)
        self._listening = rules
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

    def _note_answer(self, rule: str) -> None:
        self._note([rule])

    def _take(self, value: Any, rule: str, name: str = "") -> str:
        # The place is known when the marker is shown.
        self._taken = rule
        return super()._take(value, rule, name)

    def _text(self, text: str, unread_bytes: int = 0) -> Any:
        safe = super()._text(text, unread_bytes)
        self._note([self._taken] if self._taken else self._listening.texts.taken)
        self._taken = ""
        return safe

    def _entry(self, out: dict[str, Any], key: str, item: Any, rule: str) -> bool:
        before = len(self.taken)
        self._path.append(self._rules.read_key(key)[0])
        self._note(self._listening.rules_in_key(key))
        self._path.pop()
        is_kept = super()._entry(out, key, item, rule)
        if not is_kept:
            del self.taken[before:]
        return is_kept

    def _note(self, rules: list[str]) -> None:
        path = self._where()
        self.taken += [(path, rule) for rule in rules]
