"""How the brain redacts what it is sent, written from its observed behaviour.

Theory of operation: the brain scrubs an event as a whole, object keys included, before it
looks at any part of it (PROTOCOL §5.2). A sensitive *key* blanks every leaf below it; a
sensitive *value* blanks the whole string it occurs in, however long; an over-long string
keeps its head; nesting beyond 64 levels is blanked. This module shares nothing with the
agent's own redaction, so that an agent which forgets to mask something shows up in tests
as a needless ``[REDACTED]``.

Almost no event contains anything sensitive. One walk collects every string and one search
for the few markers without which no rule can match decides whether the exact rules run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

__all__ = ["MAX_DEPTH", "REDACTED", "BrainRules"]

REDACTED: Final = "[REDACTED]"
MAX_DEPTH: Final = 64
_MAX_KEY_CHARS: Final = 256
_MAX_KNOWN_KEYS: Final = 4096

_SENSITIVE_KEYS: Final = frozenset(
    [
        "password",
        "password_confirmation",
        "password_hash",
        "passwd",
        "pwd",
        "old_password",
        "new_password",
        "secret",
        "secrets",
        "client_secret",
        "clientsecret",
        "webhook_secret",
        "webhooksecret",
        "hmac_secret",
        "hmacsecret",
        "token",
        "access_token",
        "accesstoken",
        "refresh_token",
        "refreshtoken",
        "id_token",
        "idtoken",
        "api_token",
        "apitoken",
        "bearer_token",
        "bearertoken",
        "session_token",
        "sessiontoken",
        "api_key",
        "apikey",
        "x-api-key",
        "x_api_key",
        "authorization",
        "auth",
        "credentials",
        "cookie",
        "set-cookie",
        "set_cookie",
        "ssn",
        "social_security",
        "social_security_number",
        "credit_card",
        "credit_card_number",
        "card_number",
        "cvv",
        "cvc",
    ]
)

_SENSITIVE_VALUES: Final = (
    r"eyJ[\w-]+\.[\w-]+\.[\w-]+",
    r"bearer\s+[\w.-]{16}",
    r"[spr]k_(?:live|test)_[a-z0-9]{24}",
    r"whsec_[a-z0-9]{24}",
    r"xox[bpa]-[a-z0-9-]{10}",
    r"https://hooks\.slack\.com/services/T[a-z0-9]+/B[a-z0-9]+/[a-z0-9]+",
    r"gh[pos]_[a-z0-9]{36}",
    r"github_pat_\w{82}",
    r"A[KS]IA[0-9a-z]{16}",
    r"AIza[\w-]{35}",
    r"SG\.[\w-]{22}\.[\w-]{43}",
    (
        r"(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?)"
        r"://[^\s:]+:[^\s@]+@[^\s/@]"
    ),
    r"-----BEGIN (?:[a-z]+ )?PRIVATE KEY-----",
    r"[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2}",
)
_VALUE: Final = re.compile("|".join(_SENSITIVE_VALUES), re.IGNORECASE | re.ASCII)
# These two go by the digits and word boundaries of any script, not of ASCII alone.
_SSN: Final = re.compile(r"\b\d{3}-\d{2}-\d{4}\b")
_TWILIO: Final = re.compile(r"\bSK[0-9a-f]{32}\b", re.IGNORECASE)
# Literal prefixes make these two fast enough to run over every event.
_MAYBE_TWILIO: Final = re.compile(r"sk[0-9a-f]{32}")
_MAYBE_ADDRESS: Final = re.compile(r"@[a-z0-9.-]+\.[a-z]{2}")

# Every rule of _VALUE needs at least one of these in the lower-cased text.
_MARKERS: Final = (
    "://",
    "eyj",
    "bearer",
    "k_live_",
    "k_test_",
    "whsec_",
    "xox",
    "hooks.slack",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "akia",
    "asia",
    "aiza",
    "sg.",
    "-----begin",
)


class BrainRules:
    """The brain's redaction with one operator's settings."""

    def __init__(
        self, *, max_string_bytes: int = 8192, extra_key_patterns: Iterable[str] = ()
    ) -> None:
        """Make a set of rules.

        Args:
            max_string_bytes: Longest string kept whole, in UTF-8 bytes.
            extra_key_patterns: Regular expressions; a key that one of them matches as a
                whole, in any case, is sensitive too.
        """
        self._max_string_bytes = max_string_bytes
        self._extra_keys = tuple(re.compile(p, re.IGNORECASE) for p in extra_key_patterns)
        self._safe_keys: set[str] = set()

    def apply(self, value: Any) -> Any:
        """Return the value as the brain would store it; the argument is not changed.

        The result may be the argument itself when no rule touches it.
        """
        texts = self._texts_of_plain(value)
        if texts is None or (_may_match("\n".join(texts)) and any(map(_is_sensitive, texts))):
            return self._scrub(value, 0, blank=False)
        return value

    def _texts_of_plain(self, value: Any) -> list[str] | None:
        """Collect the strings of a value; None when a rule about its shape may apply."""
        texts: list[str] = []
        level = [[value]]
        for _ in range(MAX_DEPTH):
            deeper: list[Any] = []
            for container in level:
                items: Any = container
                if isinstance(container, dict):
                    if not self._safe_keys.issuperset(container) and not self._are_safe(container):
                        return None
                    texts += container
                    items = container.values()
                for item in items:
                    if isinstance(item, str):
                        texts.append(item)
                    elif isinstance(item, (dict, list)):
                        deeper.append(item)
            if not deeper:
                # A character has at most four bytes.
                longest = max(map(len, texts), default=0)
                return texts if longest * 4 <= self._max_string_bytes else None
            level = deeper
        return None

    def _are_safe(self, keys: Iterable[str]) -> bool:
        if any(map(self._is_sensitive_key, keys)):
            return False
        if len(self._safe_keys) < _MAX_KNOWN_KEYS:
            self._safe_keys.update(keys)
        return True

    def _is_sensitive_key(self, key: str) -> bool:
        return (
            len(key) > _MAX_KEY_CHARS
            or key.lower() in _SENSITIVE_KEYS
            or any(pattern.fullmatch(key) for pattern in self._extra_keys)
        )

    def _scrub(self, value: Any, depth: int, *, blank: bool) -> Any:
        if depth >= MAX_DEPTH:
            return REDACTED
        if isinstance(value, dict):
            return {
                self._scrub_text(key): self._scrub(
                    item, depth + 1, blank=blank or self._is_sensitive_key(key)
                )
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._scrub(item, depth + 1, blank=blank) for item in value]
        if blank:
            return REDACTED
        return self._scrub_text(value) if isinstance(value, str) else value

    def _scrub_text(self, text: str) -> str:
        octets = text.encode("utf-8", "surrogatepass")
        rest = len(octets) - self._max_string_bytes
        if rest > 0:
            text = octets[: self._max_string_bytes].decode("utf-8", "ignore")
        if _is_sensitive(text):
            return REDACTED
        return f"{text}[...{rest} more bytes truncated]" if rest > 0 else text


def _is_sensitive(text: str) -> bool:
    return _may_match(text) and bool(
        _VALUE.search(text) or _SSN.search(text) or _TWILIO.search(text)
    )


def _may_match(text: str) -> bool:
    """Whether a rule can match at all; cheap, and true of about one text in twenty."""
    folded = text.lower()
    return (
        any(marker in folded for marker in _MARKERS)
        or ("@" in folded and _MAYBE_ADDRESS.search(folded) is not None)
        or _MAYBE_TWILIO.search(folded) is not None
        or ("-" in folded and _SSN.search(text) is not None)
    )
