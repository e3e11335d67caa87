"""Runs as the executing process sees them; eager tasks run in this one."""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

FULL_RUN = ["received", "started"]


def nothing(*_args: int) -> None:
    """Be a task without a body."""


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
