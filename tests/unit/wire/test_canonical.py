"""Canonical JSON, against the vectors and Python's own writer."""

from __future__ import annotations

import datetime as dt
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.errors import FrameMalformed, LocalWireError
from z4j_otel.wire import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BIT_PATTERNS = st.binary(min_size=8, max_size=8).map(lambda raw: struct.unpack("<d", raw)[0])
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | BIT_PATTERNS.filter(math.isfinite)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12
)


def reference(value: Any) -> bytes:
    """Return what Python's own writer makes of a value."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


@given(VALUES)
def test_any_value_is_written_as_the_brain_writes_it(value: Any) -> None:
    """The bytes are those of Python's sorted, compact, unescaped JSON."""
    assert canonical.encode(value) == reference(value)


@given(FLOATS | st.integers(-400, 400).map(lambda exponent: float(f"1e{exponent}")))
def test_any_finite_float_is_written_as_repr(number: float) -> None:
    """Floats have the shortest form, with an exponent exactly where repr has one."""
    expected = repr(number) if math.isfinite(number) else "null"
    assert canonical.encode([number]) == f"[{expected}]".encode()


@given(VALUES)
def test_what_was_written_reads_back_to_the_same_bytes(value: Any) -> None:
    """Decoding loses nothing that a signature covers."""
    data = canonical.encode(value)
    assert canonical.encode(canonical.decode(data)) == data


@given(VALUES)
def test_white_space_and_escapes_do_not_matter(value: Any) -> None:
    """A peer may write the same value otherwise."""
    text = json.dumps(value, indent=1, ensure_ascii=True)
    assert canonical.encode(canonical.decode(text)) == canonical.encode(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_floats_that_are_not_finite_become_null(number: float) -> None:
    """The signature must not fail for one odd measurement."""
    assert canonical.encode({"b": [number], "a": 1e-7}) == b'{"a":1e-07,"b":[null]}'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e16, b"1e+16"),
        (-1e16, b"-1e+16"),
        (9999999999999998.0, b"9999999999999998.0"),
        (1e-4, b"0.0001"),
        (-1e-4, b"-0.0001"),
        (9.9e-05, b"9.9e-05"),
        (-1e-5, b"-1e-05"),
        (-0.0, b"-0.0"),
        (5e-324, b"5e-324"),
        (1.5e300, b"1.5e+300"),
        (2**64, b"18446744073709551616"),
        (-(2**63) - 1, b"-9223372036854775809"),
    ],
)
def test_the_edges_of_number_forms(number: float, text: bytes) -> None:
    """Both limits of the positional form, and integers beyond 64 bits."""
    assert canonical.encode(number) == text


def test_keys_sort_by_code_point() -> None:
    """U+FFFF stands before U+10000, which UTF-16 order would swap."""
    assert (
        canonical.encode({"\U00010000": 1, "\uffff": 2}) == '{"\uffff":2,"\U00010000":1}'.encode()
    )


def test_tuples_are_lists() -> None:
    """A tuple is written as a list, in the slow form too."""
    assert canonical.encode({"a": (1, (1e-9,))}) == b'{"a":[1,[1e-09]]}'


def nested(depth: int) -> list[Any]:
    """Return a list in a list in a list."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        {"\udfff": 1},
        {"a": "\ud800", "b": 1e-9},
        {1: "a"},
        {None: 1},
        {"a": {True: 1}},
        {1.5: 1, "b": 1e99},
        {1, 2},
        b"bytes",
        object(),
        dt.date(2026, 1, 2),
        [{"a": {"b": frozenset()}}],
        nested(100_000),
        10**4300,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    """Foreign types, keys that are no strings, lone surrogates and endless nesting."""
    with pytest.raises(LocalWireError) as caught:
        canonical.encode(value)
    assert caught.value.__cause__ is None  # it would hold the value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not json",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e400",
        b"\xef\xbb\xbf-1e400",
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\x01"',
        b"[1,]",
        b"01",
        b"1" * 4301,
        b"-" + b"1" * 4301,
        b"\xef\xbb\xbf" + b"1" * 4301,
        b"[" * 100_000 + b"]" * 100_000,
        "\ud800",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_the_brain_cannot_read_is_malformed(data: bytes | str) -> None:
    """Nothing is accepted that could not be written again."""
    with pytest.raises(FrameMalformed):
        canonical.decode(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1,"a":2}', {"a": 2}),
        (b"-0", 0),
        (b"1" * 4300, int("1" * 4300)),
        (b"-" + b"1" * 4300, -int("1" * 4300)),
        (b"\xef\xbb\xbf[1.5,-20]", [1.5, -20]),
        ("[1e2]".encode("utf-16"), [100.0]),
        ('"\u00e9"', "\u00e9"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
    ],
    ids=lambda item: repr(item)[:16],
)
def test_what_the_brain_tolerates_is_read(data: bytes | str, value: Any) -> None:
    """Byte-order marks, UTF-16, equal keys and numbers up to 4300 digits."""
    assert canonical.decode(data) == value


def test_only_the_doubtful_part_is_looked_through() -> None:
    """The caller answers for the rest; what is named as doubtful is written exactly."""
    details = {"number": 1e-7}
    assert canonical.encode({"id": "e1", "data": details}, doubtful=details) == (
        b'{"data":{"number":1e-07},"id":"e1"}'
    )


def test_an_integral_float_stays_a_float() -> None:
    """1.0 and 1 are different values to a signature."""
    assert canonical.encode(canonical.decode(b"[1.0,1,1e2]")) == b"[1.0,1,100.0]"
