"""The gate: nothing enters the journal raw or unbounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.buffer.base import DropReason
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts
from z4j_otel.exporter.sink import UNENCODABLE, EventSink
from z4j_otel.redaction import Redactor
from z4j_otel.wire import canonical

_UUID = "c3938dfc-3646-4c88-96fe-da29c912e986"


class Journal:
    """A journal in a list; full on request."""

    def __init__(self, *, is_full: bool = False) -> None:
        self.records: list[bytes] = []
        self.is_full = is_full
        self.lost: list[str] = []

    def count_lost(self, reason: str, count: int = 1) -> None:
        """Note the loss."""
        self.lost += [reason] * count

    def append(self, record: bytes, *, now_ns: int) -> bool:
        """Keep the record, unless full."""
        if not self.is_full:
            self.records.append(record)
        return not self.is_full


def emit(details: dict[str, Any], *, task_id: str = "t1", **options: Any) -> dict[str, Any]:
    """Pass one record through a gate, and decode what arrives in the journal."""
    journal = Journal()
    facts = TaskFacts("celery", task_id, "shop.add", "orders", "w1@host")
    EventSink(journal, Redactor(), **options).emit(
        LifecycleRecord(EventKind.TASK_RECEIVED, facts, 0, details)
    )
    (record,) = journal.records
    decoded: dict[str, Any] = json.loads(record)
    assert canonical.encode(decoded) == record
    return decoded


def test_secrets_do_not_pass() -> None:
    """Keys, values and texts inside them are redacted before the journal."""
    kwargs = {"api_token": "tok-17", "note": "mail jane@example.com"}
    data = emit({"kwargs": kwargs, "exception": "Boom: password=hunter2 at 3"})["data"]
    assert data["kwargs"] == {"api_token": "[REDACTED]", "note": "mail [REDACTED]"}
    assert "hunter2" not in data["exception"]
    assert data["exception"].endswith("at 3")


def test_a_number_that_is_a_card_does_not_pass() -> None:
    """A result may be a bare number."""
    assert emit({"result": 4111111111111111})["data"]["result"] == "[REDACTED]"
    assert emit({"result": 10**5000})["data"]["result"] != 10**5000
    assert emit({"result": 17})["data"]["result"] == 17


def test_a_long_traceback_keeps_its_end() -> None:
    """The raising frame is at the end; the brain keeps 8192 characters."""
    text = (
        "Traceback (most recent call last):\n" + '  File "x.py", line 1, in f\n' * 2000 + "Boom: x"
    )
    traceback = emit({"traceback": text})["data"]["traceback"]
    assert len(traceback.encode()) < 8192
    assert traceback.endswith("Boom: x")


def test_every_event_carries_the_common_data() -> None:
    """Environment and tags are on every event, redacted like the rest."""
    data = emit({}, common={"environment": "test", "tags": {"password": "x"}})["data"]
    assert data["environment"] == "test"
    assert data["tags"] == {"password": "[REDACTED]"}


def test_a_task_id_that_is_a_secret_does_not_pass() -> None:
    """Applications choose task ids; an e-mail address is none of the brain's business."""
    assert emit({}, task_id="jane@example.com")["task_id"] == "[REDACTED]"


def test_a_root_with_the_same_id_is_written_by_the_same_rules() -> None:
    """Most tasks are their own root; an id that is no UUID is redacted in both places."""
    for task_id, shown in (("jane@example.com", "[REDACTED]"), (_UUID, _UUID)):
        # Equal, and not the same object.
        event = emit({"root_task_id": task_id[:1] + task_id[1:]}, task_id=task_id)
        assert (event["task_id"], event["data"]["root_task_id"]) == (shown, shown)


@given(st.integers(1, 6), st.integers(0, 40_000))
def test_no_event_is_larger_than_allowed(fields: int, length: int) -> None:
    """However much a task carries, its event fits; what fits stays."""
    details = {f"field{n}": "é" * length for n in range(fields)}
    event = emit(details, max_event_bytes=4096)
    del event["mono_ns"]  # the agent takes it out
    assert len(canonical.encode(event)) <= 4096


def test_what_the_journal_cannot_take_is_counted() -> None:
    """A full journal loses nothing silently."""
    sink = EventSink(Journal(is_full=True), Redactor())
    sink.emit(LifecycleRecord(EventKind.TASK_STARTED, TaskFacts("celery", "t", "n"), 0))
    assert (sink.captured, sink.dropped) == (1, 1)


def test_hostile_details_raise_nothing_into_the_task() -> None:
    """Whatever a hook reports, the application's thread goes on."""

    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    assert "Hostile" in json.dumps(emit({"result": Hostile(), "reason": "\ud800\x00"}))


def test_the_next_record_calls_once() -> None:
    """Whoever sleeps until something comes is called behind it, and asks anew."""
    journal, seen = Journal(), []
    sink = EventSink(journal, Redactor())
    sink.call_at_next(lambda: seen.append(len(journal.records)))
    record = LifecycleRecord(EventKind.TASK_RECEIVED, TaskFacts("celery", "t1", "a"), 0, {})
    for _ in range(3):
        sink.emit(record)
    assert seen == [1]


def test_two_threads_that_see_one_call_both_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """The second one finds it taken."""

    class Raced(EventSink):
        _call = property(lambda self: self.looks.pop(0), lambda self, call: None)

    sink = Raced(Journal(), Redactor())
    sink.looks = [print, None]
    sink.emit(LifecycleRecord(EventKind.TASK_RECEIVED, TaskFacts("celery", "t1", "a"), 0, {}))
    assert sink.looks == []
    assert caplog.messages == []


def test_flushing_is_the_owners_business() -> None:
    """The gate passes a flush on, and has nothing to wait for alone."""
    asked: list[float] = []
    sink = EventSink(Journal(), Redactor(), on_flush=lambda s: not asked.append(s))
    assert sink.flush(2.0)
    assert asked == [2.0]
    assert EventSink(Journal(), Redactor()).flush(1.0)


def test_what_cannot_be_encoded_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The loss has a reason, and the application notices nothing."""

    class Broken(Redactor):
        def redact(self, value: Any, *, budget_bytes: int | None = None) -> Any:
            if value == ["x"]:
                raise RuntimeError
            return super().redact(value, budget_bytes=budget_bytes)

    journal = Journal()
    sink = EventSink(journal, Broken())
    facts = TaskFacts("celery", "t1", "shop.add")
    sink.emit(LifecycleRecord(EventKind.TASK_RECEIVED, facts, 0, {"args": ["x"]}))
    assert (journal.records, journal.lost, sink.dropped) == ([], [UNENCODABLE], 1)
    assert DropReason(UNENCODABLE) is DropReason.UNENCODABLE
    assert "capture failed" in caplog.text
