"""What is redacted and how much is kept: the settings of a :class:`Redactor`, checked.

The rules themselves live in ``keys``, ``patterns`` and ``assignments``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from z4j_otel.errors import ConfigError
from z4j_otel.redaction.catalogue import RULES
from z4j_otel.redaction.custom import CustomRedactor

__all__ = ["MARKER", "REDACTED", "RedactionPolicy", "compile_patterns", "why_no_rule"]

REDACTED: Final = "[REDACTED]"
"""Stands where sensitive content was; the same text as the brain's own marker."""
MARKER: Final = re.compile(r"\[REDACTED(?::[0-9a-f]{4})?\]")
"""The marker, also with a token."""

_FIXED_RULE: Final = "key:too-long"
"""A bound, like those below."""
_BOUNDS: Final = {
    "max_string_bytes": (64, 1 << 20),
    "max_items": (2, 1_000_000),
    "max_depth": (1, 60),
    "max_total_bytes": (256, 1 << 24),
}


@dataclass(frozen=True, slots=True)
class RedactionPolicy:
    """Rules to add to the defaults, and the size a redacted value may have.

    Raises:
        ConfigError: A pattern is no regular expression, or a bound is out of range.
    """

    extra_key_patterns: tuple[str, ...] = ()
    """Regular expressions, case-insensitive; a key that one of them matches in full, as
    written or in snake case, has its whole value redacted."""
    extra_value_patterns: tuple[str, ...] = ()
    """Regular expressions, case-insensitive; what they match inside a string is redacted.
    They run on the agent's hot path: keep them linear."""
    defaults_enabled: bool = True
    """Whether the built-in rules apply. Off, only the extra patterns and the bounds do."""
    disabled_rules: frozenset[str] = frozenset()
    """Names of built-in rules that do not apply, as docs/reference/redaction.md lists them.
    Where the brain has the same rule, it blanks the whole text instead."""
    redactors: tuple[CustomRedactor, ...] = ()
    """Code of the application that is asked first, about each single value."""
    token_key: bytes = field(default=b"", repr=False)
    """Key of the tokens in markers, from ``tokens.derive_key``; without it they have none."""
    max_string_bytes: int = 8000
    """UTF-8 bytes of one string, truncation marker included; the brain cuts at 8192."""
    max_items: int = 200
    """Entries of one container, the marker for dropped items included."""
    max_depth: int = 20
    """Containers inside each other; the brain redacts from 64."""
    max_total_bytes: int = 24_000
    """Canonical JSON bytes of one redacted value."""

    def __post_init__(self) -> None:
        compile_patterns("redaction_extra_key_patterns", self.extra_key_patterns)
        compile_patterns("redaction_extra_value_patterns", self.extra_value_patterns)
        for reason in filter(None, map(why_no_rule, sorted(self.disabled_rules))):
            raise ConfigError("redaction_disabled_rules", "redaction policy", reason)
        for name, (low, high) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"redaction_{name}", "redaction policy", f"expected {low} to {high}"
                )


def why_no_rule(name: str) -> str:
    """Return what is expected instead of the name of a rule that can be disabled, or ""."""
    if name in RULES and name != _FIXED_RULE:
        return ""
    from difflib import get_close_matches  # noqa: PLC0415 -- only for whoever mistypes

    near = get_close_matches(name, RULES, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"expected names of rules as docs/reference/redaction.md lists them{meant}"


def compile_patterns(setting: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Compile a setting's regular expressions, ignoring case.

    Raises:
        ConfigError: The setting is no sequence of strings, or one of them must not be
            used; the error tells which one and why, not its text.
    """
    if not patterns:
        return ()
    # Few have patterns of their own.
    from z4j_otel.redaction.pattern_safety import compile_quietly, why_refused  # noqa: PLC0415

    if isinstance(patterns, str):
        raise ConfigError(setting, "redaction policy", "expected a list of regular expressions")
    for number, pattern in enumerate(patterns, 1):
        reason = "is not text; expected a regular expression"
        if isinstance(pattern, str):
            reason = why_refused(pattern, is_key=setting == "redaction_extra_key_patterns")
        if reason:
            raise ConfigError(setting, "redaction policy", f"pattern {number} {reason}")
    return tuple(map(compile_quietly, patterns))
