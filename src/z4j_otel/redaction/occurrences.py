"""Hidden values where the application repeats them: in messages, tracebacks, results.

A task that is given a card number often raises it again. Which values a policy has hidden
is known for each run, so their exact occurrences in what else is told of the run go, too:
as they are, as ``repr`` writes them, and as JSON does. What the application has changed,
cut or hidden inside an object of its own is not found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from z4j_otel.redaction.leaves import read_items, read_leaf, read_pairs
from z4j_otel.redaction.policy import REDACTED

__all__ = ["forms_of", "without_occurrences"]

_LEAST_CHARS: Final = 4
"""Shorter values are found in too many innocent places."""
_MOST_FORMS: Final = 400
_MOST_VALUES: Final = 20_000
_MOST_DEPTH: Final = 60
_MOST_VALUE_BYTES: Final = 100_000


def forms_of(hidden: Iterable[Any]) -> tuple[str, ...]:
    """Return how hidden values may be written, the longest first; at most 400 forms."""
    forms: dict[str, None] = {}
    for text in _texts(hidden):
        if len(text) < _LEAST_CHARS or text in REDACTED:
            continue
        written = (text, repr(text)[1:-1], json.dumps(text)[1:-1])
        forms.update(dict.fromkeys(written))
        if len(forms) >= _MOST_FORMS:
            break
    return tuple(sorted(forms, key=len, reverse=True)[:_MOST_FORMS])


def without_occurrences(value: Any, forms: tuple[str, ...]) -> Any:
    """Return a text, or a value that holds texts, with a marker for each occurrence.

    Of 20 000 values inside one the rest is hidden.
    """
    return _Cleaner(forms).value(value) if forms else value


class _Cleaner:
    def __init__(self, forms: tuple[str, ...]) -> None:
        self._forms = forms
        self._left = _MOST_VALUES

    def value(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _MOST_DEPTH:
            return REDACTED
        pairs = read_pairs(value)
        if pairs is not None:
            return {self._leaf(key): self.value(item, depth + 1) for key, item in pairs}
        items = read_items(value)
        if items is not None:
            return [self.value(item, depth + 1) for item in items]
        return self._leaf(value)

    def _leaf(self, value: Any) -> Any:
        if value is None or type(value) is bool:
            return value
        leaf, _ = read_leaf(value, _MOST_VALUE_BYTES)
        text = leaf if type(leaf) is str else repr(leaf)
        clean = self._text(text)
        return value if clean == text else clean

    def _text(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, REDACTED)
        return text


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts and numbers inside values, as texts."""
    todo = list(values)[::-1]
    left = _MOST_VALUES
    while todo and left:
        left -= 1
        value = todo.pop()
        kind = type(value)
        pairs, items = read_pairs(value), read_items(value)
        if pairs is not None:
            todo += [item for _, item in islice(pairs, _MOST_VALUES)]
        elif items is not None:
            todo += items[:_MOST_VALUES]
        elif issubclass(kind, (bytes, bytearray)):
            base: Any = bytes if issubclass(kind, bytes) else bytearray
            window = base.__getitem__(value, slice(0, _MOST_VALUE_BYTES))
            yield base.decode(window, "utf-8", "replace")
        elif value is not None and kind is not bool:
            leaf, _ = read_leaf(value, _MOST_VALUE_BYTES)
            yield leaf if type(leaf) is str else repr(leaf)
