"""Taking spans once, counting what is skipped, and touching the sink late."""

from __future__ import annotations

import logging

import pytest
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from z4j_otel import guard, sinks
from z4j_otel.exporter.intake import SpanIntake, TakenSpans
from z4j_otel.exporter.spans import SpanPart
from z4j_otel.exporter.task_span import SkipReason

TASK = {"messaging.message.id": "1", "celery.state": "SUCCESS"}


@pytest.fixture
def taken():
    """The memory of spans, as a process has it."""
    return TakenSpans()


@pytest.fixture
def intake(host, taken):
    """An intake of a configured process."""
    return SpanIntake({}, taken=taken)


def test_a_span_is_taken_once_by_two_intakes(intake, taken, sink, make_span):
    """The second one finds the span taken, and counts that."""
    span, other = make_span(TASK), SpanIntake({}, taken=taken)
    intake.take_end(span)
    other.take_end(span)
    assert sink.kinds() == ["received", "started", "succeeded"]
    assert (intake.emitted, other.emitted) == (3, 0)
    assert other.skipped == {SkipReason.ALREADY_TAKEN: 1}


def test_an_end_after_a_start_adds_the_rest(intake, taken, sink, make_span):
    """A start told by one intake is not told again by another one at the end."""
    span = make_span(TASK)
    intake.take_start(span)
    assert sink.kinds() == ["received", "started"]
    SpanIntake({}, taken=taken).take_end(span)
    assert sink.kinds() == ["received", "started", "succeeded"]


def test_a_start_that_tells_nothing_is_not_counted(intake, sink, make_span):
    """Most spans name no task at their start; the end tells it all."""
    span = make_span()
    intake.take_start(span)
    intake.take_end(make_span(TASK))
    assert intake.skipped == {}
    assert sink.kinds() == ["received", "started", "succeeded"]


def test_a_span_without_ids_is_always_taken(intake, sink, make_span):
    """What cannot be remembered is told."""
    for _ in range(2):
        intake.take_end(make_span(TASK, context=INVALID_SPAN_CONTEXT))
    assert sink.kinds() == ["received", "started", "succeeded"] * 2


def test_foreign_spans_open_no_sink(intake, host, make_span):
    """A process that runs no task never opens the sink."""
    intake.take_end(make_span({"db.system": "redis"}, scope="redis"))
    assert host.opened == []
    assert intake.skipped == {SkipReason.NOT_A_TASK: 1}


def test_settings_reach_the_host(host, taken, make_span):
    """Settings that were given are checked at once and passed on; None is not given."""
    intake = SpanIntake({"brain_url": "http://b", "token": None}, taken=taken)
    assert host.checked == [{"brain_url": "http://b"}]
    assert host.opened == []
    intake.take_end(make_span(TASK))
    assert host.opened == [{"brain_url": "http://b"}]


def test_without_a_sink_spans_are_counted_and_warned_of_once(intake, host, make_span, caplog):
    """A process without configuration says so once."""
    host.given = None
    with caplog.at_level(logging.WARNING):
        intake.take_end(make_span(TASK))
        intake.take_end(make_span(TASK))
    assert intake.skipped == {SkipReason.NO_SINK: 2}
    assert len(caplog.records) == 1
    assert "not configured" in caplog.text


def test_a_hostile_span_is_counted(intake, make_span, sink):
    """A span that cannot be read is counted, and nothing is raised."""
    before = guard.failures.get("reading a span", 0)
    span = make_span(TASK, name=object())
    intake.take_end(span)
    intake.take_start(span)
    assert intake.skipped == {SkipReason.MALFORMED: 1}
    assert guard.failures["reading a span"] == before + 2
    assert sink.records == []


def test_a_disabled_sdk_disables_the_intake(monkeypatch, host, make_span, sink):
    """OTEL_SDK_DISABLED silences all of it, the check of settings included."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    intake = SpanIntake({"token": "x"})
    intake.take_end(make_span(TASK))
    intake.take_start(make_span(TASK))
    assert (sink.records, host.checked, intake.is_enabled) == ([], [], False)


def test_flush_waits_only_where_something_was_told(intake, sink, make_span):
    """An idle process, a forked child for example, has nothing to flush."""
    assert intake.flush(2.0) is True
    assert sink.flushes == []
    intake.take_end(make_span(TASK))
    assert intake.flush(2.0) is True
    assert sink.flushes == [2.0]


def test_flush_tells_what_the_sink_tells(intake, sink, make_span):
    """A sink that did not finish says so; one without a flush has nothing to wait for."""
    intake.take_end(make_span(TASK))
    sink.flush = lambda timeout_s: False
    assert intake.flush(2.0) is False
    del sink.flush
    assert intake.flush(2.0) is True


def test_a_host_without_a_check_accepts_all(taken):
    """A host need not judge settings."""
    sinks.set_opener(object)
    try:
        assert SpanIntake({"token": "x"}, taken=taken).is_enabled
    finally:
        sinks.set_opener(None)


def test_memory_of_spans_is_bounded():
    """At least one generation is remembered, at most two."""
    taken = TakenSpans(generation_spans=2)
    for start in range(6):
        taken.put((1, 1, start), SpanPart.WHOLE)
    assert [taken.get((1, 1, start)) is not None for start in range(6)] == [False] * 2 + [True] * 4
