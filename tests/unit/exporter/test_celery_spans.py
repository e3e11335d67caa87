"""What the Celery instrumentation's spans are read as."""

from __future__ import annotations

import pytest
from opentelemetry.trace import StatusCode

from z4j_otel.exporter.celery_spans import read_celery_span
from z4j_otel.exporter.task_span import Outcome, Role, SkipReason


def read(span):
    """Read a span that has its attributes at hand."""
    return read_celery_span(span, span.attributes or {})


@pytest.mark.parametrize(
    ("state", "status", "outcome"),
    [
        ("SUCCESS", StatusCode.UNSET, Outcome.SUCCEEDED),
        ("SUCCESS", StatusCode.ERROR, Outcome.SUCCEEDED),
        ("IGNORED", StatusCode.UNSET, Outcome.SUCCEEDED),
        ("FAILURE", StatusCode.UNSET, Outcome.FAILED),
        ("RETRY", StatusCode.UNSET, Outcome.RETRIED),
        ("REJECTED", StatusCode.UNSET, Outcome.REJECTED),
        ("NEW_STATE", StatusCode.UNSET, Outcome.UNKNOWN),
        ("NEW_STATE", StatusCode.ERROR, Outcome.FAILED),
        (None, StatusCode.ERROR, Outcome.FAILED),
        (None, StatusCode.UNSET, Outcome.TERMINATED),
        (None, StatusCode.OK, Outcome.TERMINATED),
    ],
)
def test_outcome(make_span, state, status, outcome):
    """The state decides; without one, nothing is ever a success."""
    attributes = {"messaging.message.id": "1"} | ({"celery.state": state} if state else {})
    assert read(make_span(attributes, status=status)).outcome is outcome


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [
        (["1", ""], Outcome.TIME_LIMIT),
        ((0.5, None), Outcome.TIME_LIMIT),
        (["2", ""], Outcome.TERMINATED),
        (["", "1"], Outcome.TERMINATED),
        (["soon"], Outcome.TERMINATED),
        ([], Outcome.TERMINATED),
        ("1", Outcome.TERMINATED),
    ],
)
def test_hard_limit_needs_proof(make_span, limits, outcome):
    """The time limit is the cause only when the message set one and it had passed."""
    span = make_span({"messaging.message.id": "1", "celery.timelimit": limits})
    assert read(span).outcome is outcome


def test_the_name_of_the_span_stands_in_for_attributes(make_span):
    """Action and task name can be read from the span's name."""
    sent = read(make_span({"messaging.message.id": "1"}, name="apply_async/tasks.a"))
    assert (sent.role, sent.facts.task_name) == (Role.SEND, "tasks.a")
    assert read(make_span({"messaging.message.id": "1"}, name="run")).facts.task_name == "unknown"


def test_what_is_no_task(make_span):
    """An unknown action is no task, and a task without an id cannot be told."""
    assert read(make_span({"celery.action": "beat"})) is SkipReason.NOT_A_TASK
    assert read(make_span({"celery.action": "run"})) is SkipReason.NO_TASK_ID


def test_a_retry_may_lack_its_reason(make_span):
    """A reason is told only where there is one."""
    attributes = {"messaging.message.id": "1", "celery.state": "RETRY", "celery.retries": 2}
    task = read(make_span(attributes))
    assert (task.ending, task.facts.attempt) == ({}, 2)
    task = read(make_span(attributes | {"celery.retry.reason": "later"}))
    assert task.ending == {"reason": "later"}
