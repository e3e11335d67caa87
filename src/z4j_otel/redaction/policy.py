"""What is redacted and how much is kept: the settings of a :class:`Redactor`, checked.

The rules themselves live in ``keys``, ``patterns`` and ``assignments``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from z4j_otel.errors import ConfigError
from z4j_otel.redaction.catalogue import RULES
from z4j_otel.redaction.custom import CustomRedactor

__all__ = ["MARKER", "REDACTED", "RedactionPolicy", "compile_patterns"]

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
        for rule in self.disabled_rules:
            if rule not in RULES or rule == _FIXED_RULE:
                near = "".join(
                    f"; did you mean {name}?" for name in get_close_matches(rule, RULES, 1)
                )
                raise ConfigError(
                    "redaction_disabled_rules",
                    "redaction policy",
                    f"expected names of rules as docs/reference/redaction.md lists them{near}",
                )
        for name, (low, high) in _BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    f"redaction_{name}", "redaction policy", f"expected {low} to {high}"
                )


def compile_patterns(setting: str, patterns: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    """Compile a setting's regular expressions, ignoring case.

    Raises:
        ConfigError: The setting is no sequence of strings, or one is no regular
            expression; the error tells which one and where, not its text.
    """
    if isinstance(patterns, str):
        raise ConfigError(setting, "redaction policy", "expected a list of regular expressions")
    compiled = []
    for number, pattern in enumerate(patterns, 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compiled.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            place = "" if error.pos is None else f", error at character {error.pos + 1}"
            expected = f"pattern {number} is not a valid regular expression{place}"
            raise ConfigError(setting, "redaction policy", expected) from None
        except TypeError:
            expected = f"pattern {number} is not text; expected a regular expression"
            raise ConfigError(setting, "redaction policy", expected) from None
    return tuple(compiled)
