"""Events and results made to fit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.agent.reduction import reduce_event, reduce_result
from z4j_otel.wire import canonical


def event(**data):
    """Canonical bytes of a task's event."""
    return canonical.encode(
        {
            "id": "i",
            "kind": "task.failed",
            "engine": "celery",
            "task_id": "t-1",
            "occurred_at": "2026-01-02T03:04:05.000001+00:00",
            "data": {"task_name": "app.add", "queue": "q", "worker": "w", **data},
        }
    )


def reduced(limit, **data):
    """Return the event's data after reduction; asserts that it fits."""
    body = reduce_event(event(**data), limit)
    assert body is not None
    assert len(body) <= limit
    assert canonical.encode(json.loads(body)) == body
    return json.loads(body)["data"]


def test_event_that_fits_is_left_as_it_is():
    """Nothing is cut, and nothing is marked, without need."""
    body = event(args=[1, 2])
    assert reduce_event(body, len(body)) == body


def test_largest_field_goes_first():
    """One big argument does not cost the traceback."""
    data = reduced(3000, kwargs={"blob": "x" * 9000}, traceback="File here\n" * 50, runtime_ms=3)
    assert data["kwargs"] == "[cut: 9011 bytes]"
    assert data["traceback"] == "File here\n" * 50
    assert (data["runtime_ms"], data["reduced"]) == (3, ["kwargs"])


def test_texts_keep_what_tells_most():
    """An exception keeps its beginning, a traceback its end; both say that they were cut."""
    text = "first " + "filler \n" * 500 + " last"
    data = reduced(2000, exception=text, traceback=text)
    assert data["exception"].startswith("first")
    assert data["exception"].endswith("[cut]")
    assert data["traceback"].startswith("[cut]")
    assert data["traceback"].endswith("last")
    assert sorted(data["reduced"]) == ["exception", "traceback"]


@pytest.mark.parametrize("name", ["task_name", "queue", "worker"])
def test_names_stay_whole(name):
    """What identifies a task is never cut, however long."""
    assert reduced(2500, **{name: "n" * 900, "args": ["a" * 5000]})[name] == "n" * 900


def test_what_cannot_fit_is_told():
    """Names alone may be too much, and what is no event has no fields."""
    assert reduce_event(event(task_name="n" * 900), 600) is None
    assert reduce_event(b'{"data":[1]}', 5) is None
    assert reduce_event(b"{", 5) is None


@given(
    st.dictionaries(
        st.sampled_from(["args", "kwargs", "result", "exception", "traceback", "reason"]),
        st.one_of(
            st.none(),
            st.integers(-9, 9),
            st.text(st.characters(codec="utf-8"), max_size=3000),
            st.lists(st.text(st.characters(codec="utf-8"), max_size=200), max_size=20),
        ),
    )
)
def test_every_event_fits_after_reduction(data):
    """Whatever the content, the outcome is within the limit and in canonical form."""
    reduced(900, **data)


def test_result_keeps_status_and_claim():
    """A result without its content still ends the command."""
    payload = {
        "status": "failed",
        "result": {"x": "y" * 5000},
        "error": "e" * 1024,
        "delivery_claim_token": "t",
    }
    value = json.loads(reduce_result(canonical.encode(payload)))
    assert (value["status"], value["delivery_claim_token"]) == ("failed", "t")
    assert value["result"]["truncated"] is True
    assert value["error"] == "e" * 150
    assert json.loads(reduce_result(b'{"status":"success"}'))["error"] is None
