"""What only the worker's main process sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject


def failure(exception: BaseException) -> SimpleNamespace:
    """Build what the pool hands over for a run that did not come back."""
    return SimpleNamespace(exception=exception, traceback="Traceback ...")


@pytest.fixture
def task() -> Any:
    """Give a task as the signals' sender."""
    return SimpleNamespace(name="shop.add", request=SimpleNamespace(id=None), throws=())


def test_an_arrival_has_arguments_queue_and_worker(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """`task.received` carries what fills the brain's row."""
    capture.main_process.received(request=request_of())
    record = recorder.last("received")
    assert (record.facts.queue, record.facts.worker) == ("orders", "w1@host")
    assert record.details["args"] == [1]


def test_the_wait_in_the_queue_is_told_when_the_publisher_is_instrumented(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """The publisher's clock travels in a header."""
    capture.main_process.received(request=request_of(z4j_sent_ns=1))
    assert recorder.last("received").details["queue_wait_ms"] > 0


def test_the_adapter_is_given_every_arrival(capture: Any, request_of: Any) -> None:
    """Recent messages are what a retry by reference is made of."""
    seen: list[Any] = []
    capture.main_process.on_received = seen.append
    capture.main_process.received(request=request_of())
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("exception", "cause"),
    [(WorkerLostError("signal 9"), "worker_lost"), (TimeLimitExceeded(1), "time_limit")],
)
def test_a_run_that_died_elsewhere_is_told_with_its_cause(
    capture: Any, recorder: Any, request_of: Any, task: Any, exception: Any, cause: str
) -> None:
    """The main process reports what no child survived to report."""
    main = capture.main_process
    wrapped = lambda *_a, **_k: main.failed(  # noqa: E731 -- stands for Celery's own handling
        sender=task, task_id="t1", exception=exception, einfo=failure(exception)
    )
    main.around_failure(wrapped, request_of(), (failure(exception),), {})
    record = recorder.last("failed")
    assert (record.details["cause"], record.facts.queue) == (cause, "orders")


def test_a_requeued_message_is_told_as_a_retry_before_it_goes_back(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """With `reject_on_worker_lost` the attempt ends, and the task will come again."""
    main, order = capture.main_process, []
    request = request_of()

    def handling(*_args: Any, **_kwargs: Any) -> None:
        main.around_reject(lambda *_a, **_k: order.append(recorder.kinds()), request, (True,), {})

    main.around_failure(handling, request, (failure(WorkerLostError("x")),), {})
    assert order == [["retried"]]
    assert recorder.last("retried").details["reason"] == "worker lost"


def test_a_rejection_for_good_is_a_failure_where_celery_tells_nobody(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """Older Celery signals nothing for `Reject(requeue=False)`; newer ones do it themselves."""
    main, request = capture.main_process, request_of()

    def handling(*_args: Any, **_kwargs: Any) -> None:
        main.around_reject(lambda *_a, **_k: None, request, (), {"requeue": False})

    main.around_failure(handling, request, (failure(Reject("malformed", requeue=False)),), {})
    assert recorder.kinds() == ["failed"]
    assert recorder.last("failed").details["cause"] == "rejected"


def test_a_child_lost_after_it_stored_success_is_a_success(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """Celery signals nothing in this case, so the main process tells it."""
    lost = failure(WorkerLostError("x"))
    capture.main_process.around_failure(lambda *_a: None, request_of(), (lost,), {})
    assert recorder.kinds() == ["succeeded"]


def test_an_ordinary_failure_is_left_to_the_child(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """A run that raised has told its end itself."""
    raised = failure(LookupError("x"))
    capture.main_process.around_failure(lambda *_a: None, request_of(), (raised,), {})
    assert recorder.records == []


def test_a_revoked_task_is_announced_and_revoked(capture: Any, recorder: Any, task: Any) -> None:
    """A task that was given up before anybody heard of it gets an arrival of its own."""
    context = SimpleNamespace(
        id="t1", retries=0, hostname="w1@host", args=[1], kwargs={}, parent_id=None, root_id=None,
        delivery_info={"routing_key": "orders"},
    )  # fmt: skip
    capture.main_process.revoked(sender=task, request=context, expired=True)
    assert recorder.kinds() == ["received", "revoked"]
    assert recorder.last("received").details["synthesised"] is True
    assert recorder.last("revoked").details["expired"] is True


def test_a_terminated_task_tells_the_signal(capture: Any, recorder: Any, task: Any) -> None:
    """A terminated run was announced already; the signal number is told."""
    context = SimpleNamespace(id="t1", retries=0, hostname="w1", delivery_info=None)
    capture.main_process.revoked(sender=task, request=context, terminated=True, signum=15)
    assert recorder.kinds() == ["revoked"]
    assert recorder.last("revoked").details["signum"] == 15


def test_an_unknown_task_is_received_and_failed(capture: Any, recorder: Any) -> None:
    """Nobody can run it, and the row says so."""
    message = SimpleNamespace(
        headers={"id": "t1", "task": "shop.nosuch", "argsrepr": "(1,)"},
        delivery_info={"routing_key": "orders"},
    )
    capture.main_process.unknown(
        message=message, name="shop.nosuch", id="t1", sender=SimpleNamespace(hostname="w1")
    )
    assert recorder.kinds() == ["received", "failed"]
    assert recorder.last("failed").details["cause"] == "unknown_task"


def test_an_unreadable_message_without_an_id_tells_nothing(capture: Any, recorder: Any) -> None:
    """There is no task to speak of."""
    capture.main_process.invalid(message=SimpleNamespace(headers={}), exc=ValueError("x"))
    assert recorder.records == []


def test_the_worker_reports_its_start_readiness_and_end(capture: Any, recorder: Any) -> None:
    """The agent's files come before the fork, its thread after it."""
    main = capture.main_process
    main.worker_starting(sender=None)
    main.worker_ready(sender=None)
    main.worker_stopped()
    assert recorder.calls == ["worker_starting", "worker_ready", "worker_stopping"]


def test_a_list_of_brokers_does_not_keep_the_files_from_being_claimed(
    capture: Any, recorder: Any
) -> None:
    """Celery takes several URLs for failover; the first one names the scheme."""
    conf = SimpleNamespace(broker_url=["rediss://a", "redis://b"])
    sender = SimpleNamespace(app=SimpleNamespace(conf=conf))
    capture.main_process.worker_starting(sender=sender)
    assert recorder.calls == ["worker_starting"]
    assert capture.runs.broker_scheme == "rediss"
