"""Runs as the executing process sees them; eager tasks run in this one."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from opentelemetry.sdk.trace import TracerProvider

FULL_RUN = ["received", "started"]


def nothing(*_args: int) -> None:
    """Be a task without a body."""


def unwinding(error: Exception, call: Any) -> None:
    """Call something while an exception passes by."""
    try:
        raise error
    finally:
        call()


def test_a_task_that_returns_is_told_whole(app: Any, recorder: Any) -> None:
    """An eager task is received, started and succeeded, with arguments and result."""

    @app.task(name="u.add")
    def add(x: int, y: int) -> int:
        return x + y

    add.apply((2, 3))
    assert recorder.kinds() == [*FULL_RUN, "succeeded"]
    assert recorder.last("received").details["args"] == (2, 3)
    assert recorder.last("succeeded").details["result"] == 5


def test_a_failure_has_class_message_traceback_and_cause(app: Any, recorder: Any) -> None:
    """What the task raised is told as `Class: message` with CPython's traceback."""

    @app.task(name="u.fail")
    def fail() -> None:
        raise LookupError("no stock")

    fail.apply()
    details = recorder.last("failed").details
    assert details["exception"] == "LookupError: no stock"
    assert "in fail\n" in details["traceback"]
    assert (details["cause"], recorder.kinds().count("failed")) == ("exception", 1)


def test_an_announced_exception_is_marked_as_expected(app: Any, recorder: Any) -> None:
    """A class listed in `throws` is a failure that somebody expects."""

    @app.task(name="u.throws", throws=(LookupError,))
    def fail() -> None:
        raise LookupError("sold out")

    fail.apply()
    assert recorder.last("failed").details["expected"] is True


def test_a_soft_time_limit_is_a_cause_of_its_own(app: Any, recorder: Any) -> None:
    """The soft limit is told apart from other exceptions."""

    @app.task(name="u.soft")
    def soft() -> None:
        raise SoftTimeLimitExceeded

    soft.apply()
    assert recorder.last("failed").details["cause"] == "soft_time_limit"


def test_an_ignored_task_ends_as_succeeded(app: Any, recorder: Any) -> None:
    """`Ignore` is an end, so that no task stays started for ever."""

    @app.task(name="u.ignore")
    def ignore() -> None:
        raise Ignore("nothing to do")

    ignore.apply()
    assert recorder.kinds() == [*FULL_RUN, "succeeded"]
    assert recorder.last("succeeded").details["celery_state"] == "IGNORED"


def test_a_rejected_message_is_told_as_rejected(app: Any, recorder: Any) -> None:
    """`Reject` in the child is a step; its end is the main process's to tell."""

    @app.task(name="u.reject")
    def reject() -> None:
        raise Reject("malformed", requeue=False)

    reject.apply()
    assert recorder.last("rejected").details["reason"] == "Reject: malformed"


def test_an_eager_retry_is_told_before_the_next_run(app: Any, recorder: Any) -> None:
    """Attempts come in order, each with its number, and the retry says why."""

    @app.task(name="u.flaky", bind=True, max_retries=2)
    def flaky(self: Any) -> int:
        if self.request.retries < 1:
            raise self.retry(exc=ConnectionError("busy"), countdown=0)
        return self.request.retries

    flaky.apply()
    assert recorder.kinds() == [*FULL_RUN, "retried", *FULL_RUN, "succeeded"]
    retried = recorder.last("retried")
    assert retried.details["retry_count"] == 1
    assert retried.details["reason"] == "ConnectionError: busy"
    assert recorder.last("succeeded").facts.attempt == 1


def test_an_eager_retry_that_is_not_allowed_is_a_failure(app: Any, recorder: Any) -> None:
    """`max_retries=0` in the call means none, whatever the task allows."""

    @app.task(name="u.never", bind=True, max_retries=3)
    def never(self: Any) -> None:
        self.retry(exc=ConnectionError("busy"), max_retries=0)

    never.apply()
    assert recorder.kinds() == [*FULL_RUN, "failed"]


def test_a_published_retry_ends_the_run_before_the_message_leaves(
    app: Any, capture: Any, recorder: Any
) -> None:
    """Another process may see the message at once, so the end is recorded first."""
    task = app.task(nothing, name="u.self")
    task.push_request(id="t9", retries=0, hostname="w1@host", delivery_info={})
    capture.runs.started(task_id="t9", task=task)
    capture.publisher.before_publish(headers={"id": "t9", "task": "u.self", "retries": 1})
    capture.runs.finished(task_id="t9", task=task, state="RETRY", retval=None)
    task.pop_request()
    assert recorder.kinds() == ["started", "retried"]


def test_a_replacement_is_named_in_the_end_of_the_run(
    app: Any, capture: Any, recorder: Any
) -> None:
    """`self.replace` publishes the same id with the same retry number."""
    task = app.task(nothing, name="u.self")
    task.push_request(id="t9", retries=0, hostname="w1@host", delivery_info={})
    capture.runs.started(task_id="t9", task=task)
    capture.publisher.before_publish(headers={"id": "t9", "task": "u.other", "retries": 0})
    task.pop_request()
    assert recorder.last("succeeded").details["replaced_by"] == "u.other"


def test_a_dying_pool_child_leaves_the_end_to_the_main_process(
    app: Any, capture: Any, recorder: Any
) -> None:
    """A run without a state is being killed; the child does not know by whom."""
    task = app.task(nothing, name="u.self")
    capture.runs.child_started()
    task.push_request(id="t9", hostname="w1@host", delivery_info={})
    capture.runs.started(task_id="t9", task=task)
    capture.runs.finished(task_id="t9", task=task, state=None, retval=None)
    task.pop_request()
    assert recorder.kinds() == ["started"]


def test_a_hostile_exception_text_does_not_disturb_the_task(app: Any, recorder: Any) -> None:
    """An exception whose `__str__` raises is told by its class."""

    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @app.task(name="u.hostile")
    def fail() -> None:
        raise Hostile

    with pytest.raises(Hostile):
        fail.apply(throw=True)
    assert recorder.last("failed").details["exception"] == "Hostile"


def test_an_eager_run_that_propagates_its_failure_has_failed(
    app: Any, capture: Any, recorder: Any
) -> None:
    """Its caller gets the exception; in a pool child it does not mean that the child dies."""
    capture.runs.child_started()

    @app.task(name="u.throws_on")
    def fail() -> None:
        raise LookupError("no stock")

    with pytest.raises(LookupError):
        fail.apply(throw=True)
    details = recorder.last("failed").details
    assert (details["exception"], details["cause"]) == ("LookupError: no stock", "exception")
    assert not capture.runs._is_dying


def test_an_eager_run_has_the_worker_and_the_parent_it_is_called_in(
    app: Any, recorder: Any
) -> None:
    """Celery gives the machine's name, which is no worker; a program has none."""
    inner = app.task(nothing, name="u.inner")

    @app.task(name="u.outer")
    def outer() -> None:
        inner.apply()

    outer.push_request(id="t9", hostname="w1@host", delivery_info={})
    outer.apply(task_id="t1")
    assert {record.facts.worker for record in recorder.records} == {None}
    received = recorder.records[2]
    assert received.facts.task_name == "u.inner"
    assert received.details["parent_task_id"] == "t1"


def test_a_run_called_in_place_by_a_workers_task_is_that_workers(
    app: Any, capture: Any, recorder: Any
) -> None:
    """Whoever looks at the worker sees it."""
    inner, outer = app.task(nothing, name="u.inner"), app.task(nothing, name="u.outer")
    outer.push_request(id="t9", hostname="w1@host", delivery_info={})
    capture.runs.started(task_id="t9", task=outer)
    inner.push_request(id="t10", parent_id="t9", is_eager=True, hostname="host", delivery_info={})
    capture.runs.started(task_id="t10", task=inner)
    assert recorder.last("started").facts.worker == "w1@host"


def test_a_run_that_was_never_left_does_not_outlive_the_one_around_it(
    app: Any, capture: Any, recorder: Any
) -> None:
    """Celery may give an inner run up without a word; the outer one's end is its end."""
    inner, outer = app.task(nothing, name="u.inner"), app.task(nothing, name="u.outer")
    for task_id, task in (("t1", outer), ("t2", inner)):
        task.push_request(id=task_id, hostname="w1@host", delivery_info={})
        capture.runs.started(task_id=task_id, task=task)
    capture.runs.finished(task_id="t1", task=outer, state="SUCCESS", retval=None)
    assert capture.runs._own.get() is None
    assert recorder.last("succeeded").facts.task_id == "t1"


@pytest.mark.parametrize("hook", ["started", "finished"])
def test_a_failure_of_ours_stays_inside(capture: Any, hook: str) -> None:
    """A task without anything that a task has disturbs nobody."""
    capture.runs._runs["t1"] = object()
    getattr(capture.runs, hook)(task_id="t1", task=object(), state="SUCCESS", retval=None)


def test_a_next_attempt_in_another_thread_keeps_the_ends_apart(
    app: Any, capture: Any, recorder: Any
) -> None:
    """A retry is published before its run is over; a pool of threads may start it at once."""
    task = app.task(nothing, name="u.self")

    def run(attempt: int, state: str, inside: Any = None) -> None:
        task.push_request(id="t9", retries=attempt, hostname="w1@host", delivery_info={})
        capture.runs.started(task_id="t9", task=task)
        if inside is not None:
            headers = {"id": "t9", "task": "u.self", "retries": attempt + 1}
            capture.publisher.before_publish(headers=headers)
            thread = threading.Thread(target=inside)
            thread.start()
            began.wait(10)
        else:
            began.set()
            ended.wait(10)
        capture.runs.finished(task_id="t9", task=task, state=state, retval=None)
        ended.set()
        task.pop_request()
        if inside is not None:
            thread.join()

    began, ended = threading.Event(), threading.Event()
    run(0, "RETRY", inside=lambda: run(1, "SUCCESS"))
    told = [(record.kind.value, record.facts.attempt) for record in recorder.records]
    assert told == [
        ("task.started", 0), ("task.retried", 0), ("task.started", 1), ("task.succeeded", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"), [(OSError("no backend"), "failed"), (Reject("later"), "rejected")]
)
def test_a_result_that_cannot_be_stored_is_no_success(
    app: Any, capture: Any, recorder: Any, error: Exception, kind: str
) -> None:
    """Celery makes a failure of it, after it has set the state; nobody gets the result."""
    task = app.task(nothing, name="u.self")
    task.push_request(id="t9", hostname="w1@host", delivery_info={})
    capture.runs.started(task_id="t9", task=task)
    with pytest.raises(type(error)):
        unwinding(error, lambda: capture.runs.finished("t9", task, "SUCCESS", 1))
    task.pop_request()
    assert recorder.kinds() == ["started", kind]


def test_an_eager_caller_that_handles_an_error_does_not_make_one_of_a_success(
    app: Any, recorder: Any
) -> None:
    """A task may be called in place where an exception is being handled."""
    task = app.task(nothing, name="u.self")
    with pytest.raises(OSError, match="handled"):
        unwinding(OSError("handled"), task.apply)
    assert recorder.kinds() == [*FULL_RUN, "succeeded"]


@pytest.mark.parametrize("has_span", [True, False])
def test_a_run_that_its_worker_gives_up_tells_no_end(
    app: Any, capture: Any, recorder: Any, has_span: bool
) -> None:
    """The worker's main process tells it; the span says what became of the run."""
    task = app.task(nothing, name="u.given_up")
    task.push_request(id="t1", retries=0)
    span = TracerProvider().get_tracer("t").start_span("run")
    if has_span:
        setattr(task, "__otel_task_span", {("t1", False): (span, None, None)})
    capture.runs.started("t1", task)
    capture.runs.given_up(capture.runs.running("t1"), task)
    capture.runs.finished("t1", task, None, None)
    assert recorder.kinds() == ["started"]
    assert span.attributes.get("error.type") == ("WorkerLostError" if has_span else None)
