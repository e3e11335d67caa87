"""Runs that a worker cut off, and whose end is not known yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import Terminated, TimeLimitExceeded
from celery.worker import state

from z4j_otel.instrumentors.celery.cancelled import CancelledRuns
from z4j_otel.instrumentors.tracing import TaskTracer


@pytest.fixture
def cancelled(recorder: Any) -> CancelledRuns:
    """Give one that reports to the recorder."""
    return CancelledRuns(TaskTracer("celery", sink=recorder.sink))


@pytest.fixture
def late_of(request_of: Any) -> Any:
    """Build the request of a run whose message is acked at its end."""

    def build(task_id: str = "t1") -> Any:
        request = request_of(task_id)
        request.worker_pid, request.acknowledged = 77, False
        request.task = SimpleNamespace(acks_late=True)
        return request

    return build


def test_an_end_waits_until_the_child_is_gone(
    cancelled: CancelledRuns, recorder: Any, late_of: Any
) -> None:
    """Then the message comes again, unless it was acked."""
    request = late_of()
    cancelled.add(request)
    assert recorder.kinds() == []
    cancelled.failed(request, Terminated(15))
    cancelled.settle_all()
    assert recorder.kinds() == ["retried"]
    details = recorder.last("retried").details
    assert (details["cause"], details["pid"]) == ("worker_lost", 77)


def test_a_run_whose_message_was_acked_before_is_lost(
    cancelled: CancelledRuns, recorder: Any, late_of: Any
) -> None:
    """As with every task that is not `acks_late`: it is told when its worker ends."""
    request = late_of()
    request.acknowledged = True
    cancelled.add(request)
    cancelled.settle_all()
    assert recorder.kinds() == ["failed"]
    assert recorder.last("failed").details["exception_type"] == "WorkerLostError"


def test_a_run_that_was_not_cut_off_is_left_alone(
    cancelled: CancelledRuns, recorder: Any, late_of: Any
) -> None:
    """Its failure and its limit are told elsewhere."""
    cancelled.failed(late_of(), None)
    request = late_of()
    request.acknowledged = True
    cancelled.timed_out(request, 1.0, is_told=False)
    assert recorder.kinds() == []


@pytest.mark.parametrize(("is_told", "kinds"), [(False, ["failed"]), (True, [])])
def test_a_run_that_began_as_its_worker_stopped_coldly_has_its_limit_told(
    cancelled: CancelledRuns,
    recorder: Any,
    late_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    is_told: bool,
    kinds: list[str],
) -> None:
    """Celery did not know yet that it ran, so it cancelled nothing, and signals nothing."""
    monkeypatch.setattr(state, "should_terminate", True)
    request = late_of()
    request.acknowledged = True
    cancelled.timed_out(request, 1.0, is_told=is_told)
    assert recorder.kinds() == kinds


@pytest.mark.parametrize(
    ("acknowledged", "kind", "cause"),
    [(True, "failed", "time_limit"), (False, "retried", "worker_lost")],
)
def test_a_time_limit_ends_a_run_for_good_only_where_its_message_is_acked(
    cancelled: CancelledRuns,
    recorder: Any,
    late_of: Any,
    acknowledged: bool,
    kind: str,
    cause: str,
) -> None:
    """Celery decides that after it has handled the failure."""
    request = late_of()
    cancelled.add(request)
    cancelled.failed(request, TimeLimitExceeded(1))
    assert recorder.kinds() == []
    request.acknowledged = acknowledged
    cancelled.timed_out(request, 1.0, is_told=False)
    assert recorder.kinds() == [kind]
    assert recorder.last(kind).details["cause"] == cause


def test_no_more_than_a_thousand_wait(
    cancelled: CancelledRuns, recorder: Any, late_of: Any
) -> None:
    """The oldest is told then."""
    requests = [late_of(f"t{number}") for number in range(1001)]
    for request in requests:
        cancelled.add(request)
    assert [record.facts.task_id for record in recorder.records] == ["t0"]
