"""Reading spans that others made: every value is checked before it is believed.

A span comes from any library, in any version, and an attribute may hold anything. These
readers return None for what is missing, empty, oversized or of another type; they run no
code of the value's own class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan

from z4j_otel.events import SpanIds

__all__ = ["SpanFailure", "identifier", "number", "seconds", "span_failure", "span_ids", "text"]

_MAX_ID_CHARS: Final = 200
"""A longer id would be cut, and two cut ids could meet (PROTOCOL §5.1)."""
_MAX_DIGITS: Final = 9
_MAX_INT_BITS: Final = 64
"""The integers of OTLP."""


class SpanFailure(NamedTuple):
    """What a span says of the error that ended it."""

    type_name: str | None
    """The exception's class as the instrumentation wrote it, often with its module."""
    message: str | None
    traceback: str | None


def _exact(value: object) -> str | None:
    # An exact str runs none of its own code; Celery's states are of a subclass, for example.
    return str.__str__(value) if isinstance(value, str) else None


def text(attributes: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of these attributes that is a non-empty string."""
    for name in names:
        value = _exact(attributes.get(name))
        if value:
            return value
    return None


def identifier(attributes: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of these attributes that can identify a task, 200 characters at most."""
    for name in names:
        value = attributes.get(name)
        if type(value) is int and value.bit_length() <= _MAX_INT_BITS:
            return str(value)
        exact = _exact(value)
        if exact and len(exact) <= _MAX_ID_CHARS:
            return exact
    return None


def number(attributes: Mapping[str, Any], name: str) -> int | None:
    """Return an attribute that is a count, written as a number or as digits."""
    value = attributes.get(name)
    if type(value) is int:
        return value if 0 <= value < 10**_MAX_DIGITS else None
    exact = _exact(value)
    if exact and len(exact) <= _MAX_DIGITS and exact.isdecimal():
        return int(exact)
    return None


def seconds(value: object) -> float | None:
    """Return a positive duration written as a number or as text, or None."""
    plain = value if isinstance(value, int | float) else _exact(value)
    try:
        duration_s = float(plain or 0)
    except (ValueError, OverflowError):
        return None
    # False for NaN too.
    return duration_s if 0 < duration_s < float("inf") else None


def span_ids(span: ReadableSpan) -> SpanIds | None:
    """Return the span's own ids, or None when it has none that are valid."""
    context = span.get_span_context()
    if context is None or not context.is_valid:
        return None
    parent = span.parent
    return SpanIds(
        trace_id=context.trace_id,
        span_id=context.span_id,
        parent_span_id=parent.span_id if parent is not None and parent.is_valid else 0,
        is_sampled=bool(context.trace_flags.sampled),
    )


def span_failure(span: ReadableSpan, attributes: Mapping[str, Any]) -> SpanFailure:
    """Return what the span tells of its error: its last exception, else its status.

    Exceptions as span events are deprecated in OpenTelemetry, so their absence is usual.
    """
    description = span.status.description
    message = description if isinstance(description, str) and description else None
    for event in reversed(span.events):
        if event.name == "exception":
            told: Mapping[str, Any] = event.attributes or {}
            return SpanFailure(
                text(told, "exception.type") or text(attributes, "error.type"),
                text(told, "exception.message") or message,
                text(told, "exception.stacktrace"),
            )
    return SpanFailure(text(attributes, "error.type"), message, None)
