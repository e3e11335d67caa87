"""Whether a user's regular expression is fit to run over whatever tasks are given.

Theory of operation. Patterns run in the task's process, and Python's ``re`` cannot be
stopped: a pattern must be judged before it runs, by its form and without a clock, so that
the answer is the same on every machine. A backtracking matcher is slow when it can match
the same text in many ways before it fails (Weber and Seidl; Weideman et al.):

* *exponentially* many ways, when some position comes back to itself by two paths on the
  same text, as in ``(a+)+``: refused;
* *polynomially* many, when one loop can hand over to another on a text that both take, as
  in ``.*foo.*bar``: refused for values, which are searched in 8 kB from every start, unless
  both loops are bounded by 64; for keys, matched from their start and at most 256
  characters long, one such pair is allowed.

A loop that ends the search with success hands over to nothing: nothing is tried after it.
What is left costs at most the square of the text's length.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Final

from z4j_otel.redaction.automata import Automaton, TooComplex, build, may_be_empty

__all__ = ["compile_quietly", "why_refused"]

_MOST_STEPS: Final = 60_000
_TRIED_CHARS: Final = 80
_MOST_WAYS: Final = 5_000
"""Of matching so many characters; two loops that share a text and are bounded have 3300."""
_ORDINARY_TEXTS: Final = ("shop.tasks.send", "7", "- ok", "eu_west")
_ORDINARY_KEYS: Final = ("id", "count", "order_no", "x2")
_NESTED: Final = (
    "can match the same text in endlessly many ways, as (a+)+ does; let what repeats inside a"
    " repeat begin or end with a character that the rest of it cannot match"
)
_NEIGHBOURS: Final = (
    "has two repeats that can match the same text, as .*x.* does, which takes too long;"
    " bound both, as in .{0,40}x.{0,40}, or put between them what neither can match"
)

_States = tuple[int, ...]


@lru_cache(maxsize=256)
def why_refused(pattern: str, *, is_key: bool) -> str:
    """Return why a pattern must not be used, or "" when it may be.

    Args:
        pattern: What the user wrote.
        is_key: Whether it is matched with whole names, and not searched in texts.

    Returns:
        The rest of a sentence that begins with "pattern 1"; never the pattern's text.
    """
    try:
        rule = compile_quietly(pattern)
        return _why_slow(pattern, is_key) or _why_too_wide(pattern, rule, is_key)
    except re.error as error:
        place = "" if error.pos is None else f", error at character {error.pos + 1}"
        return f"is not a valid regular expression{place}"
    except TooComplex as error:
        return str(error)
    except (RecursionError, OverflowError):
        return "is nested too deeply, or repeats too often"


def _why_slow(pattern: str, is_key: bool) -> str:
    for number, automaton in enumerate(build(pattern)):
        # What a lookaround matches is not the end of the search.
        won = set() if number else _winners(automaton, is_key=is_key)
        if _Check(automaton, set()).is_ambiguous():
            return _NESTED
        check = _Check(automaton, won)
        if check.has_neighbours(is_key=is_key):
            return _NEIGHBOURS
        if check.has_many_ways():
            return _NESTED
    return ""


def compile_quietly(pattern: str) -> re.Pattern[str]:
    """Compile a pattern that ignores case, without a word to the application's log."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return re.compile(pattern, re.IGNORECASE)


def _why_too_wide(pattern: str, rule: re.Pattern[str], is_key: bool) -> str:
    if may_be_empty(pattern):
        return "can match the empty text, so it would match everywhere"
    if is_key:
        takes_all = all(rule.fullmatch(key) for key in _ORDINARY_KEYS)
        return "matches every name" if takes_all else ""
    takes_all = all(rule.search(text) for text in _ORDINARY_TEXTS)
    return "matches every text" if takes_all else ""


def _winners(automaton: Automaton, *, is_key: bool) -> set[int]:
    """Return the positions at which the whole match has succeeded, whatever follows."""
    if not is_key:
        return automaton.final
    return {
        state
        for state in automaton.final
        if state in automaton.follow[state] and automaton.takes[state] == automaton.alphabet
    }


class _Check:
    """The search for loops that can share a text, in one automaton."""

    def __init__(self, automaton: Automaton, won: set[int]) -> None:
        self._takes = automaton.takes
        self._endless = automaton.endless
        self._first = automaton.first
        # One character of each kind that the pattern tells apart.
        kinds = {tuple(char in t for t in self._takes): char for char in automaton.alphabet}
        self._alphabet = sorted(kinds.values())
        self._steps = 0
        self._follow = [
            {} if state in won else {to: ways for to, ways in edges.items() if to not in won}
            for state, edges in enumerate(automaton.follow)
        ]
        self._reach = [self._reachable(state) for state in range(len(self._follow))]
        self._loops = self._find_loops()

    def _reachable(self, start: int) -> set[int]:
        found: set[int] = set()
        waiting = list(self._follow[start])
        while waiting:
            state = waiting.pop()
            if state not in found:
                found.add(state)
                waiting += self._follow[state]
        return found

    def is_ambiguous(self) -> bool:
        """Tell whether some loop can match one text in more ways than its length."""
        return any(self._is_ambiguous(loop) for loop in self._loops)

    def has_neighbours(self, *, is_key: bool) -> bool:
        """Tell whether loops that can share a text cost more than is allowed."""
        pairs = product(range(len(self._loops)), repeat=2)
        chains = {
            (left, right)
            for left, right in pairs
            if left != right and self._can_hand_over(self._loops[left], self._loops[right])
        }
        has_longer = any(first[1] == second[0] for first, second in product(chains, repeat=2))
        return has_longer or (
            not is_key and any(self._is_endless(self._loops[i]) for pair in chains for i in pair)
        )

    def has_many_ways(self) -> bool:
        """Tell whether some short text is matched in more ways than two bounded loops allow.

        Repeats that were written out are no loops, and multiply all the same, as in
        ``(a{1,8}){1,8}``. The text is made as it goes, of the characters with the most ways.
        """
        return any(self._count_ways(start) > _MOST_WAYS for start in self._starts())

    def _starts(self) -> list[dict[int, int]]:
        """Return by each first character where a match can stand behind it."""
        starts = ({s: 1 for s in self._first if char in self._takes[s]} for char in self._alphabet)
        return [dict(items) for items in {tuple(sorted(each.items())) for each in starts}]

    def _count_ways(self, ways: dict[int, int]) -> int:
        total = 0
        for _ in range(_TRIED_CHARS):
            total += sum(ways.values())
            if not ways or total > _MOST_WAYS:
                break
            following: Counter[int] = Counter()
            for state, count in ways.items():
                for to, edges in self._follow[state].items():
                    following[to] += count * edges
            self._step(len(following) * len(self._alphabet))
            choices = (
                {state: count for state, count in following.items() if char in self._takes[state]}
                for char in self._alphabet
            )
            ways = max(choices, key=lambda choice: sum(choice.values()))
        return total

    def _step(self, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise TooComplex("is too complex to be checked; write it as several patterns")

    def _find_loops(self) -> list[frozenset[int]]:
        """Return the sets of states that can all reach each other."""
        loops = {
            frozenset(other for other in reach if state in self._reach[other])
            for state, reach in enumerate(self._reach)
            if state in reach
        }
        return sorted(loops, key=min)

    def _is_endless(self, loop: frozenset[int]) -> bool:
        return any(start in loop and end in loop for start, end in self._endless)

    def _is_ambiguous(self, loop: frozenset[int]) -> bool:
        """Whether a state of the loop comes back to itself by two paths on one text."""
        for state in loop:
            if any(ways > 1 and to in loop for to, ways in self._follow[state].items()):
                return True
        # All states of a loop can go by any one of them: looking at one is enough.
        home: _States = (min(loop), min(loop))
        before: dict[_States, set[_States]] = {}
        for pair, following in self._walk(home, loop.issuperset):
            before.setdefault(following, set()).add(pair)
        found: set[_States] = {home}
        waiting = [home]
        while waiting:
            for pair in before.get(waiting.pop(), ()):
                if pair not in found:
                    found.add(pair)
                    waiting.append(pair)
        return any(first != second for first, second in found)

    def _can_hand_over(self, left: frozenset[int], right: frozenset[int]) -> bool:
        """Whether a text leads round both loops and from the one to the other."""
        if not any(right & self._reach[state] for state in left):
            return False
        for start, end in product(left, right):
            goal = (start, end, end)

            def is_on_the_way(states: _States, end: int = end) -> bool:
                middle = states[1]
                is_between = middle in right or middle in left or end in self._reach[middle]
                return states[0] in left and states[2] in right and is_between

            if any(to == goal for _, to in self._walk((start, start, end), is_on_the_way)):
                return True
        return False

    def _walk(
        self, home: _States, is_wanted: Callable[[_States], bool]
    ) -> Iterator[tuple[_States, _States]]:
        """Yield the steps that several paths can take together, on the same characters."""
        seen, waiting = {home}, deque([home])
        while waiting:
            states = waiting.popleft()
            for to in product(*(self._follow[state] for state in states)):
                self._step()
                if is_wanted(to) and frozenset.intersection(*(self._takes[each] for each in to)):
                    yield states, to
                    if to not in seen:
                        seen.add(to)
                        waiting.append(to)
