"""Redaction of one string: find, replace, cut to size.

Theory of operation. A string is first cut to a *window* a little larger than its cap, so
that cost does not depend on its length and a secret lying across the cap is still seen as
a whole; what may be the torn piece of a secret at the window's edge is never shown. The
finders then report spans, which are merged and replaced, and the result is cut to the cap,
never through a marker. Finally the rules run over the result again until they find
nothing new: redacting a redacted text changes nothing.

A cut text ends (``keep="head"``) or starts (``keep="tail"``) with
``[...N more bytes truncated]``, which counts towards the cap. ``keep="tail"`` is for
tracebacks, whose deepest frames come last; it cuts at the start of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

from z4j_otel.redaction import patterns
from z4j_otel.redaction.assignments import (
    TRUNCATED,
    add_assignment_spans,
    may_hold_name,
)
from z4j_otel.redaction.commandlines import add_command_spans
from z4j_otel.redaction.keys import KeyRules
from z4j_otel.redaction.policy import MARKER, REDACTED, RedactionPolicy, compile_patterns
from z4j_otel.redaction.tokens import marker_of

__all__ = ["MIN_CAP_BYTES", "TextRules", "utf8_length"]

MIN_CAP_BYTES: Final = 64
"""Smallest cap: room for the truncation marker."""

_OVERLAP_CHARS: Final = 512
_EXACT_COUNT_CHARS: Final = 1 << 18
_MIN_SECRET_CHARS: Final = 5
_MIN_DIGITS: Final = 11
_MAX_ROUNDS: Final = 6
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_SPACE: Final = re.compile(r"\s")
_LEADING_MARKER: Final = re.compile(TRUNCATED.pattern + r"\n")
_TRAILING_MARKER: Final = re.compile(TRUNCATED.pattern + r"\Z")
_MARKER_BYTES: Final = 48
_MOST_MARKER_CHARS: Final = len("[REDACTED:0000]")
_TRAILING_REDACTED: Final = re.compile(MARKER.pattern + r"\Z")


class TextRules:
    """The value rules of one policy, ready to run over strings."""

    def __init__(self, policy: RedactionPolicy, keys: KeyRules) -> None:
        self._keys = keys
        self._defaults = policy.defaults_enabled
        self._disabled = policy.disabled_rules
        self._token_key = policy.token_key
        self._extra = compile_patterns(
            "redaction_extra_value_patterns", policy.extra_value_patterns
        )

    def is_harmless(self, text: str) -> bool:
        """Tell quickly of a short text that no rule and no cap could change it."""
        return (
            len(text) < _MIN_SECRET_CHARS
            and not self._extra
            and text.isascii()
            and "\0" not in text
        )

    def redact(
        self,
        text: str,
        cap_bytes: int,
        keep: Literal["head", "tail"] = "head",
        dropped_bytes: int = 0,
    ) -> str:
        """Return ``text`` without sensitive content, valid in UTF-8 and within the cap.

        Args:
            text: An exact ``str``; NULs and lone surrogates become U+FFFD.
            cap_bytes: Most UTF-8 bytes of the result, at least 64.
            keep: Which end survives when the text is too long.
            dropped_bytes: Bytes that the caller has already cut off, to be counted.
        """
        is_cut = len(text) > cap_bytes + _OVERLAP_CHARS or dropped_bytes > 0
        if is_cut:
            text, dropped_bytes = _open_window(text, cap_bytes, keep, dropped_bytes)
        text = replace_invalid(text)
        redacted = self._replace(text)
        is_clean = redacted is text
        if is_cut:
            redacted = _drop_edge(redacted, keep)
            dropped_bytes += utf8_length(text) - utf8_length(redacted)
        elif redacted is text and len(text) <= cap_bytes and utf8_length(text) <= cap_bytes:
            return text
        for _ in range(_MAX_ROUNDS):
            fitting = _cut(redacted, cap_bytes, keep, max(0, dropped_bytes))
            if is_clean and self._is_clean_at_cut(fitting, keep):
                return fitting
            is_clean = False
            redacted = self._replace(fitting)
            if redacted == fitting:
                return fitting
            dropped_bytes = 0
        return REDACTED

    def _is_clean_at_cut(self, text: str, keep: str) -> bool:
        # In a text without a match, cutting can have made one only where it cut.
        edge = text[-_OVERLAP_CHARS:] if keep == "head" else text[:_OVERLAP_CHARS]
        return self._replace(edge) == edge

    def _replace(self, text: str) -> str:
        if len(text) < _MIN_SECRET_CHARS and not self._extra:
            return text
        spans: patterns.Spans = []
        if self._defaults:
            self._find(text, spans)
        elif self._keys.has_extra:
            add_assignment_spans(text, text, self._keys, spans)
        for number, pattern in enumerate(self._extra, 1):
            name = f"value:extra-{number}"
            spans.extend((*found.span(), name) for found in pattern.finditer(text))
        return self._fill(text, spans) if spans else text

    def _fill(self, text: str, spans: patterns.Spans) -> str:
        """Replace what the spans say; they are merged where they overlap or touch."""
        if self._disabled:
            spans = [span for span in spans if span[2] not in self._disabled]
        pieces: list[str] = []
        shown = 0
        for start, end, rule in merge(spans):
            pieces += (text[shown:start], self._take(text[start:end], rule))
            shown = end
        return "".join((*pieces, text[shown:]))

    def _take(self, secret: str, rule: str) -> str:  # noqa: ARG002 -- for those who explain
        """Return what stands in the place of what a rule has found."""
        return marker_of(self._token_key, secret) if self._token_key else REDACTED

    def _find(self, text: str, spans: patterns.Spans) -> None:
        folded = patterns.fold(text)
        patterns.add_token_spans(text, folded, spans)
        if "@" in text:
            if "://" in text:
                patterns.add_url_spans(text, spans)
            patterns.add_login_spans(text, spans)
            patterns.add_email_spans(text, spans)
        if "%40" in text:
            patterns.add_encoded_email_spans(text, spans)
        if len(text) >= _MIN_DIGITS:
            patterns.add_card_and_ssn_spans(text, spans)
            if "----" in text:
                patterns.add_pem_spans(text, folded, spans)
            if "private-lines:" in folded:
                patterns.add_putty_spans(text, folded, spans)
            if "=" in text:
                patterns.add_query_spans(text, folded, spans)
            add_command_spans(text, folded, spans)
        if may_hold_name(folded) or self._keys.has_extra:
            add_assignment_spans(text, folded, self._keys, spans)


def utf8_length(text: str) -> int:
    """Return the bytes of ``text`` in UTF-8; lone surrogates count three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def replace_invalid(text: str) -> str:
    """Put U+FFFD in place of NULs, which PostgreSQL refuses, and of lone surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def merge(spans: patterns.Spans) -> Iterator[tuple[int, int, str]]:
    """Yield the spans in order, as one those that overlap or touch, by the first one's rule."""
    start, end, rule = 0, 0, ""
    for next_start, next_end, next_rule in sorted(spans):
        if next_start > end:
            if end > start:
                yield start, end, rule
            start, end, rule = next_start, next_end, next_rule
        elif next_end > end:
            rule = next_rule if next_start == start else rule
            end = next_end
    if end > start:
        yield start, end, rule


def _open_window(text: str, cap_bytes: int, keep: str, dropped_bytes: int) -> tuple[str, int]:
    size = cap_bytes + _OVERLAP_CHARS
    if len(text) <= size:
        return text, dropped_bytes
    window = text[:size] if keep == "head" else text[-size:]
    if text.isascii() or len(text) > _EXACT_COUNT_CHARS:
        # Beyond a quarter million characters, counting bytes would cost more than the rest.
        return window, dropped_bytes + len(text) - len(window)
    return window, dropped_bytes + utf8_length(text) - utf8_length(window)


def _drop_edge(text: str, keep: str) -> str:
    if keep == "head":
        if _TRAILING_REDACTED.search(text):
            return text
        cut = max(0, len(text) - _OVERLAP_CHARS)
        return text[: _before_marker(text, cut)]
    # What precedes the first break may be the end of a secret whose start was cut off.
    line = text.find("\n", 0, _OVERLAP_CHARS)
    if line >= 0:
        return text[line + 1 :]
    space = _SPACE.search(text)
    return text[space.end() :] if space else ""


def _before_marker(text: str, cut: int) -> int:
    start, end = _marker_at(text, cut)
    return start if end > cut else cut


def _marker_at(text: str, place: int) -> tuple[int, int]:
    """Return where the marker lies that holds ``place`` inside it; nothing where none does."""
    first, last = max(0, place - _MOST_MARKER_CHARS + 1), place + _MOST_MARKER_CHARS
    for marker in MARKER.finditer(text, first, last):
        if marker.start() < place < marker.end():
            return marker.span()
    return place, place


def _cut(text: str, cap_bytes: int, keep: str, dropped_bytes: int) -> str:
    size = utf8_length(text)
    if not dropped_bytes and size <= cap_bytes:
        return text
    marker = (_TRAILING_MARKER.search if keep == "head" else _LEADING_MARKER.match)(text)
    if marker:
        text = text[: marker.start()] if keep == "head" else text[marker.end() :]
        dropped_bytes += int(marker.group(1))
        size = utf8_length(text)
    room = cap_bytes - _MARKER_BYTES
    kept = text if size <= room else _keep_end(text, room, keep)
    dropped_bytes += size - utf8_length(kept)
    note = f"[...{dropped_bytes} more bytes truncated]"
    return f"{kept}{note}" if keep == "head" else f"{note}\n{kept}"


def _keep_end(text: str, room: int, keep: str) -> str:
    if keep == "head":
        kept = text[:room] if text.isascii() else text.encode()[:room].decode("utf-8", "ignore")
        return kept[: _before_marker(text, len(kept))]
    kept = text[-room:] if text.isascii() else text.encode()[-room:].decode("utf-8", "ignore")
    line = kept.find("\n", 0, len(kept) // 2)
    if line >= 0:
        return kept[line + 1 :]
    cut = len(text) - len(kept)
    return text[_marker_at(text, cut)[1] :]
