"""Which names mean that their value is sensitive.

Theory of operation. A key is split into parts at underscores, dashes, dots, spaces and
camel-case humps and written in snake case (``userPassword`` -> ``user_password``). One
regular expression over that form finds sensitive parts, or neighbouring parts that are
sensitive together (``api`` + ``key``). ``token`` is weaker than the rest: next to a part
that speaks of counting or paging (``token_count``) it means something else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from z4j_otel.redaction.policy import RedactionPolicy, compile_patterns

__all__ = ["KEY_RULES", "MAX_KEY_CHARS", "NAME_STEMS", "KeyRule", "KeyRules"]

MAX_KEY_CHARS: Final = 256
"""A longer key is itself taken for content; its value is redacted (PROTOCOL §5.2)."""

_MAX_CACHED: Final = 2048
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS: Final = re.compile(r"[\W_]+")

_KEY_OWNERS: Final = (
    "access|account|admin|api|app|application|auth|aws|azure|cipher|client|consumer|crypto|"
    "customer|data|decryption|deploy|encrypt|encryption|fernet|gpg|hash|hmac|jwt|license|"
    "master|openai|anthropic|pgp|private|rest|rsa|security|service|session|shared|sharedaccess|"
    "sign|signing|ssh|ssl|storage|stripe|subscription|tls|webhook|write"
)
_OWNERS_OF_PLURAL: Final = "access|api|auth|bearer|csrf|device|id|push|refresh|reset|session"


class KeyRule(NamedTuple):
    """One kind of sensitive names."""

    name: str
    pattern: str
    """Verbose regular expression, searched in a name in snake case."""


KEY_RULES: Final = (
    KeyRule(
        "key:password",
        "passw(?:or)?d | passphrase | passwort | passcode | passkey | pwd(?=_|$)"
        "| (?:^|_)(?:db|user|pg|my|root|admin|smtp|ftp|mail|login|proxy|redis)?pass$"
        "| (?:^|_)(?:pw|psw|psk)(?=_|$) | mnemonic | seed_?phrase"
        "| contrase[n\u00f1]a | mot_?de_?passe | kennwort | (?:^|_)senha(?=_|$)",
    ),
    KeyRule("key:secret", "secret(?!ar(?:y|ies|ial|iat)|ion|ed|es(?:_|$))"),
    KeyRule(
        "key:authorization",
        "authorization | (?:^|_)o?auth$ | (?:^|_)bearer(?=_|$) | credential | (?:^|_)creds?(?=_|$)",
    ),
    KeyRule("key:cookie", "(?:^|_)cookies?(?=_|$)"),
    KeyRule("key:session", "(?:^|_)(?:php|j)?sess(?:ion)?_?id(?=_|$)"),
    KeyRule("key:csrf", "(?:^|_)(?:csrf|xsrf)(?=_|$) | csrf_?middleware"),
    KeyRule(
        "key:api-key",
        rf"(?:^|_)(?:{_KEY_OWNERS})_?keys?(?=_|$) | apikey | (?:^|_)amz_signature(?=_|$)",
    ),
    KeyRule(
        "key:token",
        rf"token(?=_|$) | (?:^|_)(?:{_OWNERS_OF_PLURAL})_?tokens(?=_|$)"
        "| (?:^|_)(?:jwt|t?otp)(?=_|$) | code_?verifier | client_?assertion | saml_?response"
        "| (?:^|_)(?:verification|mfa|2fa|sms|recovery|backup)_?codes?(?=_|$)",
    ),
    KeyRule("key:tokens", "^tokens$"),
    KeyRule(
        "key:card",
        "credit_?card | (?:^|_)card_?(?:number|num|no)(?=_|$) | (?:^|_)(?:cvv2?|cvc2?)(?=_|$)"
        "| (?:^|_)security_?code(?=_|$)",
    ),
    KeyRule("key:ssn", "(?:^|_)(?:ssn(?=_|$)|social_?security)"),
    KeyRule("key:dsn", "(?:^|_)dsn(?=_|$) | (?:^|_)conn(?:ection)?_?str(?:ing)?(?=_|$)"),
)
"""The built-in rules for names, in the order in which they are asked."""

_SENSITIVE: Final = re.compile("|".join(rule.pattern for rule in KEY_RULES), re.VERBOSE)
_TOKEN_OF_OTHER_KIND: Final = re.compile(
    r"(?:^|_)(?:budget|cancel|cancellation|class|continuation|count|counts|endpoint|expire|expires|"
    r"expired|expiration|expiry|index|lang|len|length|limit|max|min|num|page|pagination|per|"
    r"position|rate|size|total|ttl|type|types|uri|url|usage|used)(?=_|$)"
)

_ABOUT_IT: Final = re.compile(
    r"(?:^|_)(?:sent|at|count|len|length|changed|required|policy|strength|enabled|attempts|age|days|"
    r"valid|verified|expires?|expired|expiry|hasher|hashers|validators?|name|names|file|path|dir|arn|"
    r"errors?|exceptions?|warnings?|mismatch|missing)$"
    r"|^(?:is|has|had|needs|requires?|can|should|must|no|num|min|max|forgot)_"
)
"""Names that speak about a secret and do not hold it: ``has_password``, ``secret_name``."""

NAME_STEMS: Final = (
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "auth",
    "cred",
    "cookie",
    "sess",
    "dsn",
    "ssn",
    "cvv",
    "cvc",
    "card",
    "social",
    "security",
    "csrf",
    "xsrf",
    "jwt",
    "otp",
    "conn",
    "pw",
    "bearer",
    "signature",
    "psw",
    "psk",
    "mnemonic",
    "phrase",
    "verifier",
    "assertion",
    "saml",
    "verification",
    "mfa",
    "2fa",
    "sms",
    "recovery",
    "backup",
    "contrase",
    "kennwort",
    "senha",
)
"""Lower-case pieces of which every sensitive name holds at least one."""


def to_snake(name: str) -> str:
    """Write a name in lower-case parts joined by single underscores."""
    return _SEPARATORS.sub("_", _HUMP.sub("_", name)).strip("_").lower()


class KeyRules:
    """Decides whether a key's value must be redacted, and remembers recent answers."""

    def __init__(self, policy: RedactionPolicy) -> None:
        self._defaults = policy.defaults_enabled
        self._disabled = policy.disabled_rules
        self._extra = compile_patterns("redaction_extra_key_patterns", policy.extra_key_patterns)
        self._known: dict[str, str] = {}

    @property
    def has_extra(self) -> bool:
        """Whether names outside :data:`NAME_STEMS` may be sensitive."""
        return bool(self._extra)

    def is_sensitive(self, key: str) -> bool:
        """Tell whether the value under ``key`` must go."""
        return bool(self.rule_of(key))

    def rule_of(self, key: str) -> str:
        """Return the name of the rule by which the value under ``key`` must go, or "".

        Args:
            key: The key as text; more than 256 characters are always sensitive.
        """
        if len(key) > MAX_KEY_CHARS:
            return "key:too-long"
        known = self._known.get(key)
        if known is None:
            known = self._decide(key)
            if len(self._known) >= _MAX_CACHED:
                self._known.clear()
            self._known[key] = known
        return known

    def _decide(self, key: str) -> str:
        snake = to_snake(key)
        if self._defaults and _SENSITIVE.search(snake) and not _ABOUT_IT.search(snake):
            for rule in KEY_RULES:
                if rule.name not in self._disabled and _applies(rule, snake):
                    return rule.name
        for number, extra in enumerate(self._extra, 1):
            if extra.fullmatch(key) or extra.fullmatch(snake):
                return f"key:extra-{number}"
        return ""


def _applies(rule: KeyRule, snake: str) -> bool:
    if not re.search(rule.pattern, snake, re.VERBOSE):
        return False
    return rule.name != "key:token" or not _TOKEN_OF_OTHER_KIND.search(snake)
