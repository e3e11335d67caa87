"""The ends of runs that nobody lived to tell."""

from __future__ import annotations

from z4j_otel.agent.lost_runs import ending_of
from z4j_otel.agent.story import Run
from z4j_otel.events import EventKind, SpanIds


def lost_run(*, is_redelivered: bool = False, span_id: str = "b" * 16) -> Run:
    """Return a run as its start told it."""
    return Run(
        source="life",
        attempt=2,
        started_ns=100,
        mono_ns=5,
        pid=7,
        worker="w@host",
        task_name="shop.add",
        queue="orders",
        trace_id="a" * 32,
        span_id=span_id,
        parent_span_id="c" * 16,
        is_sampled=True,
        is_redelivered=is_redelivered,
    )


def test_a_lost_run_failed() -> None:
    """Who, where, why, and in which span."""
    record = ending_of("celery/t/1", lost_run(), 200, is_repeated=False)
    assert record.kind is EventKind.TASK_FAILED
    assert record.facts.task_id == "t/1"
    assert (record.facts.attempt, record.occurred_at_ns) == (2, 200)
    assert record.span == SpanIds(int("a" * 32, 16), int("b" * 16, 16), int("c" * 16, 16), True)
    assert record.details["cause"] == "worker_lost"
    assert (record.details["pid"], record.details["inferred"]) == (7, True)


def test_a_lost_run_whose_message_comes_again_is_retried() -> None:
    """By what its start said, or because it has come already."""
    for run, is_repeated in ((lost_run(is_redelivered=True), False), (lost_run(), True)):
        record = ending_of("celery/t1", run, 200, is_repeated=is_repeated)
        assert record.kind is EventKind.TASK_RETRIED
        assert record.details["retry_count"] == 3


def test_an_end_is_never_before_its_start() -> None:
    """The last sign of life may be older than the start."""
    record = ending_of("celery/t1", lost_run(span_id=""), 1, is_repeated=False)
    assert (record.occurred_at_ns, record.span) == (100, None)
