"""Time, as something that is passed in."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol

__all__ = ["Clock", "SystemClock", "iso_parts", "iso_utc", "iso_z", "parse_iso_ns"]

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_OUR_FORM_CHARS = len("2026-01-02T03:04:05.678901+00:00")


class Clock(Protocol):
    """What the rest of the code knows of time."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # The system's own functions, not methods around them: each event asks both.
    now_ns = staticmethod(time.time_ns)
    monotonic_s = staticmethod(time.monotonic)


# The last second formatted: events come in bursts within one second. One tuple, replaced
# whole, so that threads never see half of it.
_last_second: tuple[int, str] = (-1, "")
# The last second read, with the dot behind it, for the same reason.
_last_second_read: tuple[str, int] = ("no second yet, and longer than a time", 0)


def iso_parts(at_ns: int) -> tuple[str, int]:
    """Split a time into ``2026-01-02T03:04:05``, in UTC, and its microseconds."""
    global _last_second  # noqa: PLW0603 -- a cache of one entry
    second, rest = divmod(at_ns, _NS)
    known, text = _last_second
    if known != second:
        text = datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        _last_second = (second, text)
    return text, rest // 1000


def iso_utc(at_ns: int) -> str:
    """Write a time as ``2026-01-02T03:04:05.678901+00:00``, always six fractional digits."""
    second, micros = iso_parts(at_ns)
    return f"{second}.{micros:06d}+00:00"


def iso_z(at_ns: int) -> str:
    """Write a time as ``2026-01-02T03:04:05.678901Z``, the form of a frame's ``ts``."""
    second, micros = iso_parts(at_ns)
    return f"{second}.{micros:06d}Z"


def parse_iso_ns(text: str) -> int:
    """Read an ISO-8601 time with an offset.

    Raises:
        ValueError: The text is no such time, or has no offset.
    """
    global _last_second_read  # noqa: PLW0603 -- a cache of one entry
    is_our_form = len(text) == _OUR_FORM_CHARS and text[26] in "+-"
    second, known_ns = _last_second_read
    if is_our_form and text.startswith(second) and text.endswith("+00:00"):
        micros = text[20:26]
        if micros.isdecimal() and micros.isascii():
            return known_ns + int(micros) * 1000
    moment = datetime.fromisoformat(text if is_our_form else _python310_form(text))
    if moment.tzinfo is None:
        raise ValueError("time without an offset")
    delta = moment - _EPOCH
    second_ns = (delta.days * 86_400 + delta.seconds) * _NS
    if is_our_form and text.endswith("+00:00"):
        _last_second_read = (text[:20], second_ns)
    return second_ns + delta.microseconds * 1000


def _python310_form(text: str) -> str:
    """Bring a time into the only form Python 3.10 reads: six fractional digits, no Z."""
    if text.endswith("Z"):
        text = text[:-1] + "+00:00"
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
