"""What the brain may see of a schedule, and what its wishes mean."""

from __future__ import annotations

import pytest

from z4j_otel import z4j_task
from z4j_otel.agent.schedules.rows import RowRedactor
from z4j_otel.errors import CommandRefused
from z4j_otel.redaction import RedactionPolicy, Redactor
from z4j_otel.wire.schedules import ROW_MEMBERS

from .scripted import schedule

REDACT = RowRedactor(Redactor())


def test_row_keeps_its_form_whatever_is_redacted():
    """All members stay, lists stay lists and objects objects."""
    row = REDACT.row(schedule("k", args=[object()], kwargs={"password": ["x"], "n": 1e-7}))
    assert set(row) == ROW_MEMBERS
    assert row["kwargs"] == {"password": "[REDACTED]", "n": 1e-7}
    assert row["args"] == ["<builtins.object>"]


def test_names_that_differ_in_what_was_redacted_stay_apart():
    """A redacted name gets the key behind it, within the brain's column."""
    rows = [REDACT.row(schedule(f"k{n}", name=f"mail to u{n}@example.com")) for n in (1, 2)]
    assert rows[0]["name"] == "mail to [REDACTED] (k1)"
    assert rows[1]["name"] == "mail to [REDACTED] (k2)"
    long = REDACT.row(schedule("key", name="x" * 500))
    assert len(long["name"]) <= 200
    assert long["name"].endswith("(key)")


def test_row_is_the_same_when_it_is_redacted_twice():
    """The brain's redaction comes after ours and must not find anything."""
    redactor = Redactor()
    row = REDACT.row(schedule("k", kwargs={"to": "a@example.com", "s": "x" * 20_000}))
    assert redactor.redact(row["kwargs"]) == row["kwargs"]
    assert len(row["kwargs"]["s"].encode()) <= 8000


def test_strings_stay_below_the_brains_cut_whatever_is_configured():
    """A longer string would be cut by the brain, and its digest would not match."""
    wide = RowRedactor(Redactor(RedactionPolicy(max_string_bytes=100_000)))
    row = wide.row(schedule("k", args=["x" * 9000]))
    assert len(row["args"][0].encode()) <= 8000


def test_values_as_they_were_shown_are_no_change():
    """An operator who sends the whole row back changes only what differs."""
    current = schedule("k", kwargs={"password": "hunter2"}, args=[1])
    shown = {"kwargs": {"password": "[REDACTED]"}, "args": [1], "expression": "90"}
    assert REDACT.unredacted(shown, current) == {"expression": "90"}


@pytest.mark.parametrize(
    "definition",
    [
        {"kwargs": {"password": "[REDACTED]", "more": 1}},
        {"kwargs": {"[REDACTED]": 1}},
        {"args": [["x [REDACTED]"]]},
        {"name": "mail to [REDACTED]"},
        {"kwargs": {"note": "mail to [REDACTED:3f2a]"}},
    ],
)
def test_a_mixture_of_new_and_redacted_values_is_refused(definition):
    """A marker never reaches the scheduler as a value."""
    with pytest.raises(CommandRefused, match="REDACTED"):
        REDACT.unredacted(definition, schedule("k", kwargs={"password": "hunter2"}))
    with pytest.raises(CommandRefused):
        REDACT.unredacted(definition, None)


def test_a_schedule_obeys_the_policy_of_its_task(policies, monkeypatch):
    """What the task's policy hides is hidden in its schedules, and is no change when sent back."""
    monkeypatch.setattr(policies, "finders", list)
    z4j_task("shop.pay", redact=["card"])
    current = schedule("k", task_name="shop.pay", kwargs={"card": "4111", "n": 1})
    assert REDACT.row(current)["kwargs"] == {"card": "[REDACTED]", "n": 1}
    assert REDACT.unredacted({"kwargs": {"card": "[REDACTED]", "n": 1}}, current) == {}
    with pytest.raises(CommandRefused, match="stands for a value"):
        REDACT.unredacted({"kwargs": {"card": "[REDACTED]", "n": 2}}, current)
