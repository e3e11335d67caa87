"""Readers of values that may be anything."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, Status, StatusCode, TraceFlags

from z4j_otel.events import SpanIds
from z4j_otel.exporter import attributes


class LoudText(str):
    """A string that shows whether its own code runs."""

    __slots__ = ()

    def __len__(self):
        raise AssertionError("ran the value's code")

    __bool__ = isdecimal = __float__ = __len__


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), ("", None), (1, None), (b"a", None), (None, None)],
)
def test_text(value, expected):
    """Only a non-empty string is text."""
    assert attributes.text({"n": value}, "n") == expected


def test_no_code_of_a_value_runs():
    """A value of a subclass of str is read without calling it."""
    values = {"n": LoudText("3")}
    assert type(attributes.text(values, "n")) is str
    assert attributes.identifier(values, "n") == "3"
    assert attributes.number(values, "n") == 3
    assert attributes.seconds(values["n"]) == 3.0


def test_text_takes_the_first_name_that_has_some():
    """Newer names win, older ones stand in."""
    assert attributes.text({"old": "a", "new": ""}, "new", "old") == "a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("id", "id"),
        (12, "12"),
        ("x" * 201, None),
        (2**64, None),
        (True, None),
        (["id"], None),
        ("", None),
    ],
)
def test_identifier(value, expected):
    """An id is a string of at most 200 characters or an integer of OTLP's size."""
    assert attributes.identifier({"n": value}, "n") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        ("3", 3),
        (-1, None),
        (10**9, None),
        ("1" * 10, None),
        ("x", None),
        (True, None),
        (1.0, None),
        (None, None),
    ],
)
def test_number(value, expected):
    """A count is a small non-negative integer, as number or digits."""
    assert attributes.number({"n": value}, "n") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        ("1.5", 1.5),
        ("", None),
        (None, None),
        ("x", None),
        (0, None),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ([1], None),
    ],
)
def test_seconds(value, expected):
    """A duration is a positive finite number, as number or text."""
    assert attributes.seconds(value) == expected


def test_span_ids(make_span):
    """Ids, parent and sampling flag are read from the span's context."""
    context = SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(0))
    parent = SpanContext(5, 4, is_remote=True)
    span = make_span(context=context, parent=parent)
    assert attributes.span_ids(span) == SpanIds(5, 6, 4, is_sampled=False)


@pytest.mark.parametrize("context", [None, INVALID_SPAN_CONTEXT])
def test_span_ids_without_a_valid_context(make_span, context):
    """A span without ids of its own gives none; an invalid parent counts as no parent."""
    assert attributes.span_ids(make_span(context=context)) is None
    ids = attributes.span_ids(make_span(parent=context))
    assert ids is not None
    assert ids.parent_span_id == 0


def test_span_failure_reads_the_last_exception(make_span):
    """The exception that ended the span is its last one; error.type fills in for a type."""
    events = [
        Event("exception", {"exception.message": "first"}),
        Event("exception", {"exception.message": "last", "exception.stacktrace": "tb"}),
        Event("other"),
    ]
    failure = attributes.span_failure(make_span(events=events), {"error.type": "Boom"})
    assert failure == ("Boom", "last", "tb")


def test_span_failure_without_exception_reads_the_status(make_span):
    """The status description is what remains."""
    span = make_span(status=Status(StatusCode.ERROR, "gone"))
    assert attributes.span_failure(span, {}) == (None, "gone", None)
