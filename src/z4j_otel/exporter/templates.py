"""Events of one shape, written once: what a task's own thread pays for an event.

Theory of operation
    Events of one kind of one task differ in a few values: ids, times, the details. The
    first one is encoded with a marker in each of these places, canonically like any other,
    and the bytes between the markers are kept. Every later one is these bytes with its own
    values in between: a third of the price of building and encoding an object, for the
    same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, TypeAlias

from z4j_otel.clock import iso_parts
from z4j_otel.events import LifecycleRecord, SpanIds, TaskFacts
from z4j_otel.ids import new_boot_id
from z4j_otel.translation import translate
from z4j_otel.wire import canonical

__all__ = ["EncodedIds", "EventTemplate", "encode_span", "shape_of"]

_MARK: Final = f"{new_boot_id()}:{{}}"
"""Nobody can guess it, so no name of an application looks like it."""
_ENCODED_MARK: Final = re.compile(rb'"%b(\d+)"' % _MARK.format("").encode())
_FIXED: Final = {
    "id": (b'"%b"', (0,)),
    "mono_ns": (b"%d", (1,)),
    "occurred_at": (b'"%b.%06d+00:00"', (2, 3)),
    "task_id": (b"%b", (4,)),
    "trace_id": (b"%b", (5,)),
    "span_id": (b"%b", (6,)),
    "parent_span_id": (b"%b", (7,)),
    "trace_sampled": (b"%b", (8,)),
    "attempt": (b"%d", (9,)),
}
"""What every event may have, how it is written, and which of the values that ``fill`` gives
it takes."""
_FORMS: Final = tuple(_FIXED.values())
_FIRST_DETAIL: Final = 10
"""The details follow; their bytes are complete."""
EncodedSpan: TypeAlias = tuple[bytes, bytes, bytes, bytes]
"""A span's ids as JSON: trace, span, parent, and whether it is sampled."""
EncodedIds: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes]
"""A task's id as JSON, and its span's."""
_NO_SPAN: Final[EncodedSpan] = (b"", b"", b"", b"")


def shape_of(record: LifecycleRecord, keys: Iterable[str]) -> tuple[object, ...]:
    """Return what events must have in common to share a template.

    Args:
        record: What was observed.
        keys: Which of its details are told, in this order.
    """
    facts, span = record.facts, record.span
    return (
        record.kind,
        facts.engine,
        facts.task_name,
        facts.queue,
        facts.worker,
        span is not None and (2 if span.parent_span_id else 1),
        *keys,
    )


def encode_span(span: SpanIds | None) -> EncodedSpan:
    """Return what :meth:`EventTemplate.fill` writes of a span; the same for all its records."""
    if span is None:
        return _NO_SPAN
    return (
        b'"%032x"' % span.trace_id,
        b'"%016x"' % span.span_id,
        b'"%016x"' % span.parent_span_id,
        b"true" if span.is_sampled else b"false",
    )


class EventTemplate:
    """The constant bytes of the events of one shape, and what goes between them."""

    __slots__ = ("_form", "_pick")

    def __init__(
        self, record: LifecycleRecord, keys: Iterable[str], shared: dict[str, Any]
    ) -> None:
        """Take a first record of the shape.

        Args:
            record: Any record of the shape.
            keys: Which of its details are told.
            shared: What all events of its task, queue and worker have alike, redacted.
        """
        has_parent = record.span is not None and record.span.parent_span_id
        span = record.span and SpanIds(1, 1, 1 if has_parent else 0)
        facts = TaskFacts(record.facts.engine, "", record.facts.task_name)
        marks = {key: _MARK.format(len(_FIXED) + place) for place, key in enumerate(keys)}
        event = translate(
            LifecycleRecord(record.kind, facts, 0, {}, span),
            event_id="",
            shared=shared,
            details=marks,
        )
        event["mono_ns"] = 0
        for place, key in enumerate(_FIXED):
            for part in (event, event["data"]):
                if key in part:
                    part[key] = _MARK.format(place)
        places: list[int] = []

        def replace(mark: re.Match[bytes]) -> bytes:
            place = int(mark[1])
            if place >= len(_FORMS):
                places.append(place - len(_FORMS) + _FIRST_DETAIL)
                return b"%b"
            form, values = _FORMS[place]
            places.extend(values)
            return form

        self._form = _ENCODED_MARK.sub(replace, canonical.encode(event).replace(b"%", b"%%"))
        self._pick = itemgetter(*places)

    def fill(
        self,
        record: LifecycleRecord,
        event_id: bytes,
        mono_ns: int,
        ids: EncodedIds,
        details: Sequence[bytes],
    ) -> bytes:
        """Return the canonical bytes of a record's event.

        Args:
            record: A record of this shape.
            event_id: The event's own id, a version 4 UUID.
            mono_ns: The machine's monotonic clock, see :func:`~z4j_otel.translation.without_mono`.
            ids: The task's id as a JSON string, as it may leave the process, and what
                :func:`encode_span` returned for the record's span.
            details: The values of the record's details, redacted and canonically encoded, in
                the order of their keys.
        """
        second, micros = iso_parts(record.occurred_at_ns)
        values: tuple[object, ...] = (
            event_id,
            mono_ns,
            second.encode(),
            micros,
            *ids,
            record.facts.attempt,
            *details,
        )
        written: bytes = self._form % self._pick(values)
        return written
