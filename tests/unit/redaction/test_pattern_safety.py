"""A user's patterns are judged by their form, the same on every machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.redaction.automata import build
from z4j_otel.redaction.pattern_safety import why_refused

EXPONENTIAL = [
    "(a+)+", "(a+)+b", "(a*)*b", r"(\w+\s*)+x", r"(\w+\s?)*:", "(?:a?b?)*c", "(a|ab?)*c",
    "(?:a|ab?){20}c", "([a-z]+)*@x", "(.*)*x", r"(?:\d+|\w+)+-", "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(?=(a+)+b)x", "(x+x+)+y", r"(?:\w{1,64}){2,}x", "(.{1,20}){1,20}x", "(?:[a-m]+|[^x]+)+x",
    "x(?<!y)(?:a+)+b", r"(?:.|\n)+x",
    "(?:sa|\u017fa)+x", "(?:\u00b5a|\u03bca)+x", "(?:\ufb05a|\ufb06a)+x",
    r"(?:\d{1,8}){1,8}!", "(?:a?){20}b", r"\w?" * 26 + "!", r"(?:\d{1,4}[ -]?){2,8}x",
]  # fmt: skip
SLOW_VALUES = [
    ".*foo.*bar", r"\w+\s*\w+@", r"\s*\S*\s*=", r"\w{1,40}\w+X", r"\w{1,40}\w{1,40}\w{1,40}X",
    r".*secret.*token\b",
]  # fmt: skip
VALUES = [
    r"EMP-\d+", r"\bCUST-\d{6,}\b", r"\d{3}-\d{2}-\d{4}", r"(?:\d{4}[- ]?){3}\d{4}",
    r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", r"\w+@corp", ".*secret.*", r"(?:[a-z]+\.)+corp\b",
    r"\b[\w.-]+@[\w.-]+\.corp\b", r"(?:\d{1,3}\.){3}\d{1,3}", r"(?:[0-9a-f]{1,4}:){7}[0-9a-f]+",
    r"secret\b.*", "(?:foo|bar)+", r"\d+\.?\d+", "[a-f0-9]{64}", "(?<!a)b+c", "(?!x)y+",
    r'"[^"\\]*(?:\\.[^"\\]*)*"', r"token=[^&\s]+", "<id>[^<]*</id>", r"(?:\w+,)*\w+;",
    ".{0,40}x.{0,40}y", "a{2,40}?b", "x{100}y{3,}", "(?s:a.b)c", "(?:ab){2,}c", "a(?:|b)c",
    r"\b(?:[0-9a-f]{2}[ :-]?){3,8}\b", r".{0,64}x.{0,64}y", r"(?:\d{1,3}\.?){4}:",
]  # fmt: skip
KEYS = [
    "badge", ".*_code", ".*secret.*", "internal_.*", ".*foo.*bar.*", r"x_\w+_y", "(?i)^iban$",
    "customer_(name|mail)", "[^a]+_x",
]  # fmt: skip
SLOW_KEYS = ["(a+)+", r"(\w+_?)+x", ".*.*.*x"]


@pytest.mark.parametrize("pattern", EXPONENTIAL)
@pytest.mark.parametrize("is_key", [False, True])
def test_a_repeat_in_a_repeat_that_shares_its_text_is_refused(pattern: str, is_key: bool) -> None:
    """The reason says what is wrong and does not repeat the pattern."""
    reason = why_refused(pattern, is_key=is_key)
    assert "endlessly many ways" in reason
    assert "(a+)+" in pattern or pattern not in reason


@pytest.mark.parametrize(
    ("pattern", "is_key"), [*((p, False) for p in SLOW_VALUES), (SLOW_KEYS[2], True)]
)
def test_repeats_that_share_a_text_are_refused(pattern: str, is_key: bool) -> None:
    """One hand-over between unbounded loops is too many in a text, two in a name."""
    assert "two repeats" in why_refused(pattern, is_key=is_key)


@pytest.mark.parametrize(
    ("pattern", "is_key"), [*((p, False) for p in VALUES), *((p, True) for p in KEYS)]
)
def test_patterns_that_people_write_are_taken(pattern: str, is_key: bool) -> None:
    """Careful patterns pass, and those whose loops have nothing in common."""
    assert why_refused(pattern, is_key=is_key) == ""


@pytest.mark.parametrize("pattern", ["", "x*", "|a", "a|", r"\b", "(?=secret)", "x?", "(?:a|b*)"])
@pytest.mark.parametrize("is_key", [False, True])
def test_a_pattern_that_takes_nothing_is_refused(pattern: str, is_key: bool) -> None:
    """What can match the empty text matches everywhere."""
    assert "empty text" in why_refused(pattern, is_key=is_key)


@pytest.mark.parametrize("pattern", [".", ".+", r"\w+", r"[\s\S]+", r"\S", r"\w\W?"])
def test_a_pattern_that_takes_everything_is_refused(pattern: str) -> None:
    """It would blank every text, or the value of every name."""
    assert why_refused(pattern, is_key=False) == "matches every text"


@pytest.mark.parametrize("pattern", [".+", r"\w+", "[a-z].+|x."])
def test_a_pattern_for_every_name_is_refused(pattern: str) -> None:
    """Redacting everything is not what a pattern is for."""
    assert why_refused(pattern, is_key=True) == "matches every name"


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "is not a valid regular expression, error at character 1"),
        (r"(a)\1+", "refers back"),
        (r"(a)?(?(1)b|c)d", "refers back"),
        ("abcde" * 100, "too long"),
        ("".join(f"[{chr(97 + n)}-z]*" for n in range(26)) * 4 + "!", "too complex"),
        ("(?:" * 900 + "a" + ")" * 900, "nested too deeply"),
    ],
)
def test_what_cannot_be_checked_is_refused(pattern: str, reason: str) -> None:
    """No pattern runs that nobody has judged; judging ends after a bounded time."""
    assert reason in why_refused(pattern, is_key=False)


PIECES = st.sampled_from(["a", "[ab]", r"\w", ".", "a?b", "ab", "(?:a|b)", r"\d"])


@given(PIECES, st.sampled_from("+*"), st.sampled_from(["+", "*", "{2,}", "{9,99}"]))
def test_any_piece_repeated_twice_over_is_refused(piece: str, inner: str, outer: str) -> None:
    """(x+)+ is the same danger whatever x is."""
    assert why_refused(f"(?:(?:{piece}){inner}){outer}!", is_key=False)


@given(st.text("ab.*+?(|)[]{}1,\\w^$", max_size=14), st.booleans())
def test_judging_never_fails(pattern: str, is_key: bool) -> None:
    """Any text gets an answer."""
    assert isinstance(why_refused(pattern, is_key=is_key), str)


def test_loops_are_written_out_while_they_are_few() -> None:
    """A short repeat has as many positions as characters; a long one ends in a loop."""
    assert len(build("a{3}")[0].takes) == 3
    assert len(build("(?:ab){2,4}")[0].takes) == 8
    assert build("a{2,3}")[0].endless == set()
    assert build("a{2,}")[0].endless
    assert not build("a{2,60}")[0].endless
