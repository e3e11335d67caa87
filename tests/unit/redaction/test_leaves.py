"""Single values are read by type, without running code of their classes."""

import datetime as dt
import decimal
import enum
import uuid
import zoneinfo
from typing import Any

import pytest

from z4j_otel.redaction import RedactionPolicy, Redactor
from z4j_otel.redaction.leaves import describe_type, read_leaf, read_text


class Trap:
    """An object any touch of which is an error."""

    def _spring(self, *_: object) -> Any:
        raise AssertionError

    __repr__ = __str__ = __hash__ = __eq__ = __len__ = __iter__ = __getattribute__ = _spring  # type: ignore[assignment]
    __class__ = property(_spring)  # type: ignore[assignment]


def trapped(base: type) -> type:
    """Return a subclass of ``base`` whose every common method is a trap."""
    names = "__repr__ __str__ __len__ __iter__ __getitem__ __getattribute__ __format__ __int__"
    names += " items keys values get decode isoformat __float__ __index__ __add__ __bool__ encode"
    return type(f"Trapped{base.__name__}", (base,), dict.fromkeys(names.split(), Trap._spring))


class Color(enum.Enum):
    """A plain enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """An enumeration of integers."""

    HIGH = 3


class Zone(dt.tzinfo):
    """A zone that must not be asked."""

    utcoffset = Trap._spring


MOMENT = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)
ZONED = MOMENT.replace(tzinfo=zoneinfo.ZoneInfo("UTC"))
LEAVES = [
    (None, None),
    (True, True),
    (1.5, 1.5),
    (float("nan"), "nan"),
    (float("-inf"), "-inf"),
    (Color.RED, "red"),
    (Level.HIGH, 3),
    (MOMENT, "2024-01-02T03:04:05+00:00"),
    (ZONED, "2024-01-02T03:04:05+00:00"),
    (MOMENT.replace(tzinfo=Zone()), "2024-01-02T03:04:05 <test_leaves.Zone>"),
    (MOMENT.date(), "2024-01-02"),
    (MOMENT.timetz(), "03:04:05+00:00"),
    (dt.time(1, 2, tzinfo=Zone()), "01:02:00"),
    (dt.timedelta(seconds=90), "0:01:30"),
    (decimal.Decimal("1.10"), "1.10"),
    (decimal.Decimal("1" * 9000), "<decimal.Decimal>"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (10**3999, 10**3999),
    (b"ab\xff", "<bytes of 3> ab\ufffd"),
    (bytearray(b"ab"), "<bytearray of 2> ab"),
    (object(), "<builtins.object>"),
    (int, "<builtins.type>"),
]


@pytest.mark.parametrize(("value", "expected"), LEAVES)
def test_leaves_are_read_by_type(value: object, expected: object) -> None:
    """Each known type has one plain form, everything else is described."""
    leaf, unread = read_leaf(value, 100)
    if isinstance(expected, str):
        expected = expected.replace("test_leaves", __name__)
    assert leaf == expected
    assert type(leaf) is type(expected)
    assert unread == 0


@pytest.mark.parametrize(
    ("base", "value", "expected"),
    [
        (str, "x", "x"),
        (int, 7, 7),
        (float, 1.5, 1.5),
        (bytes, b"x", "<bytes of 1> x"),
        (list, [1], [1]),
        (tuple, (1,), [1]),
        (set, {1}, [1]),
        (frozenset, {1}, [1]),
        (dict, {"a": 1}, {"a": 1}),
    ],
)
def test_subclasses_are_read_past_their_own_methods(
    base: type, value: object, expected: object
) -> None:
    """A subclass is read through the built-in it derives from, its own methods stay unused."""
    result = Redactor().redact({"v": trapped(base)(value)})
    assert result == {"v": expected}
    assert type(result["v"]) is type(expected)


def test_an_endless_integer_becomes_a_note() -> None:
    """An integer of more than 4000 digits is described by its size."""
    assert Redactor().redact([10**5000, -(10**3000)]) == ["[integer of 16610 bits]", -(10**3000)]


def test_a_hostile_object_is_only_described() -> None:
    """No method or attribute of an unknown object is used, as value or as key."""
    assert Redactor().redact([Trap()]) == [f"<{__name__}.Trap>"]
    assert describe_type(Trap()) == f"<{__name__}.Trap>"
    assert read_text(Trap()) == f"<{__name__}.Trap>"


def test_a_class_with_an_odd_module_is_described_without_it() -> None:
    """A ``__module__`` that is no text is left out."""
    assert describe_type(type("Odd", (), {"__module__": 3})()) == "<Odd>"


def test_members_of_members_are_followed_a_few_steps() -> None:
    """An enumeration of members of another gives the innermost value, within reason."""
    member: Any = "x"
    for step in range(6):
        if step == 4:
            assert read_leaf(member, 9) == ("x", 0)
        member = enum.Enum(f"Step{step}", {"A": member})["A"]
    assert read_leaf(member, 9)[0].startswith("<")


def test_wide_bytes_are_cut_by_their_size() -> None:
    """Bytes of wide characters keep to the cap as well."""
    shown = Redactor().redact("ä".encode() * 9000)
    assert 7000 < len(shown.encode()) <= 8000
    assert shown.startswith("<bytes of 18000> ää")


def test_long_bytes_are_read_in_part_and_counted() -> None:
    """Of long bytes only what may be shown is decoded; the rest is counted."""
    leaf, unread = read_leaf(b"x" * 1_000_000, 100)
    assert len(leaf) < 700
    assert unread == 1_000_000 - 612
    shown = Redactor(RedactionPolicy(max_string_bytes=100)).redact(b"password=abc " + b"x " * 9000)
    assert shown.startswith("<bytes of 18013> password=[REDACTED] x x")
    assert shown.endswith("more bytes truncated]")
