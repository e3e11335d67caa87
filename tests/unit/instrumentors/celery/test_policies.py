"""Policies of Celery's tasks, on every path that Celery has."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, chord, group
from celery.exceptions import Reject
from tests.unit.exporter.test_sink import Journal

from z4j_otel import z4j_task
from z4j_otel.exporter.sink import EventSink
from z4j_otel.instrumentors.celery.policies import (
    FINDER,
    exception_of,
    hides_arguments,
    tells_of,
)
from z4j_otel.instrumentors.celery.results import StoredResult
from z4j_otel.redaction import REDACTED, Redactor
from z4j_otel.task_policies import policy_of

CARD = "4111-2222-ab"

pytestmark = pytest.mark.usefixtures("policies")


class Told:
    """What the gate lets through of a recorder's records."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder

    def data(self) -> dict[str, dict[str, Any]]:
        """Return the data of the events by kind, the last of each."""
        journal = Journal()
        sink = EventSink(journal, Redactor())
        self.recorder.emit = sink.emit
        for record in self.recorder.records:
            sink.emit(record)
        events = [json.loads(each) for each in journal.records]
        return {event["kind"].partition(".")[2]: event["data"] for event in events}


class Live:
    """A gate in the recorder's place: events are judged while their tasks run."""

    def __init__(self, recorder: Any) -> None:
        self.journal = Journal()
        recorder.emit = EventSink(self.journal, Redactor()).emit

    def data(self) -> dict[str, dict[str, Any]]:
        """Return the data of the events by kind, the last of each."""
        events = [json.loads(each) for each in self.journal.records]
        return {event["kind"].partition(".")[2]: event["data"] for event in events}


@pytest.fixture
def live(recorder: Any, capture: Any) -> Live:
    """Give a gate that the hooks report to."""
    return Live(recorder)


@pytest.fixture
def pay(app: Celery) -> Any:
    """Give a task that repeats its card in its result, or fails with it."""

    @app.task(bind=True, name="shop.pay", max_retries=1)
    @z4j_task(redact=["card"])
    def pay(self: Any, card: str, amount: int = 0) -> dict[str, Any]:
        if amount < 0:
            raise ValueError(f"{card} takes no {amount}")
        if amount == 0 and not self.request.retries:
            raise self.retry(exc=ValueError(f"{card} again"), countdown=0)
        return {"paid by": [card], "amount": amount}

    return pay


def test_a_publish_obeys(live: Live, pay: Any) -> None:
    """Positional and by name."""
    pay.delay(CARD, amount=5)
    assert live.data()["sent"]["args"] == [REDACTED]
    pay.delay(card=CARD, amount=5)
    assert live.data()["sent"]["kwargs"] == {"card": REDACTED, "amount": 5}


def test_a_publish_by_name_obeys(live: Live, app: Celery, pay: Any) -> None:
    """The app that publishes knows the task."""
    app.send_task("shop.pay", [CARD])
    assert live.data()["sent"]["args"] == [REDACTED]


def test_a_publish_of_a_task_that_is_not_here_tells_no_arguments(
    live: Live, app: Celery, pay: Any
) -> None:
    """In a process that has policies; one that says so by name tells them."""
    app.send_task("other.pay", [CARD])
    assert live.data()["sent"]["args"] == [REDACTED]
    z4j_task("other.pay", tags=["other"])
    app.send_task("other.pay", [CARD])
    assert live.data()["sent"]["args"] == [CARD]


def test_a_run_obeys(live: Live, pay: Any) -> None:
    """What the task was given is taken out of its result, too."""
    pay.apply([CARD, 5])
    data = live.data()
    assert data["received"]["args"] == [REDACTED, 5]
    assert data["succeeded"]["result"] == {"paid by": [REDACTED], "amount": 5}


def test_a_failure_obeys(live: Live, pay: Any) -> None:
    """Message and traceback keep all but the value."""
    pay.apply([CARD, -5])
    data = live.data()["failed"]
    assert data["exception"] == f"ValueError: {REDACTED} takes no -5"
    assert CARD not in data["traceback"]
    assert "takes no -5" in data["traceback"]


def test_a_retry_obeys(live: Live, pay: Any) -> None:
    """So does its reason."""
    pay.apply([CARD, 0])
    data = live.data()["retried"]
    assert data["reason"] == f"ValueError: {REDACTED} again"
    assert CARD not in json.dumps(live.data())


def test_the_main_process_obeys(
    recorder: Any, capture: Any, app: Celery, pay: Any, request_of: Any
) -> None:
    """Arrivals are told there."""
    request = request_of(name="shop.pay", args=[CARD, 5])
    request.app = app
    app.set_current()
    capture.main_process.received(request)
    assert Told(recorder).data()["received"]["args"] == [REDACTED, 5]


def test_the_callback_of_a_chord_obeys(live: Live, app: Celery, pay: Any) -> None:
    """Its arguments travel in those of a task of Celery's own."""
    policy = policy_of("celery.chord_unlock")
    assert policy is not None
    assert policy.is_canvas
    unlock = app.tasks["celery.chord_unlock"]
    unlock.apply_async(("g1",), {"callback": pay.si(CARD, amount=5), "result": []})
    callback = live.data()["sent"]["kwargs"]["callback"]
    assert callback["args"] == [REDACTED]
    assert callback["kwargs"] == {"amount": 5}


def test_a_map_obeys(live: Live, app: Celery, pay: Any) -> None:
    """What is mapped over are the task's arguments."""
    pay.starmap([(CARD, 5), (CARD, 6)]).apply_async()
    assert live.data()["sent"]["kwargs"]["it"] == REDACTED


def test_groups_and_chords_of_it_obey(live: Live, app: Celery, pay: Any) -> None:
    """Every message of theirs."""
    app.conf.result_backend_always_retry = False
    group(pay.s(CARD, 5), pay.s(CARD, 6)).apply_async()
    chord([pay.s(CARD, 5)], pay.si(CARD, 7)).apply_async()
    assert CARD not in json.dumps([each.decode() for each in live.journal.records])
    assert len(live.journal.records) >= 3


def test_whether_a_task_hides_arguments_is_told_in_its_messages(pay: Any) -> None:
    """For workers that do not have it; other tasks' messages stay as they are."""
    assert hides_arguments("shop.pay")
    assert not hides_arguments("celery.backend_cleanup")
    assert not hides_arguments(None)


def test_a_process_without_a_worker_holds_no_requests(pay: Any) -> None:
    """Then nothing is known of runs elsewhere."""
    assert FINDER.arguments("shop.pay", "nowhere") is None


def stored(**more: Any) -> StoredResult:
    """Return a failure as a result backend knows it."""
    return StoredResult("FAILURE", exception=f"ValueError: no {CARD}", **more)


def test_a_stored_failure_obeys(pay: Any) -> None:
    """Where the arguments are stored, too, only they go; else all but the class."""
    known = stored(name="shop.pay", args=[CARD], kwargs={})
    assert exception_of(known) == f"ValueError: no {REDACTED}"
    assert exception_of(stored(name="shop.pay")) == f"ValueError: {REDACTED}"
    assert exception_of(stored()) == f"ValueError: {REDACTED}"
    assert exception_of(stored(name="celery.backend_cleanup")) == f"ValueError: no {CARD}"
    assert exception_of(StoredResult("FAILURE", exception="ValueError")) == "ValueError"
    assert exception_of(StoredResult("SUCCESS")) is None


def test_a_stored_failure_stays_where_nobody_has_policies() -> None:
    """What it says is for the operator."""
    assert exception_of(stored()) == f"ValueError: no {CARD}"


def test_an_app_that_cannot_be_made_ready_hides_arguments(
    live: Live, app: Celery, pay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell then, and the application does not notice."""
    monkeypatch.setattr("celery._state._get_active_apps", lambda: 1 / 0)
    app.send_task("shop.pay", [CARD])
    assert live.data()["sent"]["args"] == [REDACTED]


def test_a_failure_that_the_main_process_tells_obeys(
    live: Live, capture: Any, app: Celery, pay: Any, request_of: Any
) -> None:
    """Celery has forgotten the request by then; who handles its failure has not."""
    request = request_of(name="shop.pay", args=[CARD], kwargs={})
    error = SimpleNamespace(exception=Reject(f"no {CARD}"))

    def handle(*_args: Any) -> None:
        capture.main_process.around_reject(lambda **_: None, request, (), {"requeue": False})

    app.set_current()
    capture.main_process.around_failure(handle, request, (error,), {})
    assert live.data()["failed"]["exception"] == f"Reject: no {REDACTED}"
    assert FINDER.in_hand() is None


def test_a_worker_does_not_list_runs_that_are_not_told(
    app: Celery, pay: Any, request_of: Any
) -> None:
    """Heartbeats have names and ids of running tasks."""
    z4j_task("shop.hushed", skip=True)
    assert tells_of(request_of(name="shop.pay"))
    assert not tells_of(request_of(name="shop.hushed"))


@pytest.mark.parametrize("options", [{}, {"autoretry_for": (OSError,)}])
@pytest.mark.parametrize("is_bound", [True, False])
def test_arguments_have_the_names_that_the_caller_sees(
    app: Celery, options: dict[str, Any], is_bound: bool
) -> None:
    """``self`` is none of them, whatever Celery wraps the function in."""

    def bound(self: Any, card: str) -> None:
        """Take a card."""

    def plain(card: str) -> None:
        """Take a card."""

    function = z4j_task(redact=["card"])(bound if is_bound else plain)
    task = app.task(function, name="shop.named", bind=is_bound, **options)
    assert task.name in app.tasks
    found = policy_of("shop.named")
    assert found is not None
    assert found.parameters is not None
    assert found.parameters.by_place == ("card",)
