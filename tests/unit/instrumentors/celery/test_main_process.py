"""What only the worker's main process sees."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Reject
from celery.worker.control import Panel

from z4j_otel.instrumentors.celery import instances
from z4j_otel.instrumentors.celery.policies import HIDDEN_HEADER


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
    instances.listen(None, seen.append)
    capture.main_process.received(request=request_of())
    instances.listen(None, None)
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


@pytest.mark.parametrize(
    ("acks_late", "acknowledged", "kind"),
    [(False, True, "failed"), (True, False, "retried"), (True, True, "failed")],
)
def test_a_cold_stop_ends_the_runs_it_cancels(
    capture: Any, recorder: Any, request_of: Any, acks_late: bool, acknowledged: bool, kind: str
) -> None:
    """Celery kills the child and signals nothing; only an unacknowledged message comes back."""
    request = request_of()
    request.time_start, request.acknowledged = 1.0, acknowledged
    request.task = SimpleNamespace(acks_late=acks_late)
    order: list[list[str]] = []
    capture.main_process.around_cancel(lambda: order.append(recorder.kinds()), request, (), {})
    assert order == [recorder.kinds()] == [[]]  # the child may still speak for itself
    capture.main_process.worker_stopped()
    assert recorder.kinds() == [kind]
    assert recorder.calls == ["worker_stopping"]
    assert recorder.last(kind).details["cause"] == "worker_lost"


def test_a_time_limit_in_a_cold_stop_is_no_retry(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """A task that outlives its SIGTERM may meet its limit: Celery acks it and signals nothing."""
    main, request, error = capture.main_process, request_of(), TimeLimitExceeded(1)
    request.time_start, request.acknowledged = 1.0, False
    request.task = SimpleNamespace(acks_late=True)
    main.around_cancel(lambda: None, request, (), {})
    main.around_failure(lambda _info: None, request, (failure(error),), {})

    def ack(**_limit: Any) -> None:
        request.acknowledged = True

    main.around_timeout(ack, request, (), {"soft": False, "timeout": 1})
    main.worker_stopped()
    assert recorder.kinds() == ["failed"]
    assert recorder.last("failed").details["cause"] == "time_limit"


def test_a_soft_limit_in_a_cold_stop_is_no_end(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """The task hears of it and goes on."""
    main, request = capture.main_process, request_of()
    request.time_start, request.acknowledged = 1.0, False
    request.task = SimpleNamespace(acks_late=True)
    main.around_cancel(lambda: None, request, (), {})
    main.around_timeout(lambda *_given: None, request, (True, 1), {})
    assert recorder.kinds() == []


def test_a_cancelled_run_ends_when_its_pool_says_that_the_child_is_gone(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """As with a lost broker, where the worker lives on."""
    main, request = capture.main_process, request_of()
    request.time_start, request.acknowledged = 1.0, False
    request.task = SimpleNamespace(acks_late=True)
    main.around_cancel(lambda: None, request, (), {})
    main.around_failure(lambda _info: None, request, (failure(Terminated(15)),), {})
    assert recorder.kinds() == ["retried"]


def test_a_cancelled_request_that_never_ran_has_no_end(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """Its message goes back to the queue, or its pool starts it later."""
    request = request_of()
    request.time_start = None
    capture.main_process.around_cancel(lambda: None, request, (), {})
    assert recorder.kinds() == []


class GreenletExit(BaseException):
    """What gevent unwinds a greenlet with."""


@pytest.fixture
def greenlet(capture: Any, request_of: Any) -> SimpleNamespace:
    """Give a run of an acks_late task in this process, with its request and what unwinds it."""
    context = SimpleNamespace(
        delivery_info={}, hostname="w1@host", retries=0, is_eager=False, parent_id=None
    )
    task = SimpleNamespace(name="shop.add", request=context, acks_late=True, throws=())
    request = request_of()
    request.time_start, request.acknowledged, request.task = 1.0, False, task
    # Greenlets put an address there, no process's number.
    request.worker_pid = 2**40
    capture.runs.started("t1", task)

    def unwind() -> None:
        with suppress(GreenletExit):
            try:
                raise GreenletExit
            finally:
                capture.runs.finished("t1", task, None, None)
        # The pool takes it for a success; an ack that fails counts, too.
        request.acknowledged = True

    return SimpleNamespace(request=request, task=task, unwind=unwind)


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("error", [None, ConnectionError("no result backend")])
def test_a_greenlet_that_is_cancelled_is_told_by_its_worker_alone(
    capture: Any, recorder: Any, greenlet: Any, is_late: bool, error: Exception | None
) -> None:
    """With its broker gone its message comes again: it is a retry, and no error of the task's."""
    main, request = capture.main_process, greenlet.request

    def cancel(_pool: Any) -> None:
        if not is_late:
            greenlet.unwind()
        if error is not None:
            raise error
        main.retried(sender=greenlet.task, request=request, reason="cancelled by Celery")

    with nullcontext() if error is None else pytest.raises(ConnectionError):
        main.around_cancel(cancel, request, (SimpleNamespace(is_green=True),), {})
    if is_late:
        greenlet.unwind()
    assert recorder.kinds() == ["started", "retried"]
    details = recorder.last("retried").details
    assert (details["cause"], details["pid"]) == ("worker_lost", os.getpid())


def test_a_thread_that_cannot_be_cancelled_tells_its_own_end(
    capture: Any, recorder: Any, greenlet: Any
) -> None:
    """Its run goes on, whatever became of the broker."""

    def cancel(_pool: Any) -> None:
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        capture.main_process.around_cancel(
            cancel, greenlet.request, (SimpleNamespace(is_green=False),), {}
        )
    capture.runs.finished("t1", greenlet.task, "SUCCESS", 3)
    assert recorder.kinds() == ["started", "succeeded"]


def test_a_lost_child_is_told_with_the_status_it_had(
    capture: Any, recorder: Any, request_of: Any, task: Any
) -> None:
    """Billiard can forget how a child ended before it tells of the task."""
    main = capture.main_process
    flushed: list[Any] = []
    child = SimpleNamespace(pid=77, exitcode=-9)
    main.exits.around_flush(flushed.append, None, (child,), {})
    error = WorkerLostError("Worker exited prematurely: exitcode 0 Job: 3.")
    request = request_of()
    request.worker_pid = 77
    wrapped = lambda *_a, **_k: main.failed(  # noqa: E731 -- stands for Celery's own handling
        sender=task, task_id="t1", exception=error, einfo=failure(error)
    )
    main.around_failure(wrapped, request, (failure(error),), {})
    assert flushed == [child]
    text = recorder.last("failed").details["exception"]
    assert text == "WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL) Job: 3."


def test_a_message_whose_body_cannot_be_decoded_is_told(
    capture: Any, recorder: Any, request_of: Any
) -> None:
    """Celery acks it, logs, and tells nobody that a task is lost."""
    message = SimpleNamespace(
        headers={"id": "t1", "task": "shop.add", "argsrepr": "(1,)"},
        delivery_info={"routing_key": "orders"},
    )
    consumer = SimpleNamespace(hostname="w1@host")
    dropped: list[Any] = []
    wrapped = lambda message, exc: dropped.append((message, exc))  # noqa: E731 -- Celery's own
    capture.main_process.around_decode_error(wrapped, consumer, (message, ValueError("x")), {})
    assert len(dropped) == 1
    assert recorder.kinds() == ["received", "failed"]
    assert recorder.last("failed").details["cause"] == "rejected"


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the requests of a worker that has none yet."""
    held: dict[str, Any] = {}
    monkeypatch.setattr("celery.worker.state.requests", held)
    monkeypatch.setattr("celery.worker.state.active_requests", [])
    return held


def test_a_stamped_task_is_told_as_revoked_while_it_waits(
    capture: Any, recorder: Any, request_of: Any, requests: Any, monkeypatch: Any
) -> None:
    """Celery would tell it at its ETA; only the tasks with the stamp are meant."""
    monkeypatch.setattr("celery.worker.state.revoked_stamps", {"customer": ["c-17"]})
    stamp = {"stamped_headers": ["customer"], "stamps": {"customer": ["c-17"]}}
    requests["t1"] = request_of(**stamp)
    requests["t2"] = request_of("t2")
    assert Panel.data["revoke_by_stamped_headers"](None, {}) is not None
    assert [(r.facts.task_id, r.kind.value) for r in recorder.records] == [("t1", "task.revoked")]


def test_a_task_that_the_pool_has_taken_is_not_revoked(
    capture: Any, recorder: Any, request_of: Any, requests: Any
) -> None:
    """Celery lets it run all the same."""
    requests["t1"] = request_of()
    requests["t1"]._apply_result = object()
    capture.main_process.around_revoke(lambda *_: {"t1"}, None, (None, {"t1"}), {})
    assert recorder.kinds() == []


@pytest.mark.parametrize(
    ("exception", "kinds", "cause"),
    [
        (WorkerLostError("signal 9"), ["failed"], "worker_lost"),
        (TimeLimitExceeded(1), ["failed"], "time_limit"),
        (Terminated(15), ["revoked"], None),
        (ValueError("told by the child"), [], None),
    ],
)
def test_an_end_that_celery_cannot_store_is_told(
    capture: Any, recorder: Any, request_of: Any, exception: Any, kinds: list[str], cause: Any
) -> None:
    """It stores first and signals then; with the result backend away nobody would know."""

    def handling(*_args: Any, **_kwargs: Any) -> None:
        raise ConnectionError("no result backend")

    with pytest.raises(ConnectionError):
        capture.main_process.around_failure(handling, request_of(), (failure(exception),), {})
    assert recorder.kinds() == kinds
    assert [recorder.last(kind).details.get("cause") for kind in kinds] == [cause] * len(kinds)


def test_an_unknown_task_whose_sender_hides_arguments_tells_none(
    capture: Any, recorder: Any
) -> None:
    """Its policy is with whoever has the task; its message says that there is one."""
    headers = {"id": "t1", "task": "shop.nosuch", "argsrepr": "(1,)", HIDDEN_HEADER: True}
    message = SimpleNamespace(headers=headers, delivery_info={})
    capture.main_process.unknown(message=message, name="shop.nosuch", id="t1", sender=None)
    assert recorder.last("received").details == {"args": "[REDACTED]", "kwargs": "[REDACTED]"}
