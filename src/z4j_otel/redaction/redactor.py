"""The redactor: what the rest of the agent calls.

The work is done by ``walk`` (values), ``text`` (strings), ``keys``, ``patterns`` and
``assignments`` (rules). This module guards the rim: nothing here raises, blocks, or runs
code of the values it is given.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from z4j_otel.redaction.custom import ask
from z4j_otel.redaction.findings import Finding, ListeningRules, ListeningWalk
from z4j_otel.redaction.leaves import read_text
from z4j_otel.redaction.paths import PathWalk
from z4j_otel.redaction.policy import REDACTED, RedactionPolicy
from z4j_otel.redaction.text import MIN_CAP_BYTES
from z4j_otel.redaction.walk import (
    MIN_BUDGET_BYTES,
    NO_ROOM,
    SMALL_INT,
    Rules,
    Walk,
    is_plain,
)

__all__ = ["Redactor"]

_UNREADABLE: Final = "[unreadable]"
_MAX_CACHED: Final = 2048
_FEW_ITEMS: Final = 8
"""So many small numbers fit into the smallest budget."""
_ROOM_BYTES: Final = 4096
"""So many entries of a remembered key and a small value fit into it, whatever they hold."""
_MAX_NAME_CHARS: Final = 500


class Redactor:
    """Removes sensitive content by one policy; may be shared between threads."""

    def __init__(self, policy: RedactionPolicy = RedactionPolicy()) -> None:  # noqa: B008 -- frozen value
        self.policy = policy
        """The rules and bounds this redactor works by."""
        self._rules = Rules(policy)
        # Redactors of the application look at every value.
        self._few = -1 if policy.redactors else min(_FEW_ITEMS, policy.max_items)
        self._has_room = policy.max_total_bytes >= _ROOM_BYTES
        self._names: dict[tuple[str, int], str] = {}

    def redact(self, value: object, *, budget_bytes: int | None = None, path: str = "") -> Any:
        """Return a JSON value that may leave the process.

        Args:
            value: Anything. It is not changed and, apart from the built-in types, not
                looked into: an object becomes ``<module.Class>``.
            budget_bytes: Most bytes of the result as canonical JSON, at least 256;
                None means the policy's ``max_total_bytes``.
            path: What the value is called, for redactors of the application.

        Returns:
            None, bool, int, finite float, str, list, or dict with str keys. Where
            something was left out stands a marker in square brackets.
        """
        if budget_bytes is None:
            small = self.redact_small(value)
            if small is not None:
                return small
        budget = self.policy.max_total_bytes if budget_bytes is None else budget_bytes
        try:
            result = self._walk(max(MIN_BUDGET_BYTES, budget), path).value(value)
        except Exception:  # noqa: BLE001 -- rim: a task must not fail because of its telemetry
            return _UNREADABLE
        return _UNREADABLE if result is NO_ROOM else result

    def _walk(self, room_bytes: int, path: str) -> Walk:
        if self.policy.redactors:
            return PathWalk(self._rules, room_bytes, path)
        return Walk(self._rules, room_bytes)

    def redact_small(self, value: object) -> list[Any] | dict[str, Any] | None:
        """Return a copy of a few small arguments that no rule could change, else None.

        Ids, counts and short words are what most tasks take, and this is a fifth of the
        price of a walk. A copy holds nothing but None, booleans, small integers and text of
        ASCII: every JSON encoder writes the same for it.

        Args:
            value: Anything; see :meth:`redact`.
        """
        kind = type(value)
        if kind is dict:
            return self._copy_members(value) if self._has_room else None
        return _copy_plain(value, self._few) if kind is list or kind is tuple else None

    def _copy_members(self, value: Any) -> dict[str, Any] | None:
        """Return a short dict of small values under known harmless keys, else None."""
        if len(value) > self._few:
            return None
        is_known_harmless, is_harmless = (
            self._rules.is_known_harmless,
            self._rules.texts.is_harmless,
        )
        copy = dict(value)
        for key, item in copy.items():
            if type(key) is not str or not is_known_harmless(key):
                return None
            if not (is_harmless(item) if type(item) is str else is_plain(item)):
                return None
        return copy

    def redact_text(
        self,
        text: str,
        *,
        max_bytes: int | None = None,
        keep: Literal["head", "tail"] = "head",
        path: str = "",
    ) -> str:
        """Return a text that may leave the process, each match replaced in its place.

        Args:
            text: Any string; NULs and lone surrogates become U+FFFD.
            max_bytes: Most UTF-8 bytes of the result, at least 64; None means the
                policy's ``max_string_bytes``.
            keep: The end that survives a cut: ``tail`` keeps a traceback's deepest
                frames and starts at a whole line.
            path: What the text is called, for redactors of the application.
        """
        cap = self.policy.max_string_bytes if max_bytes is None else max_bytes
        try:
            plain, _ = self._ask(read_text(text), path)
            return self._rules.texts.redact(plain, max(MIN_CAP_BYTES, cap), keep)
        except Exception:  # noqa: BLE001 -- rim: extra patterns and exhausted memory end here
            return _UNREADABLE

    def _ask(self, text: str, path: str) -> tuple[str, str]:
        """Return what the application's redactors make of a text, and the rule's name."""
        answer, rule = ask(self.policy.redactors, path, text)
        return (answer if type(answer) is str else REDACTED), rule

    def explain(
        self, value: object, *, budget_bytes: int | None = None, path: str = ""
    ) -> tuple[Any, list[Finding]]:
        """Redact as :meth:`redact` does, and tell which rule took what.

        For previews and tests: it costs several times as much.

        Args:
            value: As for :meth:`redact`.
            budget_bytes: As for :meth:`redact`.
            path: What the value is called, the first part of each finding's path.

        Returns:
            The redacted value, the same as :meth:`redact` gives, and the findings in the
            order of the value: each rule once for each path, none when nothing was taken.
        """
        budget = self.policy.max_total_bytes if budget_bytes is None else budget_bytes
        try:
            walk = ListeningWalk(ListeningRules(self.policy), max(MIN_BUDGET_BYTES, budget), path)
            result = walk.value(value)
        except Exception:  # noqa: BLE001 -- rim: as in redact
            return _UNREADABLE, []
        return (_UNREADABLE, []) if result is NO_ROOM else (result, walk.findings())

    def explain_text(
        self,
        text: str,
        *,
        max_bytes: int | None = None,
        keep: Literal["head", "tail"] = "head",
        path: str = "",
    ) -> tuple[str, list[Finding]]:
        """Redact as :meth:`redact_text` does, and tell which rule took how many parts.

        Args:
            text: As for :meth:`redact_text`.
            max_bytes: As for :meth:`redact_text`.
            keep: As for :meth:`redact_text`.
            path: What the text is called, the path of each finding.
        """
        cap = self.policy.max_string_bytes if max_bytes is None else max_bytes
        try:
            texts = ListeningRules(self.policy).texts
            plain, rule = self._ask(read_text(text), path)
            safe = texts.redact(plain, max(MIN_CAP_BYTES, cap), keep)
        except Exception:  # noqa: BLE001 -- rim: as in redact_text
            return _UNREADABLE, []
        counts = Counter([rule, *texts.taken] if rule else texts.taken)
        return safe, [Finding(path, rule, count) for rule, count in counts.items()]

    def redact_name(self, text: str, *, max_chars: int = 200) -> str:
        """Return a short recurring name (task, queue, worker) that may leave the process.

        Answers are remembered, so calling it per event is cheap.

        Args:
            text: The name. Like everywhere, what looks like an e-mail address goes.
            max_chars: Most characters of the result, 1 to 500; the rest is cut silently.
        """
        key = (text, max_chars) if type(text) is str else (read_text(text), max_chars)
        name = self._names.get(key)
        if name is None:
            size = min(max(1, max_chars), _MAX_NAME_CHARS)
            name = self.redact_text(key[0], max_bytes=4 * size + MIN_CAP_BYTES)
            name = self.redact_text(name[:size])[:size]
            if len(key[0]) <= _MAX_NAME_CHARS:
                if len(self._names) >= _MAX_CACHED:
                    self._names.clear()
                self._names[key] = name
        return name


def _copy_plain(value: Any, most: int) -> list[Any] | None:
    """Return a short list of nothing but small numbers, which no rule could change."""
    if len(value) > most:
        return None
    items = list(value)
    for item in items:
        # Integers, which most are, without a call.
        if not (type(item) is int and -SMALL_INT < item < SMALL_INT) and not is_plain(item):
            return None
    return items
