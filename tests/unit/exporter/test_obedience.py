"""What a policy makes of the events of a task."""

from __future__ import annotations

import json

import pytest
from tests.unit.exporter.test_sink import Journal

from z4j_otel import z4j_task
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.exporter.sink import EventSink
from z4j_otel.redaction import REDACTED, Redactor

CARD = "4111-2222-ab"


def pay(card, amount=0):
    """Pay."""


class Tasks:
    """An engine of one task, which is running here with a card."""

    def tasks(self, name):
        """Return the task, also for the one that maps it."""
        return [pay] if name in ("shop.pay", "map") else []

    def function(self, task):
        """Return it."""
        return task

    def is_canvas(self, name):
        """Have none."""
        return name == "map"

    def arguments(self, name, task_id):
        """Return the arguments of the run."""
        if name == "map":
            return [], {"task": {"task": "shop.pay", "args": [], "kwargs": {}}, "it": [[CARD]]}
        return ([CARD], {"amount": 5}) if task_id == "running" else None


class Gate:
    """A gate, and what passes it."""

    def __init__(self, **options):
        self.journal = Journal()
        self.sink = EventSink(self.journal, Redactor(), **options)

    def tell(self, kind, details, *, task_id="running", name="shop.pay"):
        """Pass one record; return its data, or None."""
        del self.journal.records[:]
        self.sink.emit(LifecycleRecord(kind, TaskFacts("celery", task_id, name), 0, details))
        return json.loads(self.journal.records[0])["data"] if self.journal.records else None


@pytest.fixture
def declare(policies, monkeypatch):
    """Declare the task's policy."""
    from z4j_otel.exporter import obedience  # noqa: PLC0415 -- patched where it is used

    for module in (policies, obedience):
        monkeypatch.setattr(module, "finders", lambda: [Tasks()])
    yield lambda **options: z4j_task(**options)(pay)
    vars(pay).clear()


def test_arguments_are_hidden_before_the_disk(declare):
    """In whatever event they are told; the common rules come afterwards."""
    declare(redact=["card"])
    data = Gate().tell(EventKind.TASK_SENT, {"args": [CARD], "kwargs": {"amount": "a@b.example"}})
    assert data["args"] == [REDACTED]
    assert data["kwargs"] == {"amount": REDACTED}


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (EventKind.TASK_FAILED, "exception"),
        (EventKind.TASK_FAILED, "traceback"),
        (EventKind.TASK_RETRIED, "reason"),
        (EventKind.TASK_SUCCEEDED, "result"),
        (EventKind.TASK_RECEIVED, "shadow"),
    ],
)
def test_hidden_values_are_hidden_where_the_task_repeats_them(declare, kind, key):
    """The arguments of the run are asked for."""
    declare(redact=["card"])
    assert Gate().tell(kind, {key: f"no {CARD} here"})[key] == f"no {REDACTED} here"
    assert Gate().tell(kind, {key: "amount 5"})[key] == "amount 5"


def test_our_own_words_stay(declare):
    """The brain reads them, whatever a task was given."""
    declare(redact=["card"])
    details = {"args": ["exception", "ValueError"], "cause": "exception", "exception": "ValueError"}
    data = Gate().tell(EventKind.TASK_FAILED, {**details, "exception_type": "ValueError"})
    assert (data["cause"], data["exception_type"]) == ("exception", "ValueError")


def test_what_an_event_says_itself_is_enough(declare):
    """A revoked task has arguments and never ran."""
    declare(keep=["amount"])
    details = {"args": [CARD], "kwargs": {}, "shadow": f"pay {CARD}", "root_task_id": CARD}
    data = Gate().tell(EventKind.TASK_RECEIVED, details, task_id="other")
    assert data["shadow"] == f"pay {REDACTED}"
    assert data["root_task_id"] == CARD


def test_nobody_knows_the_arguments_of_a_run_elsewhere(declare):
    """Then only the common rules apply to its texts."""
    declare(redact=["card"])
    data = Gate().tell(EventKind.TASK_FAILED, {"exception": "ValueError: no"}, task_id="other")
    assert data["exception"] == "ValueError: no"


def test_a_result_is_hidden(declare):
    """Whatever it is; other events are as they were."""
    declare(redact_result=True)
    assert Gate().tell(EventKind.TASK_SUCCEEDED, {"result": {"a": 1}})["result"] == REDACTED
    assert Gate().tell(EventKind.TASK_SENT, {"args": [CARD], "kwargs": {}})["args"] == [CARD]


def test_tags_are_added_to_the_configured_ones(declare):
    """The task's own win, and events of other tasks keep the configured ones."""
    declare(tags={"team": "billing", "site": "b"})
    gate = Gate(common={"tags": {"site": "a", "env": "x"}})
    told = gate.tell(EventKind.TASK_STARTED, {})
    assert told["tags"] == {"site": "b", "env": "x", "team": "billing"}
    assert gate.tell(EventKind.TASK_STARTED, {}, name="other")["tags"] == {"site": "a", "env": "x"}
    assert Gate().tell(EventKind.TASK_STARTED, {})["tags"] == {"site": "b", "team": "billing"}


def test_a_priority_is_told_where_the_message_has_none(declare):
    """When it is sent and received, as a message's own is."""
    declare(priority="high")
    gate = Gate()
    assert gate.tell(EventKind.TASK_SENT, {})["priority"] == "high"
    assert gate.tell(EventKind.TASK_RECEIVED, {"priority": "low"})["priority"] == "low"
    assert "priority" not in gate.tell(EventKind.TASK_STARTED, {})


def test_expected_times_are_told(declare):
    """With every event."""
    declare(expected_duration_ms=50, deadline_ms=5000)
    data = Gate().tell(EventKind.TASK_STARTED, {})
    assert (data["expected_duration_ms"], data["deadline_ms"]) == (50, 5000)


def test_a_skipped_task_tells_nothing(declare):
    """It is counted, and neither journalled nor lost."""
    declare(skip=True)
    gate = Gate()
    assert gate.tell(EventKind.TASK_SENT, {}) is None
    assert (gate.sink.skipped, gate.sink.dropped, gate.journal.lost) == (1, 0, [])


def test_all_of_a_run_is_told_or_nothing(declare):
    """In each process alike: the choice is by task id."""
    declare(sample_rate=0.5)
    for task_id, is_told in (("a", False), ("b", True)):
        for kind in (EventKind.TASK_SENT, EventKind.TASK_STARTED, EventKind.TASK_FAILED):
            assert (Gate().tell(kind, {}, task_id=task_id) is not None) is is_told


def test_results_of_a_map_are_those_of_its_task(declare):
    """They are hidden where the task's are, and so are its arguments in them."""
    declare(redact=["card"])
    gate = Gate()
    assert gate.tell(EventKind.TASK_SUCCEEDED, {"result": [CARD]}, name="map")["result"] == [
        REDACTED
    ]
    declare(redact_result=True)
    assert gate.tell(EventKind.TASK_SUCCEEDED, {"result": [5]}, name="map")["result"] == REDACTED


def test_an_engine_that_fails_costs_no_event(declare, monkeypatch):
    """The texts are then told by the common rules."""
    declare(redact=["card"])
    monkeypatch.setattr(Tasks, "arguments", lambda *_: 1 / 0)
    data = Gate().tell(EventKind.TASK_FAILED, {"exception": "ValueError: no"})
    assert data["exception"] == "ValueError: no"
