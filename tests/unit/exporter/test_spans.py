"""The records of recorded and made-up spans."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from z4j_otel.events import LifecycleRecord
from z4j_otel.exporter.spans import SpanPart, map_span
from z4j_otel.exporter.task_span import SkipReason

RUN = "sent received started"
# One line per task, in the order of their first record: kind[:cause][@attempt] ...
CELERY = {
    "add": [f"{RUN} succeeded"],
    "fail": [f"{RUN} failed:exception"],
    "fail_expected": [f"{RUN} failed:exception"],
    "retry_then_ok": [
        f"{RUN} sent retried received@1 started@1 sent retried@1 received@2 started@2 succeeded@2"
    ],
    "retry_exhaust": [f"{RUN} sent retried received@1 started@1 failed:exception@1"],
    "ignored": [f"{RUN} succeeded"],
    "rejected": [f"{RUN} rejected failed:rejected"],
    "eta": [f"{RUN} succeeded"],
    "chain": [f"{RUN} succeeded"] * 3,
    "group": [f"{RUN} succeeded"] * 2,
    "chord": [f"{RUN} succeeded"] * 3,
    "chord_fail": [f"{RUN} succeeded", f"{RUN} failed:exception"],
    "nested": [f"{RUN} succeeded", f"{RUN} succeeded", "received started succeeded"],
    "link_callback": [f"{RUN} succeeded"] * 2,
    "replace": [f"{RUN} sent succeeded received started succeeded"],
    "soft_limit": [f"{RUN} failed:soft_time_limit"],
    "hard_limit": [f"{RUN} failed:time_limit"],
    "worker_lost": ["sent"],
    "eager_apply": ["received started succeeded"],
    "send_task_known": [f"{RUN} succeeded"],
    "send_task_unknown": ["sent"],
    "expired": ["sent"],
    "revoke_before": ["sent"],
    "revoke_terminate": [f"{RUN} failed:worker_lost"],
}
RQ_FAILURE = "failed:exception failed"
OTHERS = {
    "rq": {
        "ok": [f"{RUN} succeeded"],
        "fail": [f"{RUN} {RQ_FAILURE}"],
        "callbacks": [f"{RUN} succeeded"],
        "scheduled": ["sent sent received started succeeded"],
        "killed": ["sent failed"],
        "stopped": ["sent failed"],
        "canceled": ["sent"],
    },
    "dramatiq": {"ok": [RUN], "fail": [RUN], "retry": [RUN + " received started" * 2]},
    "arq": {
        "ok": [f"{RUN} succeeded"],
        "fail": [f"{RUN} failed:exception"],
        "retry": [f"{RUN} retried received@1 started@1 retried@1 received@2 started@2 succeeded@2"],
        "dup": [f"{RUN} succeeded"],
        "unknown": ["sent"],
        "abort": [RUN],
    },
    "taskiq": {"ok": ["sent"], "fail": ["sent"], "retry": ["sent sent@1"]},
}


def word(record: LifecycleRecord) -> str:
    """Write a record as ``kind[:cause][@attempt]``."""
    cause, attempt = record.details.get("cause"), record.facts.attempt
    return (
        record.kind.value.removeprefix("task.")
        + (f":{cause}" if cause else "")
        + (f"@{attempt}" if attempt else "")
    )


@pytest.fixture(scope="module")
def stories(recorded):
    """Map all spans of an engine: scenario to task id to records, by time."""

    def tell(engine):
        told = defaultdict(lambda: defaultdict(list))
        for scenario, span in recorded(engine):
            for record in map_span(span).records:
                told[scenario][record.facts.task_id].append(record)
        for tasks in told.values():
            for records in tasks.values():
                records.sort(key=lambda record: record.occurred_at_ns)
        return told

    return {engine: tell(engine) for engine in ("celery", *OTHERS)}


def lines(tasks) -> list[str]:
    """Write each task's records on one line."""
    return sorted(" ".join(map(word, records)) for records in tasks.values())


@pytest.mark.parametrize("scenario", CELERY)
def test_celery_scenario(stories, scenario):
    """Each recorded Celery scenario gives the records its spans can prove."""
    assert lines(stories["celery"][scenario]) == sorted(CELERY[scenario])


def test_every_celery_scenario_has_an_expectation(recorded):
    """The table above covers the recording."""
    assert {scenario for scenario, _ in recorded("celery")} == set(CELERY)


@pytest.mark.parametrize(
    ("engine", "scenario"), [(engine, name) for engine in OTHERS for name in OTHERS[engine]]
)
def test_other_engine_scenario(stories, engine, scenario):
    """Spans of other engines' instrumentations give what their attributes carry."""
    tasks = stories[engine][scenario]
    assert lines(tasks) == sorted(OTHERS[engine][scenario])
    assert {r.facts.engine for records in tasks.values() for r in records} == {engine}


def test_records_of_a_success(stories):
    """Ids, names, times and duration come from the span."""
    ((task_id, records),) = stories["celery"]["add"].items()
    sent, received, _, succeeded = records
    facts = succeeded.facts
    assert (facts.task_id, facts.task_name, facts.queue) == (task_id, "tasks.add", "qmain")
    assert succeeded.occurred_at_ns - received.occurred_at_ns == 8_886_903
    assert succeeded.details == {"runtime_ms": 8}
    assert sent.span.trace_id == succeeded.span.trace_id
    assert sent.span.span_id == succeeded.span.parent_span_id
    assert succeeded.span.is_sampled


def test_the_publishers_name_is_no_worker(stories):
    """``celery.hostname`` is the publisher's origin and is never told as the worker."""
    tasks = [task for scenario in stories["celery"].values() for task in scenario.values()]
    assert {record.facts.worker for records in tasks for record in records} == {None}


def test_a_failure_tells_its_exception(stories):
    """The exception event becomes exception, type and traceback."""
    (records,) = stories["celery"]["fail_expected"].values()
    details = records[-1].details
    assert details["exception"] == "Expected: known"
    assert details["exception_type"] == "Expected"
    assert details["traceback"].endswith("tasks.Expected: known\n")


def test_a_retry_tells_count_and_reason(stories):
    """The first retry has the retry count 1."""
    (records,) = stories["celery"]["retry_then_ok"].values()
    retries = [record.details for record in records if word(record).startswith("retried")]
    assert [details["retry_count"] for details in retries] == [1, 2]
    assert retries[0]["reason"] == "Retry in 0.2s: RuntimeError('try 0')"


def test_a_retry_by_exception_takes_its_reason_from_it(stories):
    """An arq Retry is an error of the span; it becomes a retry with a reason."""
    (records,) = stories["arq"]["retry"].values()
    assert records[3].details["reason"] == "Retry: <Retry defer 0.20s>"
    assert "arq.worker.Retry" in records[3].details["traceback"]


def test_eta_and_eager_are_told(stories):
    """Arrival carries the ETA; every record of an eager run says so."""
    (eta,) = stories["celery"]["eta"].values()
    assert eta[1].details == {"eta": "2026-11-20T17:48:40.526050+00:00"}
    (eager,) = stories["celery"]["eager_apply"].values()
    assert all(record.details["eager"] is True for record in eager)


def test_ignored_is_a_success_that_says_so(stories):
    """A task that raised Ignore is over, and its state is told."""
    (records,) = stories["celery"]["ignored"].values()
    assert records[-1].details["celery_state"] == "IGNORED"


def test_a_start_gives_the_beginning_of_a_run_only(make_span):
    """Of a running process span, received and started are known; of a send span, nothing."""
    attributes = {"messaging.system": "kafka", "messaging.message.id": "1"}
    run = make_span(attributes, scope="any", end_time=None)
    send = make_span(attributes, scope="any", end_time=None, kind=SpanKind.PRODUCER)
    assert [word(r) for r in map_span(run, SpanPart.START).records] == ["received", "started"]
    assert map_span(send, SpanPart.START).records == ()


def test_an_end_gives_what_the_start_did_not(make_span):
    """After a start was told, only the end is left."""
    span = make_span({"messaging.message.id": "1", "celery.state": "SUCCESS"})
    assert [word(r) for r in map_span(span, SpanPart.END).records] == ["succeeded"]


def test_a_failed_send_is_no_task(make_span):
    """A producer span with an error tells of no task."""
    span = make_span({"messaging.message.id": "1"}, name="apply_async/t", status=StatusCode.ERROR)
    assert map_span(span) == ((), SkipReason.NOT_SENT)


def test_an_unended_span_is_skipped(make_span):
    """An exporter never tells of a span without an end."""
    span = make_span({"messaging.message.id": "1"}, end_time=None)
    assert map_span(span) == ((), SkipReason.NOT_ENDED)


@pytest.mark.parametrize("time", [None, 0, -1, 1.5, 253_402_300_800 * 10**9])
def test_a_time_that_is_none_is_malformed(make_span, time):
    """A span whose start is no time gives nothing."""
    span = make_span({"messaging.message.id": "1"}, start_time=time)
    assert map_span(span) == ((), SkipReason.MALFORMED)


def test_an_end_before_the_start_is_moved(make_span):
    """A clock that went back gives a run of no duration."""
    span = make_span({"messaging.message.id": "1", "celery.state": "SUCCESS"}, end_time=5)
    assert map_span(span).records[-1].details == {"runtime_ms": 0}


@pytest.mark.parametrize(
    ("error_type", "description", "text"),
    [
        ("pkg.Boom", None, "Boom"),
        ("pkg.Boom", "no stock", "Boom: no stock"),
        ("Boom", "Boom: no stock", "Boom: no stock"),
        (None, "no stock", "no stock"),
        (None, None, "error"),
    ],
)
def test_exception_text(make_span, error_type, description, text):
    """Without an exception event, error.type and the status make the text."""
    attributes = {"messaging.message.id": "1", "celery.state": "FAILURE"}
    if error_type:
        attributes["error.type"] = error_type
    span = make_span(attributes, status=Status(StatusCode.ERROR, description))
    assert map_span(span).records[-1].details["exception"] == text


ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.one_of(st.none(), st.text(), st.integers(), st.floats()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["run", "apply_async", "send", "process", "RETRY", "FAILURE", "1", "\ud800"]),
)
NAMES = [
    *["celery.action", "celery.state", "celery.task_name", "celery.retries", "celery.eta"],
    *["celery.timelimit", "celery.delivery_info", "celery.retry.reason", "celery.hostname"],
    *["messaging.message.id", "messaging.system", "messaging.operation.type"],
    *["messaging.operation.name", "messaging.destination", "messaging.client.id"],
    *["rq.job.id", "arq.job.id", "arq.job.try", "message_id", "actor_name"],
    *["taskiq.action", "taskiq._retries", "error.type", "z4j.captured", "z4j.task.attempt"],
]
SCOPES = [
    "opentelemetry.instrumentation.celery",
    "opentelemetry_instrumentation_rq.instrumentor",
    "opentelemetry_instrumentor_dramatiq.src",
    "opentelemetry.instrumentation.arq",
    "taskiq.middlewares.opentelemetry_middleware",
    "other",
]
TOLD = st.dictionaries(st.sampled_from(["exception.type", "exception.message"]), ANY_VALUE)
ANY_SPAN = st.builds(
    ReadableSpan,
    name=st.text(),
    context=st.just(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0))),
    resource=st.just(Resource({})),
    attributes=st.dictionaries(st.sampled_from(NAMES), ANY_VALUE, max_size=12),
    events=st.lists(st.builds(Event, st.sampled_from(["exception", "other"]), TOLD), max_size=2),
    kind=st.sampled_from(SpanKind),
    status=st.builds(Status, st.sampled_from(StatusCode)),
    start_time=st.integers(min_value=-1),
    end_time=st.none() | st.integers(min_value=-1),
    instrumentation_scope=st.builds(InstrumentationScope, st.sampled_from(SCOPES)),
)


@given(span=ANY_SPAN, part=st.sampled_from(SpanPart))
def test_no_attribute_value_raises(span, part):
    """Whatever a span holds, mapping returns, and ids and counts stay in their bounds."""
    for record in map_span(span, part).records:
        assert 0 < len(record.facts.task_id) <= 200
        assert 0 <= record.facts.attempt < 10**9
        assert record.occurred_at_ns > 0
