"""What sensitive content looks like inside a string, whatever its name.

Theory of operation. Every finder takes a text and adds half-open spans ``(start, end)``
to a list; nothing is replaced here. The rules are at least those of the brain (PROTOCOL
§5.2), which blanks a whole string for one match: after redaction none of its rules may
still match. Time is linear in the text: a rule starts only where its literal (``needle``)
was found, quantifiers that may fail are bounded or consume what they have seen.

``folded`` is the text in lower case with the same length (:func:`fold`), because the
brain's rules ignore case the way ``re.IGNORECASE`` does.
"""

from __future__ import annotations

import binascii
import re
from functools import cache
from typing import Final, NamedTuple

from z4j_otel.redaction.policy import MARKER

__all__ = [
    "TOKEN_RULES",
    "Spans",
    "TokenRule",
    "add_card_and_ssn_spans",
    "add_email_spans",
    "add_encoded_email_spans",
    "add_login_spans",
    "add_pem_spans",
    "add_putty_spans",
    "add_query_spans",
    "add_token_spans",
    "add_url_spans",
    "fold",
    "is_card_number",
]

Spans = list[tuple[int, int, str]]
"""Half-open ranges of characters to redact, each with the name of the rule that found it; in
any order, overlaps allowed."""


class TokenRule(NamedTuple):
    """How one kind of token is found."""

    name: str
    needle: str
    """A literal of every match, in lower case."""
    pattern: str
    """Matched from the needle on; its group, where it has one, is what goes."""
    back: int = 0
    """Characters that the pattern starts before its needle."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # Most processes never meet a needle.
    return re.compile(pattern, re.IGNORECASE)


_START: Final = r"(?<![^\W_])"

_AFTER_AWS_ID: Final = r"(?:[\s:,;\"'/|=]{1,8}[a-z0-9/+]{40}(?![\w/+=]))?"
"""The secret key, where it stands beside the id of the key."""

_NO_MARKER: Final = r"(?!\[REDACTED)"

TOKEN_RULES: Final = (
    TokenRule("value:bearer", "bearer", r"bearer\s+[\w.~+/=\-]{16,}"),
    TokenRule("value:stripe", "k_live_", r"[spr]k_live_[a-z0-9]{16,}", 1),
    TokenRule("value:stripe", "k_test_", r"[spr]k_test_[a-z0-9]{16,}", 1),
    TokenRule("value:stripe", "whsec_", r"whsec_[a-z0-9+/=]{16,}"),
    TokenRule("value:slack", "xox", r"xox[a-z](?:\.xox[a-z])?-[a-z0-9\-]{8,}"),
    TokenRule("value:slack", "xapp-", r"xapp-[a-z0-9\-]{10,}"),
    TokenRule("value:slack", "hooks.slack.com/", r"hooks\.slack\.com/[a-z]+/[\w/\-]+"),
    *(TokenRule("value:github", f"gh{kind}_", rf"gh{kind}_[a-z0-9]{{20,}}") for kind in "pousr"),
    TokenRule("value:github", "github_pat_", r"github_pat_\w{20,}"),
    TokenRule("value:gitlab", "glpat-", r"glpat-[\w\-.]{16,}"),
    TokenRule(
        "value:gitlab",
        "gl",
        rf"{_START}gl(?:dt|rt|cbt|ptt|ft|imt|soat|oas|agent|ffct)-[\w\-.]{{16,}}",
    ),
    TokenRule("value:npm", "npm_", r"npm_[a-z0-9]{20,}"),
    TokenRule("value:pypi", "pypi-", r"pypi-[\w\-]{20,}"),
    TokenRule("value:aws", "akia", rf"akia[0-9a-z]{{16,}}{_AFTER_AWS_ID}"),
    TokenRule("value:aws", "asia", rf"asia[0-9a-z]{{16,}}{_AFTER_AWS_ID}"),
    TokenRule("value:google", "aiza", r"aiza[\w\-]{30,}"),
    TokenRule("value:google", "ya29.", r"ya29\.[\w\-]{16,}"),
    TokenRule("value:google", "gocspx-", r"gocspx-[\w\-]{16,}"),
    TokenRule("value:sendgrid", "sg.", r"sg\.[\w\-]{16,}\.[\w\-]{16,}"),
    TokenRule("value:twilio", "sk", rf"{_START}sk[0-9a-f]{{32,}}"),
    TokenRule("value:anthropic", "sk-ant-", rf"{_START}sk-ant-[\w\-]{{20,}}"),
    TokenRule("value:openai", "sk-", rf"{_START}sk-(?=[\w\-]{{0,64}}[0-9])[\w\-]{{20,}}"),
    TokenRule("value:mailgun", "key-", rf"{_START}key-[0-9a-f]{{32,}}"),
    TokenRule("value:hugging-face", "hf_", rf"{_START}hf_[a-z0-9]{{30,}}"),
    TokenRule("value:shopify", "shp", r"shp(?:at|ca|pa|ss)_[0-9a-f]{32,}"),
    TokenRule("value:digitalocean", "dop_v1_", r"dop_v1_[0-9a-f]{32,}"),
    TokenRule("value:databricks", "dapi", rf"{_START}dapi[0-9a-f]{{32,}}"),
    TokenRule("value:square", "sq0", r"sq0[a-z]{3}-[\w\-]{20,}"),
    TokenRule("value:vault", "hvs.", rf"{_START}hvs\.[\w\-]{{20,}}"),
    TokenRule("value:age", "age-secret-key-1", r"age-secret-key-1[a-z0-9]{30,}"),
    TokenRule("value:discord", "api/webhooks/", r"api/webhooks/\d+/[\w\-]{20,}"),
    TokenRule("value:django", "django-insecure-", r"django-insecure-[^\s\"']{20,}"),
    TokenRule(
        "text:sql",
        "identified by ",
        rf"identified by \\{{0,7}}['\"]{_NO_MARKER}([^'\"\s\\]{{1,256}})",
    ),
    TokenRule(
        "text:command", "auth ", rf"(?-i:AUTH ){_NO_MARKER}((?=\S{{0,64}}\d)[^\s\"'\\]{{6,}})"
    ),
    TokenRule("value:telegram", ":aa", r"(?<=\d{8}):aa[\w\-]{30,}"),
)
"""The built-in rules for tokens that begin with a mark of their vendor."""
_MIN_TOKEN_CHARS: Final = 8
"""Shorter texts cannot hold a token; the shortest is the web token ``eyJa.b.c``."""
_ANY_NEEDLE: Final = re.compile("|".join(re.escape(r.needle) for r in TOKEN_RULES) + "|eyj|basic")
_FEW_CHARS: Final = 128
"""Up to here one look for all needles at once is quicker than one for each (0.3 against 5 µs
for a word or two, 3 against 7 µs for a line), beyond 512 characters it is slower."""

_BASIC: Final = re.compile(r"basic\s{1,4}([a-z0-9+/]{6,}={0,2})", re.IGNORECASE)
_MOST_LOGIN_CHARS: Final = 1024
_WEB_TOKEN: Final = re.compile(r"eyJ[\w\-]*(?:\.[\w\-]+)*", re.IGNORECASE)
_WEB_TOKEN_HEADERS: Final = ("eyJhbGciO", "eyJ0eXAiO", "eyJraWQiO", "eyJlbmMiO", "eyJjdHkiO")

_PEM_BEGIN: Final = re.compile(
    r"----[- ]BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?[- ]----", re.IGNORECASE
)
_PEM_END: Final = re.compile(
    r"----[- ]END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?[- ]----", re.IGNORECASE
)
_PUTTY_KEY: Final = re.compile(r"private-lines:[^\n\\]*(?:\\?\s|\\[rn])*", re.IGNORECASE)
_PUTTY_END: Final = re.compile(r"private-(?:mac|hash):\s*\w*", re.IGNORECASE)
_PEM_BODY: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \r\n\t"

_USER_INFO: Final = re.compile(r"[^\s/?#\"'<>]*@")
_QUERY_NAMES: Final = ("sig=", "signature=", "?key=", "&key=", "code=")
_QUERY: Final = re.compile(
    r"(?:(?<![\w.\-])sig=|[?&][\w\-]{0,20}signature=)(?=[^&\s]{0,64}[\d%+/])([\w%+/=\-]{10,})"
    r"|[?&](?:key|code)=(?=[^&\s]{0,40}\d)([\w%+/=.\-]{16,})",
    re.IGNORECASE,
)
_LOGIN: Final = re.compile(
    r"(?<![\w:/@.+\-])[\w.+\-]{1,64}:([^\s:@/'\"<>\[\]]{3,128})@[\w.\-]{1,128}:\d{2,5}(?!\d)"
    r"|thin:\w{1,64}/([^\s@/'\"\[\]]{1,128})@"
)
_SPACE: Final = re.compile(r"\s")
_PORT: Final = re.compile(r"//|\d{1,5}(?=[/?#\"'\s,;)\]}]|\Z)")
_DATABASE: Final = re.compile(
    r"(?:postgres|mysql|mariadb|mongodb|redis|amqp)[\w+.\-]*\Z", re.IGNORECASE
)
_SCHEME_CHARS: Final = 64

# Without IGNORECASE, which would take ten milliseconds to go through these ranges.
_EMAIL_DOMAIN: Final = re.compile(
    r"@[a-z0-9A-Z.\-\u00a1-\ud7ff\ue000-\uffff]*\.[a-zA-Z\u00a1-\ud7ff\ue000-\uffff]{2,}"
)
_ENCODED_EMAIL_DOMAIN: Final = re.compile(r"%40[a-zA-Z0-9.\-]*\.[a-zA-Z]{2,}")
_EMAIL_LOCAL_REVERSED: Final = re.compile(r"[\w.%+\-]+")

_DIGIT_RUN: Final = re.compile(r"\d{3}[\d -]{7,}\d")
_SSN: Final = re.compile(r"(?<![^\W_])\d{3}-\d{2}-\d{4}(?![^\W_])")
_UUID_OR_DIGITS: Final = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"|(?<![^\W_])(?<!\d\.)\d{3,}(?:[ -]\d{3,})*(?![^\W_])",
    re.IGNORECASE,
)
_DIGIT_GROUP: Final = re.compile(r"\d+")
_CARD_PREFIX: Final = re.compile(
    r"(?=\d{13}\Z|\d{16}\Z|\d{19}\Z)4"
    r"|(?=\d{16}\Z)(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720)"
    r"|(?=\d{15}\Z)3[47]"
    r"|(?=\d{16,19}\Z)(?:35[2-8]|220[0-4])"
    r"|(?=\d{14,19}\Z)(?:30[0-59]|36|38|39)"
    r"|(?=\d{13,19}\Z)(?:50|5[6-9]|6)"
)
_CARD_DIGITS: Final = (13, 19)


def fold(text: str) -> str:
    """Return ``text`` in lower case, each character still at its place."""
    if not text.isascii():
        # The characters that re.IGNORECASE equates with an ASCII letter; and the only
        # ones whose lower case is longer than themselves.
        text = text.replace("\u0130", "i").replace("\u0131", "i").replace("\u017f", "s")
    return text.lower()


def add_token_spans(text: str, folded: str, spans: Spans) -> None:
    """Find keys and tokens that vendors mark with a prefix, web tokens and Bearer values."""
    if len(text) < _MIN_TOKEN_CHARS:
        return
    if len(text) <= _FEW_CHARS and not _ANY_NEEDLE.search(folded):
        return
    for name, needle, pattern, back in TOKEN_RULES:
        at = folded.find(needle)
        while at >= 0:
            match = _compiled(pattern).match(text, at - back) if at >= back else None
            if match:
                spans.append((*match.span(match.lastindex or 0), name))
            at = folded.find(needle, match.end() if match else at + 1)
    _add_login_header_spans(text, folded, spans)
    _add_web_token_spans(text, folded, spans)


def _add_login_header_spans(text: str, folded: str, spans: Spans) -> None:
    at = folded.find("basic")
    while at >= 0:
        basic = _BASIC.match(text, at)
        if basic and _is_login(basic.group(1)):
            spans.append((*basic.span(1), "value:basic"))
        at = folded.find("basic", basic.end() if basic else at + 1)


def _add_web_token_spans(text: str, folded: str, spans: Spans) -> None:
    at = folded.find("eyj")
    while at >= 0:
        match = _WEB_TOKEN.match(text, at)
        if match is None:  # pragma: no cover -- fold() keeps places, so the needle matches
            return
        if _is_web_token(match.group()):
            spans.append((*match.span(), "value:jwt"))
        at = folded.find("eyj", match.end())


def _is_login(encoded: str) -> bool:
    # Precise where a look would not be: "basic authorization" is no login.
    try:
        return b":" in binascii.a2b_base64(encoded[:_MOST_LOGIN_CHARS])
    except ValueError:
        return False


def _is_web_token(run: str) -> bool:
    # The signature may be missing because the text was cut, or because there is none.
    return run.count(".") > 1 or ".eyJ" in run or run.startswith(_WEB_TOKEN_HEADERS)


def add_pem_spans(text: str, folded: str, spans: Spans) -> None:
    """Find private key blocks, also those whose begin or end has been cut off."""
    at = _find_begin(folded, 0)
    first = at if at >= 0 else len(text)
    while at >= 0:
        begin = _PEM_BEGIN.match(text, at)
        end = _PEM_END.search(text, begin.end()) if begin else None
        if begin:
            spans.append((at, end.end() if end else len(text), "value:private-key"))
            if end is None:
                break
        at = _find_begin(folded, end.end() if end else at + 1)
    orphan = _PEM_END.search(text, 0, first) if "end" in folded else None
    if orphan:
        start = len(text[: orphan.start()].rstrip(_PEM_BODY))
        spans.append((start, orphan.end(), "value:private-key"))


def _find_begin(folded: str, start: int) -> int:
    # The commercial SSH writes four dashes and a blank.
    begin = folded.find("begin ", start)
    while begin >= 0 and folded[max(start, begin - 5) : begin] not in ("-----", "---- "):
        begin = folded.find("begin ", begin + 6)
    return begin - 5 if begin >= 0 else -1


def add_putty_spans(text: str, folded: str, spans: Spans) -> None:
    """Find the private part of PuTTY's key files, also where the end has been cut off."""
    at = folded.find("private-lines:")
    while at >= 0:
        begin = _PUTTY_KEY.match(text, at)
        start = begin.end() if begin else at
        end = _PUTTY_END.search(text, start)
        stop = end.end() if end else len(text)
        if not MARKER.match(text, start):
            spans.append((start, stop, "value:private-key"))
        at = folded.find("private-lines:", stop)


def add_query_spans(text: str, folded: str, spans: Spans) -> None:
    """Find signatures and codes in query strings, which open what the URL names."""
    at = min((at for name in _QUERY_NAMES if (at := folded.find(name)) >= 0), default=-1)
    if at >= 0:
        for match in _QUERY.finditer(text, max(0, at - 8)):
            spans.append((*match.span(match.lastindex or 0), "text:query"))


def add_login_spans(text: str, spans: Spans) -> None:
    """Find passwords of ``name:password@host:port`` without a scheme before it."""
    for match in _LOGIN.finditer(text):
        spans.append((*match.span(match.lastindex or 0), "value:login"))


def add_url_spans(text: str, spans: Spans) -> None:
    """Find user names and passwords in URLs of any scheme; host and path stay.

    A password may hold characters that should have been escaped. Where that leaves doubt,
    and for the database and broker schemes that the brain knows, all up to the last ``@``
    of the URL goes.
    """
    at = text.find("://")
    run_end = 0
    while at >= 0:
        start = at + 3
        if start >= run_end:
            space = _SPACE.search(text, start)
            run_end = space.start() if space else len(text)
        last = text.rfind("@", start, run_end)
        if last < 0:
            at = text.find("://", max(run_end, start))
            continue
        user_info = _USER_INFO.match(text, start)
        end = user_info.end() - 1 if user_info else start
        colon = text.find(":", start, last)
        if colon > start:
            if _DATABASE.search(text[max(0, at - _SCHEME_CHARS) : at]):
                end = last
            elif not user_info and not _PORT.match(text, colon + 1):
                end = text.index("@", colon)
        if end > start:
            spans.append((start, end, "value:url"))
        at = text.find("://", end)


def add_email_spans(text: str, spans: Spans) -> None:
    """Find e-mail addresses; where one begins with a span found before, that is enough."""
    _add_email_spans(text, _EMAIL_DOMAIN, spans)


def add_encoded_email_spans(text: str, spans: Spans) -> None:
    """Find e-mail addresses as URLs write them, with ``%40``."""
    _add_email_spans(text, _ENCODED_EMAIL_DOMAIN, spans)


def _add_email_spans(text: str, domains: re.Pattern[str], spans: Spans) -> None:
    known_ends = {end for _, end, _ in spans}
    done = 0
    for domain in domains.finditer(text):
        at = domain.start()
        local = None if at in known_ends else _EMAIL_LOCAL_REVERSED.match(text[done:at][::-1])
        if local:
            spans.append((at - local.end(), domain.end(), "value:email"))
        done = at + 1


def add_card_and_ssn_spans(text: str, spans: Spans) -> None:
    """Find payment card numbers, grouped or not, and US social security numbers."""
    if not _DIGIT_RUN.search(text):
        return
    spans.extend((*match.span(), "value:ssn") for match in _SSN.finditer(text))
    for match in _UUID_OR_DIGITS.finditer(text):
        if match.group(1) is None and match.end() - match.start() >= _CARD_DIGITS[0]:
            groups = [group.span() for group in _DIGIT_GROUP.finditer(text, *match.span())]
            _add_card_spans(text, groups, spans)


def _add_card_spans(text: str, groups: list[tuple[int, int]], spans: Spans) -> None:
    for first, (start, _) in enumerate(groups):
        digits = ""
        if text[start] in "01789":
            continue
        for group_start, group_end in groups[first : first + 6]:
            digits += text[group_start : min(group_end, group_start + 20)]
            if len(digits) > _CARD_DIGITS[1]:
                break
            if is_card_number(digits):
                spans.append((start, group_end, "value:card"))


def is_card_number(digits: str) -> bool:
    """Tell whether the digits have an issuer's prefix and length, and a right check digit."""
    if not _CARD_DIGITS[0] <= len(digits) <= _CARD_DIGITS[1] or not _CARD_PREFIX.match(digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number  # noqa: PLR2004 -- Luhn: cross sum
    return total % 10 == 0
