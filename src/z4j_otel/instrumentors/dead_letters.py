"""``dlq.list``: what is asked, and a page of the answer (PROTOCOL §6.3). For all engines.

Theory of operation
    Letters are shown newest first. A cursor names the last letter shown, by its time and a
    digest of what tells it apart; the next page begins with what comes after that place, also
    when the letter itself has gone meanwhile. Nothing is kept between two pages.

    A page may have fewer entries than asked for: what a result may be in all is bounded, and
    an entry that the redactor dropped would spoil the form that the brain expects.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from z4j_otel.clock import iso_utc
from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.parameters import MAX_NAME_CHARS, read_text
from z4j_otel.wire import canonical

__all__ = ["DeadLetter", "PageRequest", "build_page", "read_page_request"]

_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 200
_MAX_CURSOR_CHARS: Final = 200
_MAX_PAGE_BYTES: Final = 18_000
"""Of all entries as JSON; a redacted result may have 24 000, and one entry has at most 9000."""
_MAX_TASK_NAME_CHARS: Final = 500
_MAX_QUEUE_CHARS: Final = 200
_MAX_EXCERPT_CHARS: Final = 512
_CURSOR: Final = re.compile(r"([0-9]{1,20})-([0-9a-f]{12})")

_Place = tuple[int, str]
"""Where a letter stands: its time, and what tells it from others of that time."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task's message that no worker will take any more."""

    task_id: str
    """1 to 200 characters."""
    task_name: str
    """Empty where it is not known."""
    queue: str
    """The queue that it died in, which is where it would run again."""
    failed_at_ns: int | None
    """When it died, nanoseconds since the Unix epoch, or None."""
    error_excerpt: str
    """Why it died."""
    attempts: int | None
    """How often a worker began it, or None where nobody knows."""

    def as_entry(self) -> dict[str, Any]:
        """Return it as the brain takes it."""
        failed_at = None if self.failed_at_ns is None else iso_utc(self.failed_at_ns)
        return {
            "task_id": self.task_id,
            "task_name": self.task_name[:_MAX_TASK_NAME_CHARS],
            "queue": self.queue[:_MAX_QUEUE_CHARS],
            "failed_at": failed_at,
            "error_excerpt": self.error_excerpt[-_MAX_EXCERPT_CHARS:],
            "attempts": self.attempts,
        }


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What an operator wants to see."""

    queue: str | None
    """Only letters of this queue; None for all."""
    limit: int
    after: _Place | None
    """Where the page before ended; None for the first page."""


def read_page_request(parameters: Mapping[str, Any]) -> PageRequest:
    """Read the parameters ``queue``, ``limit`` and ``cursor``.

    Raises:
        CommandRefused: One is wrong. Of a cursor that is not ours the text is the one that
            the brain tells an operator's mistake by.
    """
    limit = parameters.get("limit")
    if limit is None:
        limit = _DEFAULT_LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MAX_LIMIT:
        raise CommandRefused(f"limit must be a whole number from 1 to {_MAX_LIMIT}")
    queue = read_text(parameters, "queue", max_chars=MAX_NAME_CHARS)
    return PageRequest(queue, limit, _read_cursor(parameters.get("cursor")))


def build_page(
    letters: Iterable[DeadLetter], request: PageRequest, *, engine: str, is_complete: bool
) -> dict[str, Any]:
    """Return the page that was asked for.

    Args:
        letters: All that are known, in any order.
        request: Which of them are to be shown.
        engine: The engine instance's name.
        is_complete: Whether there are no more letters than these.

    Returns:
        ``entries``, ``next_cursor``, ``total`` (None where there may be more) and ``engine``.
    """
    placed = _in_order(letters)
    entries: list[dict[str, Any]] = []
    last: _Place | None = None
    left_bytes = _MAX_PAGE_BYTES
    following = [each for each in placed if request.after is None or _follows(each, request.after)]
    for place, letter in following[: request.limit]:
        entry = letter.as_entry()
        left_bytes -= len(canonical.encode(entry)) + 1
        if left_bytes < 0:
            break
        entries.append(entry)
        last = place
    return {
        "entries": entries,
        "next_cursor": f"{last[0]}-{last[1]}" if last and len(entries) < len(following) else None,
        "total": len(placed) if is_complete else None,
        "engine": engine,
    }


def _in_order(letters: Iterable[DeadLetter]) -> list[tuple[_Place, DeadLetter]]:
    """Return the letters with their places, newest first."""
    seen: Counter[tuple[int, str, str]] = Counter()
    placed = []
    for letter in letters:
        at = letter.failed_at_ns or 0
        same = (at, letter.queue, letter.task_id)
        # One task may have died twice in the same second.
        text = f"{letter.queue}\0{letter.task_id}\0{seen[same]}"
        seen[same] += 1
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
        placed.append(((at, digest), letter))
    return sorted(placed, key=lambda each: _order(each[0]))


def _order(place: _Place) -> tuple[int, str]:
    return -place[0], place[1]


def _follows(each: tuple[_Place, DeadLetter], after: _Place) -> bool:
    return _order(each[0]) > _order(after)


def _read_cursor(value: object) -> _Place | None:
    if value is None:
        return None
    is_text = isinstance(value, str) and len(value) <= _MAX_CURSOR_CHARS
    found = _CURSOR.fullmatch(value) if is_text and isinstance(value, str) else None
    if found is None:
        raise CommandRefused("invalid dead-letter cursor")
    return int(found[1]), found[2]
