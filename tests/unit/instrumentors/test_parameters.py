"""Reading of command parameters."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.errors import CommandRefused
from z4j_otel.instrumentors.parameters import (
    read_array,
    read_eta_s,
    read_object,
    read_priority_label,
    read_task_id,
    read_text,
    require_text,
)

NOW_NS = 1_800_000_000 * 10**9
READERS = (
    lambda p: read_text(p, "value"),
    lambda p: read_array(p, "value"),
    lambda p: read_object(p, "value"),
    lambda p: read_eta_s({"eta": p["value"]}, now_ns=NOW_NS),
    lambda p: read_priority_label({"priority": p["value"]}),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_any_value_is_read_or_refused(value):
    """Whatever the wire brings, a reader returns or refuses, and raises nothing else."""
    for read in READERS:
        with suppress(CommandRefused):
            read({"value": value})


def test_missing_values_are_none():
    """What is not there reads as None everywhere but where it is required."""
    assert [read({"value": None}) for read in READERS] == [None] * len(READERS)
    with pytest.raises(CommandRefused, match="name is missing"):
        require_text({}, "name")


@pytest.mark.parametrize("value", ["", "x" * 256, "a\nb", "a\x00", 7, ["a"], True])
def test_bad_texts_are_refused(value):
    """A text has 1 to 255 printable characters."""
    with pytest.raises(CommandRefused, match=r"^refused: name must"):
        require_text({"name": value}, "name")


def test_task_id_is_bounded():
    """A task id has at most the 200 characters of the wire."""
    assert read_task_id({"task_id": "x" * 200}) == "x" * 200
    with pytest.raises(CommandRefused, match="1 to 200"):
        read_task_id({"task_id": "x" * 201})


def test_objects_are_returned_untouched():
    """Lists and objects come back as the very same objects."""
    array, mapping = [1, {"a": None}], {"b": [2]}
    assert read_array({"value": array}, "value") is array
    assert read_object({"value": mapping}, "value") is mapping
    with pytest.raises(CommandRefused, match="texts as keys"):
        read_object({"value": {1: 2}}, "value")


@pytest.mark.parametrize(
    ("ahead_s", "expected"),
    [(-60.0, None), (0.0, None), (1.0, 1_800_000_001.0), (365 * 86_400, 1_831_536_000.0)],
)
def test_eta_within_bounds_is_kept_or_means_now(ahead_s, expected):
    """An eta ahead is kept; one of the last minute means at once."""
    assert read_eta_s({"eta": 1_800_000_000 + ahead_s}, now_ns=NOW_NS) == expected


@pytest.mark.parametrize(
    "eta", [1_799_999_939, 1_831_536_001, math.inf, -math.inf, math.nan, True, "5", 10**400]
)
def test_eta_out_of_bounds_is_refused(eta):
    """An eta too long ago, too far ahead or no number is refused."""
    with pytest.raises(CommandRefused, match="eta must"):
        read_eta_s({"eta": eta}, now_ns=NOW_NS)


def test_priority_labels():
    """Normal is no choice; unknown labels are refused."""
    labels = ["critical", "high", "normal", "low"]
    read = [read_priority_label({"priority": label}) for label in labels]
    assert read == ["critical", "high", None, "low"]
    with pytest.raises(CommandRefused, match="critical, high, normal or low"):
        read_priority_label({"priority": "urgent"})
