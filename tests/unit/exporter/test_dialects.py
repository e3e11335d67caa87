"""What spans of other engines and of the messaging conventions are read as."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import Event
from opentelemetry.trace import SpanKind, StatusCode

from z4j_otel.exporter.dialects import read_task_span
from z4j_otel.exporter.task_span import Outcome, Role, SkipReason

MESSAGE = {"messaging.system": "kafka", "messaging.message.id": "m1"}


def generic(make_span, attributes, **given):
    """Read a span of an instrumentation that nobody here knows."""
    return read_task_span(make_span(MESSAGE | attributes, **({"scope": "any"} | given)))


@pytest.mark.parametrize(
    ("attributes", "kind", "role"),
    [
        ({"messaging.operation.type": "send"}, SpanKind.PRODUCER, Role.SEND),
        ({"messaging.operation.type": "create"}, SpanKind.PRODUCER, Role.SEND),
        ({"messaging.operation": "publish"}, SpanKind.INTERNAL, Role.SEND),
        ({"messaging.operation.type": "process"}, SpanKind.CONSUMER, Role.PROCESS),
        ({"messaging.operation": "deliver"}, SpanKind.SERVER, Role.PROCESS),
        ({}, SpanKind.PRODUCER, Role.SEND),
        ({}, SpanKind.CONSUMER, Role.PROCESS),
    ],
)
def test_role_in_the_conventions(make_span, attributes, kind, role):
    """The operation decides, in its new and old names; without one the kind does."""
    assert generic(make_span, attributes, kind=kind).role is role


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"messaging.operation.type": "receive"}, SpanKind.CLIENT),
        ({"messaging.operation.type": "settle"}, SpanKind.CLIENT),
        ({"messaging.operation.type": "process"}, SpanKind.CLIENT),
        ({"messaging.system": "  "}, SpanKind.CONSUMER),
        ({}, SpanKind.INTERNAL),
    ],
)
def test_messaging_spans_that_run_no_task(make_span, attributes, kind):
    """Receiving and settling are not runs, nor is a process span of a client."""
    assert generic(make_span, attributes, kind=kind) is SkipReason.NOT_A_TASK


def test_facts_in_current_names(make_span):
    """Queue, worker, name and attempt are read from the current names."""
    attributes = {
        "messaging.system": "AWS SQS!",
        "messaging.destination.name": "q",
        "messaging.client.id": "w1",
        "z4j.task.name": "t",
        "z4j.task.attempt": 2,
    }
    facts = generic(make_span, attributes).facts
    assert (facts.engine, facts.task_id, facts.task_name) == ("aws-sqs", "m1", "t")
    assert (facts.queue, facts.worker, facts.attempt) == ("q", "w1", 2)


def test_facts_in_older_names(make_span):
    """Older names work too, and the destination stands in for a task name."""
    attributes = {
        "messaging.system": "rabbitmq",
        "messaging.message_id": "m2",
        "messaging.destination": "q",
        "messaging.consumer_id": "w2",
    }
    facts = read_task_span(make_span(attributes, scope="any")).facts
    assert (facts.task_id, facts.task_name, facts.worker) == ("m2", "q", "w2")


def test_a_sender_is_no_worker(make_span):
    """The client of a send span is not where the task runs."""
    task = generic(make_span, {"messaging.client.id": "web"}, kind=SpanKind.PRODUCER)
    assert task.facts.worker is None


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (StatusCode.UNSET, Outcome.SUCCEEDED),
        (StatusCode.OK, Outcome.SUCCEEDED),
        (StatusCode.ERROR, Outcome.FAILED),
    ],
)
def test_status_in_the_conventions(make_span, status, outcome):
    """The conventions leave a success unset."""
    assert generic(make_span, {}, status=status).outcome is outcome


def test_spans_to_leave_alone(make_span):
    """Captured tasks, stand-ins, other spans and messages without an id are told apart."""
    assert generic(make_span, {"z4j.captured": True}) is SkipReason.CAPTURED
    pending = {"logfire.span_type": "pending_span"}
    assert generic(make_span, pending) is SkipReason.NOT_ENDED
    assert generic(make_span, {"messaging.message.id": ""}) is SkipReason.NO_TASK_ID
    assert read_task_span(make_span({"db.system": "x"}, scope="any")) is SkipReason.NOT_A_TASK
    assert read_task_span(make_span(scope="any")) is SkipReason.NOT_A_TASK
    assert read_task_span(make_span()) is SkipReason.NO_TASK_ID
    unscoped = make_span(MESSAGE, instrumentation_scope=None)
    assert read_task_span(unscoped).role is Role.PROCESS


def test_celery_spans_are_read_as_such(make_span):
    """The Celery scope wins over the conventions."""
    assert read_task_span(make_span(MESSAGE)).facts.engine == "celery"


ARQ = {"scope": "opentelemetry.instrumentation.arq", "kind": SpanKind.SERVER}


def test_arq_counts_tries_from_one(make_span):
    """The first try is attempt 0; no try at all is too."""
    job = {"arq.job.id": "1", "arq.job.name": "f"}
    assert read_task_span(make_span(job | {"arq.job.try": 2}, **ARQ)).facts.attempt == 1
    assert read_task_span(make_span(job, **ARQ)).facts.attempt == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [("arq.worker.Retry", Outcome.RETRIED), ("ValueError", Outcome.FAILED)],
)
def test_arq_retries_by_exception(make_span, error, outcome):
    """An arq Retry is recorded as an error and is none."""
    events = [Event("exception", {"exception.type": error}), Event("other")]
    span = make_span({"arq.job.id": "1"}, status=StatusCode.ERROR, events=events, **ARQ)
    assert read_task_span(span).outcome is outcome


@pytest.mark.parametrize(
    ("name", "role"),
    [("perform", Role.PROCESS), ("handle_job_failure", Role.FAILED_ELSEWHERE)],
)
def test_rq_roles(make_span, name, role):
    """RQ's perform stands for the run, its failure handler for runs that were killed."""
    attributes = {"rq.job.id": "1", "messaging.operation.name": name}
    span = make_span(attributes, scope="opentelemetry_instrumentation_rq.instrumentor")
    assert read_task_span(span).role is role


def test_rq_spans_that_are_skipped(make_span):
    """RQ's consume says OK for failures too and is not used; a job needs an id."""
    scope = "opentelemetry_instrumentation_rq.instrumentor"
    consume = make_span({"rq.job.id": "1", "messaging.operation.name": "consume"}, scope=scope)
    assert read_task_span(consume) is SkipReason.NOT_A_TASK
    perform = make_span({"messaging.operation.name": "perform"}, scope=scope)
    assert read_task_span(perform) is SkipReason.NO_TASK_ID


def test_dramatiq_is_never_believed(make_span):
    """Dramatiq's spans are OK whatever happened, so OK proves nothing."""
    span = make_span(
        {"message_id": "1"}, scope="opentelemetry_instrumentor_dramatiq.src", status=StatusCode.OK
    )
    assert read_task_span(span).outcome is Outcome.UNKNOWN
