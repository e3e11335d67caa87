"""Templates write the bytes that encoding the whole event would."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.events import EventKind, LifecycleRecord, SpanIds, TaskFacts
from z4j_otel.exporter.templates import EventTemplate, encode_span, shape_of
from z4j_otel.translation import shared_data, translate
from z4j_otel.wire import canonical

texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
spans = st.builds(
    SpanIds,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
)
records = st.builds(
    LifecycleRecord,
    st.sampled_from(EventKind),
    st.builds(
        TaskFacts, texts, texts, texts, st.none() | texts, st.none() | texts, st.integers(0, 99)
    ),
    st.integers(0, 2**62),
    st.dictionaries(texts | st.sampled_from(["attempt", "queue", "result"]), json_values),
    st.none() | spans,
)


def whole(record: LifecycleRecord, shared: dict[str, Any]) -> bytes:
    """Encode an event without a template."""
    event = translate(record, event_id="an-id", shared=shared, details=record.details)
    return canonical.encode({**event, "mono_ns": 12345})


@given(record=records, later=st.tuples(json_values, spans, st.integers(0, 9)))
def test_a_template_writes_what_the_encoder_writes(record: LifecycleRecord, later: Any) -> None:
    """The first record of a shape and every later one get their canonical bytes."""
    shared = shared_data(record.facts, common={"environment": "100 %d"}, name=str)
    template = EventTemplate(record, record.details, shared)
    value, later_span, attempt = later
    parent = record.span.parent_span_id if record.span is not None else 0
    facts = record.facts
    other = LifecycleRecord(
        record.kind,
        TaskFacts(facts.engine, facts.task_id, facts.task_name, facts.queue, facts.worker, attempt),
        record.occurred_at_ns + 1,
        dict.fromkeys(record.details, value),
        record.span
        and SpanIds(later_span.trace_id, later_span.span_id, parent, later_span.is_sampled),
    )
    for told in (record, other):
        ids = (canonical.encode(facts.task_id), *encode_span(told.span))
        details = [canonical.encode(each) for each in told.details.values()]
        written = template.fill(told, b"an-id", 12345, ids, details)
        assert written == whole(told, shared)
        assert shape_of(told, told.details) == shape_of(record, record.details)


@given(one=records, other=records)
def test_records_of_one_shape_have_the_same_constant_parts(
    one: LifecycleRecord, other: LifecycleRecord
) -> None:
    """What differs between two kinds of event is part of the shape."""
    constant = [
        (r.kind, r.facts.engine, r.facts.task_name, r.facts.queue, r.facts.worker, list(r.details))
        for r in (one, other)
    ]
    if shape_of(one, one.details) == shape_of(other, other.details):
        assert constant[0] == constant[1]
