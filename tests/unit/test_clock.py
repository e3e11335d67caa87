"""Times as text, there and back."""

from __future__ import annotations

import runpy
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel import clock
from z4j_otel.clock import iso_utc, iso_z, parse_iso_ns

_LAST_NS = 253_402_300_799 * 10**9
"""The last second of the year 9999."""


@given(st.lists(st.integers(0, _LAST_NS) | st.integers(0, 3 * 10**9), min_size=1, max_size=8))
def test_what_was_written_is_read(moments_ns: list[int]) -> None:
    """Each time is its own, whichever was read before it; what is below a microsecond goes."""
    for at_ns in moments_ns:
        assert parse_iso_ns(iso_utc(at_ns)) == at_ns // 1000 * 1000
        assert parse_iso_ns(iso_z(at_ns)) == at_ns // 1000 * 1000


def test_another_offset_is_another_time() -> None:
    """Also within the second that was read last."""
    assert parse_iso_ns("1970-01-01T00:00:05.000001+00:00") == 5_000_001_000
    assert parse_iso_ns("1970-01-01T00:00:05.000001-01:00") == 3_605_000_001_000
    assert parse_iso_ns("1970-01-01T00:00:05.000002+00:00") == 5_000_002_000


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:05.00 001+00:00",
        "1970-01-01T00:00:05.-00001+00:00",
        "1970-01-01T00:00:05.00000\u0661+00:00",
        "1970-01-01T00:00:05",
        "",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A malformed one is refused behind a sound one of the same second, too."""
    parse_iso_ns("1970-01-01T00:00:05.000001+00:00")
    with pytest.raises(ValueError, match=r".*"):
        parse_iso_ns(text)


def test_nothing_is_remembered_at_first() -> None:
    """The first text that is read is no exception."""
    fresh = runpy.run_path(clock.__file__)["parse_iso_ns"]
    with pytest.raises(ValueError, match="Invalid isoformat"):
        fresh("-970-01-01T00:00:05.000001+00:00")


def test_a_time_without_an_offset_is_refused() -> None:
    """Nobody knows which moment it means."""
    with pytest.raises(ValueError, match="without an offset"):
        parse_iso_ns(datetime(1970, 1, 1).isoformat())  # noqa: DTZ001 -- what is refused
