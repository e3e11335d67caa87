"""Time, sequence number and nonce, each on its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.clock import iso_z
from z4j_otel.errors import FrameReplayed
from z4j_otel.wire.replay import MAX_SKEW_NS, NONCE_WINDOW_NS, ReplayGuard

NOW_NS = 1_767_323_045_678_901_000
SECOND = 1_000_000_000


def frame(seq: Any = 1, nonce: Any = "n1", at_ns: int = NOW_NS) -> dict[str, Any]:
    """Return the members that the guard looks at."""
    return {"ts": iso_z(at_ns), "seq": seq, "nonce": nonce}


@pytest.mark.parametrize("offset_ns", [0, MAX_SKEW_NS, -MAX_SKEW_NS])
def test_sixty_seconds_either_way_are_fresh(offset_ns: int) -> None:
    """The limit itself is accepted."""
    ReplayGuard().admit(frame(at_ns=NOW_NS + offset_ns), now_ns=NOW_NS)


@pytest.mark.parametrize("offset_ns", [MAX_SKEW_NS + 1000, -MAX_SKEW_NS - 1000])
def test_more_than_sixty_seconds_are_not_fresh(offset_ns: int) -> None:
    """One microsecond more is refused, in the past and in the future."""
    with pytest.raises(FrameReplayed):
        ReplayGuard().admit(frame(at_ns=NOW_NS + offset_ns), now_ns=NOW_NS)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02 03:04:05.678Z",
        "2026-01-02T03:04:05.678901234+00:00",
        "2026-01-02T05:04:05.678901+02:00",
    ],
)
def test_the_forms_of_time_that_are_read(text: str) -> None:
    """Any offset, any precision, a blank for the T."""
    ReplayGuard().admit(frame() | {"ts": text}, now_ns=NOW_NS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1767323045.6,
        "",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.678901z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59.999999-23:59",
        "never",
    ],
)
def test_other_times_are_refused(value: Any) -> None:
    """Numbers, times without an offset, a small z, and nothing at all."""
    with pytest.raises(FrameReplayed):
        ReplayGuard().admit(frame() | {"ts": value}, now_ns=NOW_NS)


@pytest.mark.parametrize("seq", [None, 0, -1, 1.0, "1", False, [1]])
def test_a_sequence_number_is_a_positive_integer(seq: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(FrameReplayed):
        ReplayGuard().admit(frame(seq), now_ns=NOW_NS)


@pytest.mark.parametrize("seq", [True, 1, 2**70])
def test_the_first_sequence_number_may_be_any(seq: int) -> None:
    """Gaps are allowed, there is no upper bound, and true counts as 1."""
    ReplayGuard().admit(frame(seq), now_ns=NOW_NS)


@pytest.mark.parametrize("nonce", [None, "", 5, ["n"]])
def test_a_nonce_is_some_text(nonce: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(FrameReplayed):
        ReplayGuard().admit(frame(nonce=nonce), now_ns=NOW_NS)


@given(st.lists(st.integers(-2, 12), max_size=30))
def test_accepted_numbers_always_rise(numbers: list[int]) -> None:
    """A number is accepted exactly when it exceeds every one accepted before."""
    guard, last = ReplayGuard(), 0
    for index, seq in enumerate(numbers):
        if seq > last:
            guard.admit(frame(seq, f"n{index}"), now_ns=NOW_NS)
            last = seq
            continue
        with pytest.raises(FrameReplayed):
            guard.admit(frame(seq, f"n{index}"), now_ns=NOW_NS)


def test_a_refused_frame_leaves_no_trace() -> None:
    """Neither its number nor its nonce is taken."""
    guard = ReplayGuard()
    guard.admit(frame(1, "n1"), now_ns=NOW_NS)
    for refused in (frame(9, "n1"), frame(1, "n9"), frame(9, "n9", at_ns=0)):
        with pytest.raises(FrameReplayed):
            guard.admit(refused, now_ns=NOW_NS)
    guard.admit(frame(2, "n9"), now_ns=NOW_NS)


def test_a_nonce_is_forgotten_after_three_minutes() -> None:
    """It is refused up to the end of the window, and accepted after it."""
    guard = ReplayGuard()
    guard.admit(frame(1, "n1"), now_ns=NOW_NS)
    last_ns = NOW_NS + NONCE_WINDOW_NS
    with pytest.raises(FrameReplayed):
        guard.admit(frame(2, "n1", last_ns), now_ns=last_ns)
    guard.admit(frame(2, "n1", last_ns + SECOND), now_ns=last_ns + SECOND)


def test_the_memory_of_nonces_is_bounded() -> None:
    """The oldest of more than 4096 is forgotten first."""
    guard = ReplayGuard()
    for seq in range(1, 4098):
        guard.admit(frame(seq, f"n{seq}"), now_ns=NOW_NS)
    assert len(guard._nonces) == 4096
    with pytest.raises(FrameReplayed):
        guard.admit(frame(5000, "n4097"), now_ns=NOW_NS)
    guard.admit(frame(5000, "n1"), now_ns=NOW_NS)
