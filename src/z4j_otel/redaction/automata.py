"""Regular expressions as automata, for the check in ``pattern_safety``.

Theory of operation. Python's own parser gives the tree of a pattern. Each place in it that
takes one character becomes a *position*; the automaton says which position may follow which
(Glushkov's construction), and how often: a second edge between two positions is a second
way to match the same text. Characters are represented by samples: the ends of all ranges
in the pattern, their neighbours, and one of each category.

Repeats are written out while they are few. Of more than :data:`FEW`, all but the last are
written out or not at all, and the last may repeat for ever; such a loop stays *bounded*, if
the pattern bounds it by :data:`MANY`. That only adds texts the automaton matches, so what
the check finds harmless is harmless.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Final

if sys.version_info >= (3, 11):
    from re import _constants as codes  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:  # pragma: no cover -- one of the two
    import sre_constants as codes
    import sre_parse as parser

__all__ = ["Automaton", "TooComplex", "build", "may_be_empty"]

FEW: Final = 8
"""Optional repeats up to here are written out."""
MANY: Final = 64
"""Repeats up to here count as bounded."""
_MOST_POSITIONS: Final = 400
_MOST_WAYS: Final = 2
"""More than one is too many already."""
_CATEGORY_SAMPLES: Final = "azAZ09_ \n\t-.é٣ß\u2003\U0010ffff"
_ALIKE: Final = ("\u0390\u1fd3", "\u03b0\u1fe3", "\ufb05\ufb06")
"""Pairs of letters that have no upper case of one character."""
_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


class TooComplex(Exception):
    """A pattern that cannot be checked; the text says why."""


@dataclass
class Automaton:
    """What one pattern, or a lookahead in it, takes character by character."""

    takes: list[frozenset[str]] = field(default_factory=list)
    """Samples that each position takes."""
    follow: list[dict[int, int]] = field(default_factory=list)
    """Which positions may follow each, and in how many ways."""
    first: tuple[int, ...] = ()
    """Where a match may begin; a position comes twice where it can in two ways."""
    endless: set[tuple[int, int]] = field(default_factory=set)
    """Edges back to the start of a repeat without bound."""
    final: set[int] = field(default_factory=set)
    """Positions behind which nothing more is asked, not even an assertion."""
    alphabet: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Part:
    """A piece of the pattern: where it begins and ends, and whether it may be empty."""

    first: tuple[int, ...] = ()
    last: tuple[int, ...] = ()
    free: tuple[int, ...] = ()
    """Those of ``last`` with no assertion behind them."""
    empty_ways: int = 1
    """In how many ways it may be empty; (|a?) in two."""
    is_free: bool = True
    """Whether it may be empty without asserting anything."""


_EMPTY: Final = _Part()
_ASSERTION: Final = _Part(is_free=False)


def build(pattern: str) -> list[Automaton]:
    """Return the automaton of a pattern, and one for each lookaround in it.

    Args:
        pattern: A valid regular expression; case is ignored.

    Raises:
        TooComplex: It refers back to groups, or is too large.
    """
    tree = _parse(pattern)
    alphabet = frozenset(_samples(tree))
    automata: list[Automaton] = []
    _Builder(alphabet, automata).build(tree)
    return automata


def may_be_empty(pattern: str) -> bool:
    """Tell whether a pattern can match without taking a character."""
    return int(_parse(pattern).getwidth()[0]) == 0


def _parse(pattern: str) -> Any:
    with warnings.catch_warnings():
        # What a future Python may read otherwise is no concern of the application's log.
        warnings.simplefilter("ignore")
        return parser.parse(pattern, re.IGNORECASE)


def _samples(tree: Any) -> Iterator[str]:
    yield from _CATEGORY_SAMPLES
    for code in _codes_of(tree):
        for near in (code - 1, code, code + 1):
            if 0 <= near <= sys.maxunicode:
                char = chr(near)
                yield from {char, char.lower()[:1], char.upper()[:1]}


def _codes_of(tree: Any) -> Iterator[int]:
    """Yield every character code that a tree names."""
    for item in tree:
        if isinstance(item, int) and not isinstance(item, type(codes.LITERAL)):
            yield int(item)
        elif isinstance(item, (tuple, list, parser.SubPattern)):
            yield from _codes_of(item)


class _Builder:
    def __init__(self, alphabet: frozenset[str], automata: list[Automaton]) -> None:
        self._automata = automata
        self._made = Automaton(alphabet=alphabet)
        automata.append(self._made)

    def build(self, tree: Any) -> None:
        whole = self._sequence(tree)
        self._made.first, self._made.final = whole.first, set(whole.free)

    def _sequence(self, tree: Any) -> _Part:
        whole = _EMPTY
        for code, argument in tree:
            whole = self._join(whole, self._part(str(code), argument))
        return whole

    def _part(self, code: str, argument: Any) -> _Part:
        if code in _REPEATS:
            return self._repeat(*argument)
        if code == "BRANCH":
            return _either([self._sequence(branch) for branch in argument[1]])
        if code in ("SUBPATTERN", "ATOMIC_GROUP"):
            return self._sequence(argument[3] if code == "SUBPATTERN" else argument)
        if code in ("ASSERT", "ASSERT_NOT"):
            _Builder(self._made.alphabet, self._automata).build(argument[1])
        if code in ("AT", "ASSERT", "ASSERT_NOT"):
            return _ASSERTION
        if code not in _TESTS:
            raise TooComplex("refers back to what a group has matched, which cannot be checked")
        test = partial(_TESTS[code], argument)
        return self._position(frozenset(filter(test, self._made.alphabet)))

    def _position(self, takes: frozenset[str]) -> _Part:
        number = len(self._made.takes)
        if number >= _MOST_POSITIONS:
            raise TooComplex("is too long to be checked")
        self._made.takes.append(takes)
        self._made.follow.append({})
        here = (number,)
        return _Part(here, here, here, empty_ways=0, is_free=False)

    def _join(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        return _Part(
            left.first + right.first * left.empty_ways,
            right.last + left.last * right.empty_ways,
            right.free + (left.free if right.is_free else ()),
            min(left.empty_ways * right.empty_ways, _MOST_WAYS),
            left.is_free and right.is_free,
        )

    def _link(self, ends: tuple[int, ...], starts: tuple[int, ...]) -> None:
        for end in ends:
            follow = self._made.follow[end]
            for start in starts:
                follow[start] = min(follow.get(start, 0) + 1, _MOST_WAYS)

    def _repeat(self, least: int, most: int, tree: Any) -> _Part:
        most = min(int(most), int(codes.MAXREPEAT))
        is_simple = len(tree) == 1 and str(tree[0][0]) in ("LITERAL", "NOT_LITERAL", "IN", "ANY")
        if most <= FEW or (least == most <= MANY and is_simple):
            return self._few(least, most, tree)
        whole = _EMPTY
        for _ in range(min(least - 1, MANY if is_simple else 1)):
            whole = self._join(whole, self._sequence(tree))
        last = self._loop(self._sequence(tree), is_endless=most > MANY)
        if least > 1 and last.empty_ways:
            # Rounds that must be made may take nothing: any one of (a?){9} takes an a.
            self._link(last.last, last.first)
        return self._join(whole, last if least else _either([last, _EMPTY]))

    def _few(self, least: int, most: int, tree: Any) -> _Part:
        # Inside each other, not in a row: a{0,2} takes one "a" in one way only.
        rest = _EMPTY
        for _ in range(most - least):
            rest = _either([self._join(self._sequence(tree), rest), _EMPTY])
        for _ in range(least):
            rest = self._join(self._sequence(tree), rest)
        return rest

    def _loop(self, part: _Part, *, is_endless: bool) -> _Part:
        self._link(part.last, part.first)
        if is_endless:
            self._made.endless.update((end, start) for end in part.last for start in part.first)
        return part


def _either(parts: list[_Part]) -> _Part:
    return _Part(
        sum((part.first for part in parts), ()),
        sum((part.last for part in parts), ()),
        sum((part.free for part in parts), ()),
        min(sum(part.empty_ways for part in parts), _MOST_WAYS),
        any(part.is_free for part in parts),
    )


@cache
def _forms(char: str) -> frozenset[str]:
    """Return all characters that ``re`` takes for the same where case is ignored.

    Of some, neither is the other's upper or lower case: of U+017F and s, only S is.
    """
    cases = {char, *_cases(char)}
    for each in tuple(cases):
        cases.update(_cases(each))
    return frozenset(cases.union(*(pair for pair in _ALIKE if char in pair)))


def _cases(char: str) -> Iterator[str]:
    yield char.lower()[:1]
    if len(char.upper()) == 1:
        yield char.upper()


def _is_char(code: int, char: str) -> bool:
    return not _forms(chr(code)).isdisjoint(_forms(char))


def _is_in_range(ends: tuple[int, int], char: str) -> bool:
    return any(ends[0] <= ord(form) <= ends[1] for form in _forms(char))


def _is_in_category(category: object, char: str) -> bool:
    name = str(category)
    if name.endswith("DIGIT"):
        answer = char.isdecimal()
    elif name.endswith("SPACE"):
        answer = char.isspace()
    else:
        answer = char.isalnum() or char == "_"
    return answer != ("_NOT_" in name)


def _is_in_set(members: list[tuple[object, Any]], char: str) -> bool:
    is_negated = str(members[0][0]) == "NEGATE"
    found = any(_TESTS[str(kind)](each, char) for kind, each in members[is_negated:])
    return found != is_negated


_TESTS: Final[Mapping[str, Callable[[Any, str], bool]]] = {
    "ANY": lambda _, __: True,
    "LITERAL": _is_char,
    "NOT_LITERAL": lambda code, char: not _is_char(code, char),
    "RANGE": _is_in_range,
    "CATEGORY": _is_in_category,
    "IN": _is_in_set,
}
"""Which items of a tree take a character, and whether they take this one."""
