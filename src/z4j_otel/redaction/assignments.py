"""Sensitive values that a text gives together with their names.

Theory of operation. Arguments, results and messages often reach us as text: reprs, JSON,
query strings, headers, command lines, lines of source code in a traceback. This module
finds ``name separator value``, asks :class:`~z4j_otel.redaction.keys.KeyRules` about the
name and adds the span of the value: the inside of a quoted string, a whole bracket, or a
bare word. A quote or bracket that is never closed (the text may have been cut) reaches to
the end. Each character is consumed once, so time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from z4j_otel.redaction.keys import MAX_KEY_CHARS, NAME_STEMS, KeyRules
from z4j_otel.redaction.patterns import Spans
from z4j_otel.redaction.policy import MARKER

__all__ = ["TRUNCATED", "add_assignment_spans", "may_hold_assignment"]

TRUNCATED: Final = re.compile(r"\[\.\.\.(\d{1,20}) more bytes truncated\]")
"""The marker of a string that was cut."""

_NAME: Final = re.compile(r"[\w.\-]+")
_NAME_REVERSED: Final = re.compile(r"[\w.\-]*")
_SEPARATOR: Final = re.compile(
    r"(?:[ ](key|keys|number|code|string))?\\*[\"'`]?\]?"
    r"[ \t]{0,8}(?:=>|={1,3}|!=|:=|:(?!//))[ \t]{0,8}",
    re.IGNORECASE,
)
_LIST_SEPARATOR: Final = re.compile(r"\\*[\"']?,?[ \t]{1,8}(?=[ub]?\\*[\"']|\w)")
_LIST_OPENING: Final = re.compile(r"\([ub]?\\{0,8}[\"']\Z")
_LIST_HINTS: Final = ("--", "('", "(b'", '("', "(\\", '(b"')
_LIST_OPENING_CHARS: Final = 11
_MAX_NAME_CHARS: Final = MAX_KEY_CHARS
_TAG_END: Final = re.compile(r"(?:\s[^<>]{0,256}(?<!/))?>")
_MAX_ELEMENT_CHARS: Final = 4096
_CLOSING_TAG: Final = re.compile(r"</(?:[\w.\-]{1,64}:)?([\w.\-]{1,256})")
_WORD_BEFORE: Final = re.compile(r"([A-Za-z]{2,20})[ ]\Z")
_SECOND_WORDS: Final = frozenset({"key", "keys", "number", "code", "string"})

_OPENING: Final = re.compile(r"[bBrRuUfF]{0,2}(\\*)(\"\"\"|'''|[\"'`])")
_INSIDE: Final = {
    quote: re.compile(rf"[^{quote}\\]*(?:\\.[^{quote}\\]*)*", re.DOTALL) for quote in "\"'`"
}
_ESCAPED_QUOTE: Final = {quote: re.compile(rf"\\*{quote}") for quote in "\"'`"}
_BRACKETS: Final = re.compile(
    r"[\[({]|[\])}]|\"[^\"\\]*(?:\\.[^\"\\]*)*(?:\"|\Z|\\\Z)|'[^'\\]*(?:\\.[^'\\]*)*(?:'|\Z|\\\Z)",
    re.DOTALL,
)
_BARE: Final = re.compile(
    r"(?:[^\s,;&()\[\]{}\"'`<>]+"
    r"|[,;&](?=[^\s,;&()\[\]{}\"'`<>])(?![\w.\-]+[\"']?[ ]?[=:])"
    r"|[)\]}\"'`<>](?=\w))+"
)
_ANGLED: Final = re.compile(r"<[^>\n]*>?")
_HEADER: Final = re.compile(r"digest[ \t][^\r\n]*|[^\r\n\"'`]*", re.IGNORECASE)
_HEADER_NAMES: Final = re.compile(r"(?:authorization|cookie)\Z", re.IGNORECASE)
_SCHEMES: Final = frozenset(
    {"apikey", "basic", "bearer", "digest", "negotiate", "ntlm", "token", "aws4-hmac-sha256"}
)
_NEXT_WORD: Final = re.compile(r"[ \t]+(?=[^\s\"'`])")
_MAX_PIECES: Final = 16


def may_hold_assignment(text: str) -> bool:
    """Tell quickly whether :func:`add_assignment_spans` could find anything."""
    return "=" in text or ":" in text or "</" in text or any(hint in text for hint in _LIST_HINTS)


def add_assignment_spans(text: str, folded: str, rules: KeyRules, spans: Spans) -> None:
    """Find the values of sensitive names in ``text``.

    Args:
        text: Where to look.
        folded: The same in lower case, each character at its place.
        rules: Decide which names are sensitive.
        spans: Receives the spans of values.
    """
    done = 0
    for start, end in _find_names(text, folded, every=rules.has_extra):
        if start < done:
            continue
        element = _find_element(text, start, end)
        if element and _is_sensitive(text, start, text[start:end], rules):
            spans.append((*element, "text:element"))
            done = element[1]
            continue
        position, name = _read_separator(text, start, end)
        if position and _is_sensitive(text, start, name, rules):
            is_header = ":" in text[end:position] and bool(_HEADER_NAMES.search(name))
            value_start, value_end = _find_value(text, position, is_header)
            if value_end > value_start:
                spans.append((value_start, value_end, _rule_name(text, end, position, is_header)))
                done = value_end


def _find_names(text: str, folded: str, *, every: bool) -> Iterator[tuple[int, int]]:
    """Yield the places of names, in order: every one, or those that hold a stem."""
    if every:
        yield from (match.span() for match in _NAME.finditer(text))
        return
    hits = []
    for stem in NAME_STEMS:
        at = folded.find(stem)
        while at >= 0:
            hits.append(at)
            at = folded.find(stem, at + len(stem))
    done = 0
    for hit in sorted(hits):
        if hit >= done:
            before = text[max(done, hit - _MAX_NAME_CHARS) : hit][::-1]
            left = _NAME_REVERSED.match(before)
            right = _NAME.match(text, hit)
            start = hit - left.end() if left else hit
            done = right.end() if right else hit + 1
            yield start, done


def _find_element(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the place of what an XML element holds whose tag has a name at ``start``."""
    if text[max(0, start - 1) : start] not in ("<", ":"):
        return None
    opening = _TAG_END.match(text, end)
    # Bounded: a text may be full of tags that nothing closes.
    at = text.find("</", opening.end(), opening.end() + _MAX_ELEMENT_CHARS) if opening else -1
    closing = _CLOSING_TAG.match(text, at) if at >= 0 else None
    if opening is None or closing is None or closing.group(1) != text[start:end]:
        return None
    is_done = at == opening.end() or MARKER.match(text, opening.end())
    return None if is_done else (opening.end(), at)


def _rule_name(text: str, end: int, position: int, is_header: bool) -> str:
    if is_header:
        return "text:header"
    has_sign = "=" in text[end:position] or ":" in text[end:position]
    return "text:assignment" if has_sign else "text:option"


def _read_separator(text: str, start: int, end: int) -> tuple[int, str]:
    """Return where the value of the name at ``start`` begins, or 0; and the whole name."""
    separator = _SEPARATOR.match(text, end)
    if separator:
        name = text[start : separator.end(1) if separator.group(1) else end]
        return separator.end(), name
    opening = text[max(0, start - _LIST_OPENING_CHARS) : start]
    if text.startswith("--", start) or _LIST_OPENING.search(opening):
        separator = _LIST_SEPARATOR.match(text, end)
        if separator:
            return separator.end(), text[start:end]
    return 0, ""


def _is_sensitive(text: str, start: int, name: str, rules: KeyRules) -> bool:
    if name.endswith(".py"):
        return False
    if rules.is_sensitive(name[-_MAX_NAME_CHARS:]):
        return True
    if name.lower() not in _SECOND_WORDS:
        return False
    before = _WORD_BEFORE.search(text[max(0, start - 24) : start])
    return before is not None and rules.is_sensitive(f"{before.group(1)} {name}")


def _find_value(text: str, position: int, is_header: bool) -> tuple[int, int]:
    if MARKER.match(text, position) or TRUNCATED.match(text, position):
        return position, position
    opening = _OPENING.match(text, position)
    if opening:
        return opening.end(), _find_closing_quote(text, opening)
    if is_header:
        header = _HEADER.match(text, position)
        return position, header.end() if header else position
    return position, _find_bare_end(text, position)


def _find_closing_quote(text: str, opening: re.Match[str]) -> int:
    escapes, quote = len(opening.group(1)), opening.group(2)
    start = opening.end()
    if len(quote) > 1:
        end = text.find(quote, start)
        return end if end >= 0 else len(text)
    if escapes:
        for closing in _ESCAPED_QUOTE[quote].finditer(text, start):
            if closing.end() - closing.start() - 1 <= escapes:
                return closing.start()
        return len(text)
    inside = _INSIDE[quote].match(text, start)
    end = inside.end() if inside else start
    # A lone backslash at the very end escapes what was cut off.
    return end if text.startswith(quote, end) else len(text)


def _find_bare_end(text: str, position: int) -> int:
    end = position
    for _ in range(_MAX_PIECES):
        if text.startswith(("[", "(", "{"), end):
            end = _find_closing_bracket(text, end)
            continue
        is_angled = end == position and text.startswith("<", end)
        piece = (_ANGLED if is_angled else _BARE).match(text, end)
        if piece is None:
            break
        word, end = piece.group().lower(), piece.end()
        gap = _NEXT_WORD.match(text, end) if word in _SCHEMES else None
        if gap and not text.startswith("[", gap.end()):
            end = gap.end()
    return end


def _find_closing_bracket(text: str, position: int) -> int:
    depth = 0
    for token in _BRACKETS.finditer(text, position):
        kind = text[token.start()]
        if kind in "[({":
            depth += 1
        elif kind in "])}":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)
