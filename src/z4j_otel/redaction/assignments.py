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
from z4j_otel.redaction.phrases import find_phrase, is_no_secret
from z4j_otel.redaction.policy import MARKER

__all__ = ["TRUNCATED", "add_assignment_spans", "may_hold_name"]

TRUNCATED: Final = re.compile(r"\[\.\.\.(\d{1,20}) more bytes truncated\]")
"""The marker of a string that was cut."""

_ANY_STEM: Final = re.compile("|".join(NAME_STEMS))
_FEW_CHARS: Final = 256
_NAME: Final = re.compile(r"[\w.\-]+")
_NAME_REVERSED: Final = re.compile(r"[\w.\-]*")
_ENCODED: Final = r"%2[27]|&(?:quot|\#3[49]|\#x2[27]|apos);"
_SEPARATOR: Final = re.compile(
    rf"(?:[ ](key|keys|number|code|string))?\\*(?:[\"'`]|{_ENCODED}|u002[27])?"
    r"(?:\[?\]|(?:%5b)?%5d)?"
    r"[ \t]{0,8}(?:=>|={1,3}|!=|:=|:(?!//)|%3[ad]|\\{1,7}u003[ad])[ \t]{0,8}",
    re.IGNORECASE,
)
_BLOCK: Final = re.compile(r"[|>][+\-]?[ ]{0,4}(?:(\r?\n)[ \t]{1,64}|\\{1,7}n[ ]{1,64})")
_LINES: Final = re.compile(r"[^\r\n]*(?:\r?\n[ \t]{1,64}[^\r\n]*)*")
_ESCAPED_LINES: Final = re.compile(r"[^\r\n\\\"']*(?:\\{1,7}n[ ]{1,64}[^\r\n\\\"']*)*")
_ENCODED_QUOTE: Final = re.compile(rf"{_ENCODED}|\\{{1,7}}u002[27]", re.IGNORECASE)
_ENCODED_END: Final = re.compile(r"%26|&|\s|\Z", re.IGNORECASE)
_OPTION_GAP: Final = re.compile(r"\\*[\"']?,?[ \t]{1,8}(?=[ub]?\\*[\"']|\w)")
_PAIR_GAP: Final = re.compile(r"\\*[\"'],[ \t]{0,8}(?=[ub]?\\*[\"']|\w)")
_LIST_OPENING: Final = re.compile(r"([(\[])[ub]?\\{0,8}[\"']\Z")
_LOOK_BACK_CHARS: Final = 3
_MAX_PAIR_CHARS: Final = 1024
_PAIR_END: Final = re.compile(r"\\*[\"']?\s{0,4}[)\]]")
_LIST_OPENING_CHARS: Final = 11
_MAX_NAME_CHARS: Final = MAX_KEY_CHARS
_ESCAPED_CHARS: Final = 2
_ESCAPED_BREAK: Final = re.compile(r"\\[nrt]")
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
_HEADER: Final = re.compile(
    r"digest[ \t][^\r\n]*|(?:[^\r\n\"'`=]|=(?:\\{0,7}\"[^\"\r\n]*\")?)*", re.IGNORECASE
)
_ERROR_CLASS: Final = re.compile(
    r"(?:\A|\.)(?:Invalid|Missing|Unexpected|Unknown|Expired|Incorrect|Wrong|Bad)[A-Z][A-Za-z]{0,64}\Z"
)
"""An exception whose name does not end in ``Error``; its text follows."""
_ANNOTATION: Final = re.compile(
    r"[A-Za-z_][\w.]{0,64}(?:\[[\w.\[\], |]{1,64}\])?(?: \| None)? = (?=[bBrRuUfF]{0,2}[\"'])"
)
"""The type between a name and its value, in source code."""
_DEFINITION: Final = re.compile(r"\bdef \w{1,64}\([^\n]*\Z")
_DEFINITION_CHARS: Final = 200
_HEADER_NAMES: Final = re.compile(r"(?:authorization|cookie)\Z", re.IGNORECASE)
_SCHEMES: Final = frozenset(
    {"apikey", "basic", "bearer", "digest", "negotiate", "ntlm", "token", "aws4-hmac-sha256"}
)
_NEXT_WORD: Final = re.compile(r"[ \t]+(?=[^\s\"'`])")
_MAX_PIECES: Final = 16


def may_hold_name(folded: str) -> bool:
    """Tell quickly of a short text whether it holds a sensitive name."""
    return len(folded) > _FEW_CHARS or _ANY_STEM.search(folded) is not None


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
        span = _find_named_value(text, folded, start, end, rules)
        if span and span[1] > span[0]:
            spans.append(span)
            done = span[1]


def _find_named_value(
    text: str, folded: str, start: int, end: int, rules: KeyRules
) -> tuple[int, int, str] | None:
    """Return the place of the value that belongs to the name at ``start``, and the rule."""
    if text.startswith("%", start - 1) and start:
        start += _ESCAPED_CHARS
    position, name = _read_separator(text, start, end)
    rule = _rule_of(text, start, name or text[start:end], rules)
    if not rule and _ESCAPED_BREAK.match(text, start - 1):
        start += 1
        rule = _rule_of(text, start, name[1:] or text[start:end], rules)
    if not rule:
        return None
    if position:
        return _find_assigned(text, (start, end, position), name, rule)
    element = _find_element(text, start, end)
    if element:
        return (*element, "text:element")
    if _ESCAPED_BREAK.match(text, start - 1):
        start += 1
    phrase = find_phrase(text, folded, start, end, rule)
    if phrase and phrase[1] < 0:
        return (*_find_value(text, phrase[0], False), phrase[2])
    return phrase


def _find_assigned(
    text: str, places: tuple[int, int, int], name: str, rule: str
) -> tuple[int, int, str] | None:
    start, end, position = places
    separator = text[end:position]
    if separator.startswith("]") and ":" in separator:
        return None  # a type: list[Token]
    is_header = ":" in separator and bool(_HEADER_NAMES.search(name))
    if is_header and _DEFINITION.search(text[max(0, start - _DEFINITION_CHARS) : start]):
        return None  # an argument and its type
    annotation = _ANNOTATION.match(text, position) if ":" in separator else None
    position = annotation.end() if annotation else position
    value_start, value_end = _find_value(text, position, is_header)
    is_quoted = value_start > position
    if not is_quoted and is_no_secret(text[value_start:value_end], separator, rule):
        return None
    if is_header:
        return value_start, value_end, "text:header"
    has_sign = "=" in separator or ":" in separator or "%" in separator
    return value_start, value_end, "text:assignment" if has_sign else "text:option"


def _find_names(text: str, folded: str, *, every: bool) -> Iterator[tuple[int, int]]:
    """Yield the places of names, in order: every one, or those that hold a stem."""
    if every:
        # The marker is no name, whatever names the user has added.
        for match in _NAME.finditer(text):
            if match.group() != "REDACTED" or text[max(0, match.start() - 1)] != "[":
                yield match.span()
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


def _read_separator(text: str, start: int, end: int) -> tuple[int, str]:
    """Return where the value of the name at ``start`` begins, or 0; and the whole name."""
    separator = _SEPARATOR.match(text, end)
    if separator:
        name = text[start : separator.end(1) if separator.group(1) else end]
        return separator.end(), name
    is_option = text.startswith("--", start)
    before = text[max(0, start - _LIST_OPENING_CHARS) : start]
    opening = None if is_option else _LIST_OPENING.search(before)
    if not is_option and not opening:
        return 0, ""
    separator = (_OPTION_GAP if is_option else _PAIR_GAP).match(text, end)
    if separator is None or (
        opening and opening.group(1) == "[" and not _is_pair(text, separator.end())
    ):
        return 0, ""
    return separator.end(), text[start:end]


def _is_pair(text: str, position: int) -> bool:
    """Tell whether a list ends with the value at ``position``; names come in lists, too."""
    # Bounded: lists may open in each other without end. A value that goes on is taken for one.
    first = position - _LOOK_BACK_CHARS
    window = text[first : position + _MAX_PAIR_CHARS]
    _, end = _find_value(window, position - first, False)
    return (
        first + end >= position + _MAX_PAIR_CHARS or _PAIR_END.match(text, first + end) is not None
    )


def _rule_of(text: str, start: int, name: str, rules: KeyRules) -> str:
    if name.endswith(".py") or _ERROR_CLASS.search(name):
        return ""
    rule = rules.rule_of(name[-_MAX_NAME_CHARS:])
    if rule or name.lower() not in _SECOND_WORDS:
        return rule
    before = _WORD_BEFORE.search(text[max(0, start - 24) : start])
    return rules.rule_of(f"{before.group(1)} {name}") if before else ""


def _find_value(text: str, position: int, is_header: bool) -> tuple[int, int]:
    if MARKER.match(text, position) or TRUNCATED.match(text, position):
        return position, position
    opening = _OPENING.match(text, position)
    if opening:
        return opening.end(), _find_closing_quote(text, opening)
    encoded = _ENCODED_QUOTE.match(text, position)
    if encoded:
        closing = text.find(encoded.group(), encoded.end())
        return encoded.end(), closing if closing >= 0 else len(text)
    if is_header:
        header = _HEADER.match(text, position)
        return position, header.end() if header else position
    return _find_block(text, position) or (position, _find_bare_end(text, position))


def _find_block(text: str, position: int) -> tuple[int, int] | None:
    """Return the place of what YAML writes indented below a name, or behind ``%3D``."""
    if text.startswith("%", position - 3):
        encoded = _ENCODED_END.search(text, position)
        return position, encoded.start() if encoded else len(text)
    block = _BLOCK.match(text, position)
    if block is None:
        return None
    start = block.end()
    lines = (_LINES if block.group(1) else _ESCAPED_LINES).match(text, start)
    return start, lines.end() if lines and not MARKER.match(text, start) else start


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
