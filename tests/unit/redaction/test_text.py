"""Strings are bounded, valid and stable after redaction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.redaction.text import utf8_length

REDACTOR = Redactor()
FRAGMENTS = [
    "password=", "'", '"', "\\", "a@b.co", "@", "://", "u:p", "redis://", "eyJa.b.c", ".", "[", "(",
    ")", "123-45-6789", "4111 1111 1111 1111", "-----BEGIN PRIVATE KEY-----", "\n", " ", "token: ",
    "-----END PRIVATE KEY-----", "bearer aaaaaaaaaaaaaaaa", "AKIAIOSFODNN7EXAMPLE", "ä", "\ud800",
    "\0", "[REDACTED]", "[...5 more bytes truncated]", "--key ", "cookie: ", "basic ", ",", "=",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=6), max_size=40).map("".join)
KEEPS = st.sampled_from(["head", "tail"])


@given(TEXTS, KEEPS, st.integers(64, 400))
@settings(max_examples=400, deadline=None)
def test_redaction_is_bounded_valid_and_idempotent(text: str, keep: str, cap: int) -> None:
    """Any text becomes valid UTF-8 within the cap that does not change a second time."""
    once = REDACTOR.redact_text(text, max_bytes=cap, keep=keep)
    assert len(once.encode()) <= cap
    assert "\0" not in once
    assert REDACTOR.redact_text(once, max_bytes=cap, keep=keep) == once


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_the_brain_finds_nothing_more(text: str) -> None:
    """The rules of the reference leave a redacted text as it is."""
    core = pytest.importorskip("z4j_core.redaction")
    once = REDACTOR.redact_text(text)
    assert core.RedactionEngine(core.RedactionConfig()).scrub(once) == once


@pytest.mark.parametrize("shift", range(0, 80, 7))
def test_a_secret_across_the_cap_is_not_shown_in_part(shift: int) -> None:
    """Cutting never leaves a piece of a secret."""
    secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    filler = "w " * (4000 - shift // 2 - 20)
    for keep in ("head", "tail"):
        parts = [filler, secret, " tail" * 4000]
        text = "".join(parts if keep == "head" else parts[::-1])
        result = REDACTOR.redact_text(text, keep=keep)
        assert "ghp_" not in result
        assert "ABCDEFGHIJ" not in result


@pytest.mark.parametrize("length", [600, 5000, 9000, 20000])
def test_a_long_secret_cut_by_the_window_is_not_shown_in_part(length: int) -> None:
    """A secret that reaches beyond the window in either direction goes as a whole."""
    text = "x " * 3000 + "password='" + "Sesame!" * (length // 7) + "' " + "y " * 3000
    assert "Sesame" not in REDACTOR.redact_text(text)
    assert "Sesame!Sesame" not in REDACTOR.redact_text(text, keep="tail")


def test_the_truncation_marker_counts_the_missing_bytes() -> None:
    """The suffix tells how many bytes are missing, and is part of the cap."""
    result = REDACTOR.redact_text("x " * 65_000)
    kept, _, note = result.rpartition("[...")
    assert note == f"{130_000 - len(kept)} more bytes truncated]"
    assert len(result) <= 8000


def test_markers_of_earlier_cuts_are_added_up() -> None:
    """A text that already ends with a marker gets one with the sum."""
    for keep in ("head", "tail"):
        marker = "[...100 more bytes truncated]"
        text = "x " * 4050
        text = f"{text}{marker}" if keep == "head" else f"{marker}\n{text}"
        result = REDACTOR.redact_text(text, keep=keep)
        assert f"[...{100 + 8100 - result.count('x ') * 2} more bytes truncated]" in result
        assert result.count("truncated") == 1


@pytest.mark.parametrize("text", ["ä" * 9000, "ä" * 300_000, "ä\ud800" * 9000])
def test_wide_characters_are_cut_between_characters(text: str) -> None:
    """Text of wide characters keeps to the cap in bytes."""
    result = REDACTOR.redact_text(text)
    assert 7500 < utf8_length(result) <= 8000
    assert result.endswith(" more bytes truncated]")


def test_a_marker_is_never_cut() -> None:
    """Where the cut would fall into a marker, it falls before it."""
    for cap in range(64, 200):
        for keep in ("head", "tail"):
            result = REDACTOR.redact_text("a@b.co, " * 50, max_bytes=cap, keep=keep)
            pieces = result.replace(REDACTED, "").replace("more bytes truncated", "")
            assert "RED" not in pieces
            assert "ACTED" not in pieces


def test_tail_keeps_the_deepest_frames_from_a_line_start() -> None:
    """A traceback's end survives and begins with a whole line."""
    frames = "".join(f'  File "m{i}.py", line {i}, in f\n    g()\n' for i in range(1000))
    result = REDACTOR.redact_text(frames + "ValueError: boom\n", keep="tail")
    note, first, *_ = result.split("\n")
    assert note.startswith("[...")
    assert first.startswith(("  File", "    g()"))
    assert result.endswith("ValueError: boom\n")
    assert 7000 < len(result) <= 8000


@pytest.mark.parametrize(
    ("text", "expected_end"),
    [("ValueError: " + "word " * 9000 + "\n", "word \n"), ("x" * 99_000, "truncated]\n")],
)
def test_tail_without_line_breaks(text: str, expected_end: str) -> None:
    """A long last line keeps its end; what may be the end of one long secret goes."""
    assert REDACTOR.redact_text(text, keep="tail").endswith(expected_end)


def test_extra_value_patterns_are_redacted() -> None:
    """Extra patterns work inside strings, beside or instead of the defaults."""
    policy = RedactionPolicy(extra_value_patterns=(r"EMP-\d+", "x+"), defaults_enabled=False)
    redactor = Redactor(policy)
    assert redactor.redact_text("see emp-12345, a@b.co") == "see [REDACTED], a@b.co"
    assert redactor.redact_text("axx") == "a[REDACTED]"


def test_a_pattern_that_never_settles_ends_in_a_marker() -> None:
    """An extra pattern that matches its own replacement redacts the whole string."""
    redactor = Redactor(RedactionPolicy(extra_value_patterns=("RED",)))
    assert redactor.redact_text("RED") == REDACTED


def test_neighbouring_matches_become_one_marker() -> None:
    """Overlapping finds of several rules are one replacement."""
    assert REDACTOR.redact_text("Authorization: Bearer eyJa.b.c a@b.co") == (
        "Authorization: [REDACTED]"
    )
