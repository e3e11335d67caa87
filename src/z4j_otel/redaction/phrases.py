"""Sensitive values that follow their name without a sign between: prose, tables, files.

Theory of operation. ``assignments`` finds the sensitive names of a text; where neither
``=`` nor ``:`` follows one, it asks here. Prose is full of such names that give nothing
away (``the password was wrong``), so a bare word is taken for a secret only if it looks
like one, and a quoted text only where nothing but a secret could be meant.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["find_phrase", "is_no_secret"]

_BEFORE_CHARS: Final = 160
_PROSE_RULES: Final = frozenset({"key:password", "key:secret", "key:api-key", "key:token"})

_GAP: Final = r"(?:\s|\\{1,7}[nrt]){1,8}"
_NETRC: Final = re.compile(rf"(?:login|user|account){_GAP}[^\s\\]{{1,128}}{_GAP}\Z", re.IGNORECASE)
_NETRC_HOST: Final = re.compile(rf"machine{_GAP}[^\s\\]{{1,128}}{_GAP}\Z", re.IGNORECASE)
_NETRC_HINTS: Final = ("machine", "default")
_NETRC_NAMES: Final = frozenset({"password", "passwd"})
_NEXT_WORD: Final = re.compile(rf"{_GAP}([^\s\\\"']+)")
_NEXT_LOGIN: Final = re.compile(rf"{_GAP}(?:login|account){_GAP}", re.IGNORECASE)

_NAMED_BEFORE: Final = re.compile(
    r"(?:name|key|field|header|param|parameter|variable|var|option|setting|attribute)"
    r"\\*[\"']?[ ]?[:=][ ]?[ub]?\\*[\"']\Z",
    re.IGNORECASE,
)
_NAMED_AFTER: Final = re.compile(
    r"\\*[\"'][ ,\t\r\n]{1,24}\\*[\"']?(?:value|val|content)\\*[\"']?[ ]?[:=][ ]?", re.IGNORECASE
)

_BREAK: Final = r"(?:\r?\n|\\{1,7}n)"
_INVALID: Final = re.compile(
    rf"{_BREAK}[ ]{{2}}[^\n]{{1,300}}?\[type=(?!missing)\w{{1,64}}, input_value=(?!\[REDACTED)"
)
"""What pydantic writes below the name of a field whose value it refuses."""
_UNIQUE: Final = re.compile(r"(?:, [\w\", ]{1,200})?\)=\((?!\[REDACTED)")
_UNIQUE_END: Final = re.compile(r"\) (?:already exists|is |conflicts )|\r|\n|\\[nr]|\Z")
"""How PostgreSQL tells the values of a key: ``Key (id, token)=(7, abc) already exists``."""

_LINK: Final = re.compile(
    r"[\"'`]?(?:[ ](?:key|value|string|provided|given|supplied|received|used|is|was|by|set[ ]to"
    r"|for[ ][\w.@\-]{1,64})){0,2}(?:[ \t]{0,64}(?:->|\u2192|[|\u2502])[ \t]{1,64}|:?[ \t]{1,4})",
    re.IGNORECASE,
)
_QUOTED: Final = re.compile(r"[ub]?(\\{0,3}[\"'`])([^\s\"'`\\]{1,512})\1", re.IGNORECASE)
_WORD: Final = re.compile(r"[^\s\"'`,;()\[\]{}<>/|\u2502]+")
_LEAST_WORD_CHARS: Final = 6
_LEAST_TOKEN_CHARS: Final = 8
_MARKER_START: Final = "[REDACTED"
_DIGIT: Final = re.compile(r"[0-9]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_PLAIN_WORDS: Final = re.compile(
    r"(?:sha|md|pbkdf|argon|rsa|aes|rs|hs|es|v|oauth|utf|http|base|line|column|part|step|bcrypt)"
    r"[\d._\-]*(?:[_\-]?(?:sha)?\d+)?:?",
    re.IGNORECASE,
)

_CONSTANT: Final = re.compile(r"None|True|False|null|true|false|nil|undefined|\{\}?|\[\]?|\(\)?")
_TYPE: Final = re.compile(
    r"str|bytes|int|bool|float|object|Any|SecretStr|Secret|string|boolean"
    r"|(?:t(?:yping)?\.)?Optional\[[\w.\[\], ]{1,64}\]"
)
_KNOWN: Final = "self|cls|settings|config|conf|request|os|args|kwargs|options|params|environ|other"
_CODE_OF_KNOWN: Final = re.compile(
    rf"(?:{_KNOWN})(?:\.[A-Za-z_]\w*){{1,8}}(?:\([\w., =*]{{0,128}}\)|\[[\w.]{{1,64}}\])?"
)
_LOOKUP: Final = re.compile(
    rf"(?:{_KNOWN})(?:\.[A-Za-z_]\w*){{0,8}}"
    r"(?:\[([\"'])[A-Za-z_][\w\-]{0,63}\1\]|\.get(?:env)?\(([\"'])[A-Za-z_][\w\-]{0,63}\2\))"
)
"""Where a secret comes from, by its name; a second argument may be one."""
_CALL: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){0,8}\([\w., =*]{0,128}\)")


def find_phrase(
    text: str, folded: str, start: int, end: int, rule: str
) -> tuple[int, int, str] | None:
    """Return where the value of a name begins and ends and by which rule, or None.

    An end of -1 means that a value of any notation begins there.

    Args:
        text: Where the name stands.
        folded: The same in lower case.
        start: Where the sensitive name begins.
        end: Where it ends.
        rule: The rule that knows the name.
    """
    named = _NAMED_AFTER.match(text, end)
    if named and _NAMED_BEFORE.search(text[max(0, start - 32) : start]):
        return named.end(), -1, "text:named-value"
    invalid = _INVALID.match(text, end)
    if invalid:
        return invalid.end(), -1, "text:named-value"
    unique = _UNIQUE.match(text, end)
    if unique:
        return unique.end(), _UNIQUE_END.search(text, unique.end()).start(), "text:named-value"  # type: ignore[union-attr]
    netrc = _find_netrc(text, folded, start, end)
    if netrc:
        return (*netrc, "text:netrc")
    is_verb = folded[start:end] == "pass"
    link = _LINK.match(text, end) if rule in _PROSE_RULES and not is_verb else None
    value = _find_secret_word(text, link.end(), rule) if link else None
    return (*value, "text:phrase") if value else None


def _find_secret_word(text: str, position: int, rule: str) -> tuple[int, int] | None:
    is_password = rule == "key:password"
    quoted = _QUOTED.match(text, position)
    if quoted:
        is_secret = is_password or _looks_secret(quoted.group(2), _LEAST_TOKEN_CHARS)
        return quoted.span(2) if is_secret else None
    word = _WORD.match(text, position)
    value = word.group().rstrip(".:!?") if word else ""
    if not _looks_secret(value, _LEAST_WORD_CHARS if is_password else _LEAST_TOKEN_CHARS):
        return None
    return position, position + len(value)


def _find_netrc(text: str, folded: str, start: int, end: int) -> tuple[int, int] | None:
    if folded[start:end] not in _NETRC_NAMES:
        return None
    word = _NEXT_WORD.match(text, end)
    if word is None or word.group(1).startswith(_MARKER_START):
        return None
    before = text[max(0, start - _BEFORE_CHARS) : start]
    if not _NETRC.search(before):
        is_first = _NETRC_HOST.search(before) and _NEXT_LOGIN.match(text, word.end())
        return word.span(1) if is_first else None
    return word.span(1) if any(hint in folded for hint in _NETRC_HINTS) else None


def _looks_secret(word: str, least_chars: int) -> bool:
    return (
        len(word) >= least_chars
        and not word.startswith(_MARKER_START)
        and _DIGIT.search(word) is not None
        and _LETTER.search(word) is not None
        and not _PLAIN_WORDS.fullmatch(word)
    )


def is_no_secret(value: str, separator: str, rule: str) -> bool:
    """Tell of an unquoted value that it is a constant, a type, or code that computes it.

    Args:
        value: What follows a sensitive name.
        separator: What stands between the two.
        rule: The rule that knows the name.
    """
    if any(each.fullmatch(value) for each in (_CONSTANT, _CODE_OF_KNOWN, _LOOKUP)):
        return True
    if "=" not in separator and _TYPE.fullmatch(value):
        return True
    if rule == "key:tokens" and value.isdecimal():
        return True
    # Source code has blanks around its signs; a repr or a URL has none.
    return separator.startswith(" ") and "=" in separator and bool(_CALL.fullmatch(value))
