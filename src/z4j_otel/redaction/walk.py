"""One bounded pass over a value of any shape.

Theory of operation. Depth first, in the order of the items. Only built-in containers are
opened, subclasses through the methods of the built-in. The walk carries what is left of the
total budget, in bytes of canonical JSON. An opened container sets aside room for the marker
that tells how many items were dropped; before its last item the room is given back, for
then no marker is needed. So the walk repeats its decisions on its own output: redacting
twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, Final

from z4j_otel.redaction.commandlines import RULE as COMMAND_RULE
from z4j_otel.redaction.commandlines import secret_arguments
from z4j_otel.redaction.keys import MAX_KEY_CHARS, KeyRules
from z4j_otel.redaction.leaves import field_names, read_leaf, read_text
from z4j_otel.redaction.patterns import is_card_number
from z4j_otel.redaction.policy import MARKER, REDACTED, RedactionPolicy
from z4j_otel.redaction.text import MIN_CAP_BYTES, TextRules
from z4j_otel.redaction.tokens import marker_of

__all__ = ["MIN_BUDGET_BYTES", "NO_ROOM", "SMALL_INT", "Rules", "Walk", "is_plain"]

MIN_BUDGET_BYTES: Final = 256
"""Smallest budget of a walk."""

_CYCLE: Final = "[cycle]"
_TOO_DEEP: Final = "[nested too deeply]"
_DROPPED_KEY: Final = "[truncated]"
_LOOKS_PER_BYTE: Final = 4
"""Characters that are searched for each byte of the budget and of the longest string."""
_RESERVE_BYTES: Final = 72
_MAX_CACHED: Final = 2048
_CACHED_KEY_CHARS: Final = 64
_KEY_CAP_BYTES: Final = 4 * MAX_KEY_CHARS + MIN_CAP_BYTES
_CARD_INTS: Final = (10**12, 10**19)
_SMALL_BYTES: Final = 8
_NUMBER_BYTES: Final = 26
_PAIR_NAME: Final = re.compile(r"(?:<bytes of \d{1,3}> )?[\w.\- ]{1,64}:?")
_DROPPED: Final = re.compile(r"\[\.\.\.\d+ more items dropped\]")
_FEW_ENTRIES: Final = 8
_NAME_KEYS: Final = frozenset(
    form
    for word in ("name", "key", "field", "header", "param", "parameter", "variable", "option")
    for form in (word, word.capitalize(), word.upper())
)
_VALUE_KEYS: Final = frozenset(
    form for word in ("value", "val", "content") for form in (word, word.capitalize(), word.upper())
)
_CONTAINERS: Final = (dict, list, tuple, set, frozenset)


class _NoRoom:
    """Says that a value does not fit into what is left of the budget."""


SMALL_INT: Final = 1_000_000
"""Integers between this and its negative are no secret of any kind."""
NO_ROOM: Final = _NoRoom()
"""Result of a walk over a value that does not fit at all."""


class Rules:
    """Everything a walk needs of one policy, with memory of recent keys."""

    def __init__(self, policy: RedactionPolicy) -> None:
        self.policy = policy
        self.keys = KeyRules(policy)
        self.texts = TextRules(policy, self.keys)
        self.has_cards = policy.defaults_enabled and "value:card" not in policy.disabled_rules
        self.has_commands = policy.defaults_enabled and COMMAND_RULE not in policy.disabled_rules
        self._known: dict[str, tuple[str, str, int]] = {}

    def is_known_harmless(self, key: str) -> bool:
        """Whether a key was met before, is shown as it is, and its value is not sensitive."""
        known = self._known.get(key)
        return known is not None and not known[1] and known[0] == key

    def read_key(self, key: str) -> tuple[str, str, int]:
        """Return a key's safe form, the rule by which its value goes, and its JSON bytes."""
        known = self._known.get(key)
        if known is not None:
            return known
        if len(key) > MAX_KEY_CHARS:
            return REDACTED, self.keys.rule_of(key), json_size(REDACTED)
        safe = self.texts.redact(key, _KEY_CAP_BYTES)
        rule = self.keys.rule_of(key) or self.keys.rule_of(safe)
        if len(safe) > MAX_KEY_CHARS:
            safe = REDACTED
        known = (safe, rule, json_size(safe))
        if len(key) <= _CACHED_KEY_CHARS:
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[key] = known
        return known


def json_size(text: str) -> int:
    """Return the canonical JSON bytes of a string and the comma or colon behind it."""
    size = len(encode_basestring(text)) + 1
    return size if text.isascii() else size + len(text.encode()) - len(text)


class Walk:
    """One pass over one value, with what is left of its budget."""

    __slots__ = ("_looks", "_max_items", "_max_string", "_open", "_room", "_rules")

    def __init__(self, rules: Rules, room_bytes: int) -> None:
        self._rules = rules
        self._room = room_bytes
        self._open: list[int] = []
        self._max_items = rules.policy.max_items
        self._max_string = rules.policy.max_string_bytes
        # What goes takes no room, however long it took to find.
        self._looks = _LOOKS_PER_BYTE * (room_bytes + self._max_string)

    def value(self, value: Any) -> Any:
        """Return the redacted value, or :data:`NO_ROOM`; charges what it takes."""
        kind = type(value)
        if kind is str:
            return self._text(value)
        if is_plain(value):
            return self._charge(value, _SMALL_BYTES)
        if issubclass(kind, _CONTAINERS):
            return self._container(value, kind)
        leaf, unread_bytes = read_leaf(value, self._max_string)
        kind = type(leaf)
        if kind is str:
            return self._text(leaf, unread_bytes)
        return self._integer(leaf) if kind is int else self._charge(leaf, _NUMBER_BYTES)

    # Those who listen know an item from a value; here they are one, at no call's price.
    _item = value

    def _take(self, value: Any, rule: str, name: str = "") -> str:  # noqa: ARG002 -- for listeners
        """Return what stands in the place of a value that must go."""
        if type(value) is str and MARKER.fullmatch(value):
            return value
        key = self._rules.policy.token_key
        return marker_of(key, value, name) if key else REDACTED

    def _charge(self, value: Any, size: int) -> Any:
        if size > self._room:
            return NO_ROOM
        self._room -= size
        return value

    def _integer(self, value: int) -> Any:
        size = abs(value)
        if (
            _CARD_INTS[0] <= size < _CARD_INTS[1]
            and self._rules.has_cards
            and is_card_number(str(size))
        ):
            return self._text(self._take(size, "value:card"))
        return self._charge(value, 4 + size.bit_length() * 10 // 33)

    def _text(self, text: str, unread_bytes: int = 0) -> Any:
        if self._looks < 0:
            return NO_ROOM
        self._looks -= min(len(text), self._max_string)
        # An escaped character takes up to six times its bytes, a quote or line break twice.
        for divisor in (1, 2, 6):
            cap = min(self._max_string, (self._room - 3) // divisor)
            if cap < MIN_CAP_BYTES and (unread_bytes or len(text) > cap):
                return NO_ROOM
            safe = self._rules.texts.redact(text, max(MIN_CAP_BYTES, cap), "head", unread_bytes)
            size = json_size(safe)
            if size <= self._room:
                self._room -= size
                return safe
        return NO_ROOM  # pragma: no cover -- a sixth always fits; kept for extra patterns

    def _container(self, value: Any, kind: type) -> Any:
        if len(self._open) >= self._rules.policy.max_depth:
            return self._text(_TOO_DEEP)
        if id(value) in self._open:
            return self._text(_CYCLE)
        if self._room < 3 + 2 * _RESERVE_BYTES:
            return NO_ROOM
        self._open.append(id(value))
        self._room -= 3 + _RESERVE_BYTES
        try:
            if issubclass(kind, dict):
                items = list(islice(dict.items(value), self._max_items + 1))
                return self._mapping(items, dict.__len__(value))
            if issubclass(kind, list):
                size, items = list.__len__(value), list.__getitem__(value, self._slice())
            elif issubclass(kind, tuple):
                size, items = tuple.__len__(value), list(tuple.__getitem__(value, self._slice()))
                names = field_names(kind, size)
                if names:
                    return self._mapping(list(zip(names, items, strict=False)), size)
            else:
                base: Any = set if issubclass(kind, set) else frozenset
                size = base.__len__(value)
                items = list(islice(base.__iter__(value), self._max_items + 1))
            return self._sequence(items, size)
        finally:
            self._open.pop()

    def _slice(self) -> slice:
        return slice(0, self._max_items + 1)

    def _sequence(self, items: list[Any], size: int) -> list[Any]:
        out: list[Any] = []
        last = self._last_shown(items)
        is_pair = size == 2  # noqa: PLR2004 -- a name and a value
        hidden = secret_arguments(items) if self._rules.has_commands else {}
        name: Any = None
        for index, item in enumerate(items):
            if index == last:
                self._room += _RESERVE_BYTES
            is_named = is_pair or (type(name) is str and name.startswith("--"))
            rule = self._rule_of_pair(name, item) if is_named else ""
            if rule:
                shown: Any = self._take(item, rule)
            elif index in hidden:
                shown = item[: hidden[index]] + self._take(item[hidden[index] :], COMMAND_RULE)
            else:
                shown = item
            safe = NO_ROOM if index > last else self._item(shown)
            if safe is NO_ROOM:
                note = f"[...{size - index} more items dropped]"
                self._settle_marker(index == last, json_size(note))
                out.append(note)
                return out
            out.append(safe)
            name = safe
        if not items:
            self._room += _RESERVE_BYTES
        return out

    def _mapping(self, items: list[tuple[Any, Any]], size: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        last = self._last_shown(items)
        named_rule = self._rule_of_named(items) if size <= _FEW_ENTRIES else ""
        for index, (key, item) in enumerate(items):
            if index == last:
                self._room += _RESERVE_BYTES
            key = key if type(key) is str else _key_text(key)  # noqa: PLW2901 -- as it is shown
            rule = named_rule if named_rule and key in _VALUE_KEYS else ""
            if index > last or not self._entry(out, key, item, rule):
                note = f"[...{size - index} more items dropped]"
                name = _free_name(out, _DROPPED_KEY)
                self._settle_marker(index == last, json_size(name) + json_size(note))
                out[name] = note
                return out
        if not items:
            self._room += _RESERVE_BYTES
        return out

    def _last_shown(self, items: Sequence[Any]) -> int:
        """Return the index of the item that needs no room for a marker behind it."""
        count = len(items)
        # One item more than allowed was read: the last place belongs to the marker.
        return count - 1 if count <= self._max_items else self._max_items - 2

    def _settle_marker(self, is_reserve_back: bool, size: int) -> None:
        self._room += (0 if is_reserve_back else _RESERVE_BYTES) - size

    def _entry(self, out: dict[str, Any], key: str, item: Any, rule: str) -> bool:
        room = self._room
        name, own_rule, size = self._rules.read_key(key)
        rule = rule or own_rule
        if name in out:
            name = _free_name(out, name)
            size = json_size(name)
        self._room -= size
        if rule == "key:tokens" and type(item) in (int, float):
            rule = ""
        safe = self.value(self._take(item, rule, name) if rule else item)
        if safe is NO_ROOM or self._room < 0:
            self._room = room
            return False
        out[name] = safe
        return True

    def _rule_of_named(self, items: list[tuple[Any, Any]]) -> str:
        """Return by which rule one entry names a secret that another holds, or ""."""
        for key, name in items:
            if type(key) is str and key in _NAME_KEYS:
                rule = self._rule_of_pair(name, REDACTED)
                if rule:
                    return rule
        return ""

    def _rule_of_pair(self, name: Any, item: Any) -> str:
        """Return by which rule an item must go because of the one before it, or ""."""
        if type(name) is not str or is_plain(item) or not _PAIR_NAME.fullmatch(name):
            return ""
        if type(item) is str and _DROPPED.fullmatch(item):
            return ""
        return self._rules.keys.rule_of(name)


def is_plain(value: Any) -> bool:
    """Tell whether a value is None, a bool or a small integer."""
    kind = type(value)
    return value is None or kind is bool or (kind is int and -SMALL_INT < value < SMALL_INT)


def _free_name(taken: dict[str, Any], name: str) -> str:
    """Return ``name``, or with a number behind it what no other key is called."""
    number = 1
    free = name
    while free in taken:
        number += 1
        free = f"{name}~{number}"
    return free


def _key_text(key: Any) -> str:
    """Return a key of any type as text, cut where it is longer than any allowed key."""
    kind = type(key)
    if issubclass(kind, str):
        return read_text(key)
    if issubclass(kind, bytes):
        return bytes.decode(
            bytes.__getitem__(key, slice(0, MAX_KEY_CHARS * 4 + 4)), "utf-8", "replace"
        )
    leaf, _ = read_leaf(key, MAX_KEY_CHARS)
    if leaf is None or type(leaf) is bool:
        return {None: "null", True: "true", False: "false"}[leaf]
    return leaf if type(leaf) is str else repr(leaf)
