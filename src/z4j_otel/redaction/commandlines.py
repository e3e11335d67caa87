"""Passwords that programs take from their command line by an option that does not say so.

Options whose name tells (``--password x``) belong to ``assignments``; here is what one must
know about a program: ``mysql -pSECRET``, ``curl -u name:SECRET``, ``sshpass -p SECRET``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from z4j_otel.redaction.patterns import Spans

__all__ = ["RULE", "add_command_spans", "secret_arguments"]

RULE: Final = "text:command"

_GAP: Final = r"(?:[ ]{1,4}|\\{0,7}[\"'],[ ]{0,2}[ub]?\\{0,7}[\"'])"
_QUOTE: Final = r"(?:\\{0,7}[\"'])?"
_WORD: Final = r"([^\s\"',;|&\\]+)"
_LOGIN: Final = (
    rf"(?:-[uU]{_GAP}?|--(?:proxy-)?user(?:=|{_GAP})){_QUOTE}"
    rf"(?!\d+:\d+(?!\S))[^\s:\"',;|&\\]{{1,128}}:{_WORD}"
)
_GLUED: Final = rf"-p{_QUOTE}{_WORD}"
_APART: Final = rf"-p(?:{_GAP}?|=){_QUOTE}{_WORD}"


def _options(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w\-.]){pattern}")


_PROGRAMS: Final = {
    "curl": _options(_LOGIN),
    "wget": _options(_LOGIN),
    "mysql": _options(_GLUED),
    "mysqldump": _options(_GLUED),
    "mysqladmin": _options(_GLUED),
    "mysqlimport": _options(_GLUED),
    "mariadb": _options(_GLUED),
    "sshpass": _options(_APART),
    "mongo": _options(_APART),
    "mongosh": _options(_APART),
    "mongodump": _options(_APART),
    "redis-cli": _options(rf"-a{_GAP}{_QUOTE}{_WORD}"),
    "ldapsearch": _options(rf"-w{_GAP}?{_QUOTE}{_WORD}"),
}
_LOGINS: Final = {"docker": _options(_APART), "podman": _options(_APART)}
"""Programs whose ``-p`` is a password only after ``login``."""
_ALL: Final = frozenset((*_PROGRAMS, *_LOGINS))
_PROGRAM: Final = re.compile(rf"(?<![\w.\-])(?:{'|'.join(sorted(_ALL, reverse=True))})(?![\w.\-/])")
_HINTS: Final = (
    "curl",
    "wget",
    "mysql",
    "maria",
    "sshpass",
    "mongo",
    "redis-cli",
    "ldaps",
    "login",
)
_SEGMENT: Final = re.compile(r"[^\n;|]{0,400}")
_FIRST_ITEMS: Final = 3
_MOST_CHARS: Final = 512
_MARKER_STARTS: Final = ("[REDACTED", "[...")


def add_command_spans(text: str, folded: str, spans: Spans) -> None:
    """Find the passwords in command lines, as a shell or the repr of a list has them."""
    if " " not in text or "-" not in text or not any(hint in folded for hint in _HINTS):
        return
    at = 0
    while program := _PROGRAM.search(text, at):
        segment = _SEGMENT.match(text, program.end())
        at = segment.end() if segment else program.end()
        options = _options_of(program.group(), text[program.end() : at])
        for option in options.finditer(text, program.end(), at) if options else ():
            if not option.group(1).startswith(_MARKER_STARTS):
                spans.append((*option.span(1), RULE))


def secret_arguments(items: Sequence[Any]) -> dict[int, int]:
    """Return which items of a command line as a list hold a password, and from which character.

    Args:
        items: The program, perhaps behind ``sudo`` and the like, and its arguments.
    """
    for place, item in enumerate(items[:_FIRST_ITEMS]):
        if type(item) is str and item.rpartition("/")[2] in _ALL:
            return _secret_arguments(item.rpartition("/")[2], items, place)
    return {}


def _secret_arguments(program: str, items: Sequence[Any], place: int) -> dict[int, int]:
    texts = [item[:_MOST_CHARS] if type(item) is str else "" for item in items]
    options = _options_of(program, " ".join(texts[place + 1 : place + 3]))
    found: dict[int, int] = {}
    if options is None:
        return found
    for index in range(place + 1, len(texts)):
        start = _start_of_secret(options, texts[index - 1], texts[index])
        if start >= 0 and not texts[index].startswith(_MARKER_STARTS, start):
            found[index] = start
    return found


def _start_of_secret(options: re.Pattern[str], before: str, argument: str) -> int:
    """Return where a password begins in an argument: its own, or that of the one before."""
    alone = options.match(argument)
    if alone:
        return alone.start(1)
    pair = options.match(f"{before} {argument}")
    return pair.start(1) - len(before) - 1 if pair else -1


def _options_of(program: str, rest: str) -> re.Pattern[str] | None:
    if program in _LOGINS:
        return _LOGINS[program] if "login" in rest else None
    return _PROGRAMS[program]
