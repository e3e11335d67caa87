"""What a preview says of a value."""

from __future__ import annotations

import json

import pytest

from z4j_otel.cli.redact_preview import (
    AS_WRITTEN,
    preview_call,
    preview_document,
    preview_stored,
    preview_text,
)
from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.task_policies import BoundPolicy
from z4j_otel.task_policies.policy import build_policy
from z4j_otel.task_policies.signatures import read_parameters

CARD = "4111-2222-ab"
REDACTOR = Redactor()


def pay(card, amount=0, note=""):
    """Pay."""


def call(details, **options):
    """Preview a call of a task with a policy."""
    bound = BoundPolicy(build_policy(options), read_parameters(pay))
    return preview_call(REDACTOR, bound, "shop.pay", details)


def found(preview):
    """Return paths and rules."""
    return [(each.path, each.rule) for each in preview.findings]


def test_a_document_is_shown_as_it_would_leave():
    """With a row for each rule at each place."""
    preview = preview_document(REDACTOR, {"user": {"password": "x"}, "to": ["a@b.example", 7]})
    assert preview.redacted == {"user": {"password": REDACTED}, "to": [REDACTED, 7]}
    assert found(preview) == [("user.password", "key:password"), ("to[0]", "value:email")]


def test_a_text_is_shown_as_a_traceback_would_be():
    """Its end is what is kept."""
    preview = preview_text(REDACTOR, "x" * 9000 + "\nmail a@b.example")
    assert preview.redacted.endswith(f"mail {REDACTED}")
    assert ("", "value:email") in found(preview)


def test_a_call_tells_what_the_tasks_own_policy_takes():
    """Apart from what the common rules take, and from hidden values that are repeated."""
    details = {
        "args": [CARD, 5],
        "kwargs": {"note": "a@b.example"},
        "result": {"of": CARD},
        "exception": f"ValueError: {CARD} of c@d.example",
    }
    preview = call(details, redact=["card"])
    assert found(preview) == [
        ("args[0]", "task:redact"),
        ("result.of", "task:repeated"),
        ("exception", "task:repeated"),
        ("kwargs.note", "value:email"),
        ("exception", "value:email"),
    ]
    assert CARD not in json.dumps(preview.describe())


def test_each_option_is_told_apart():
    """Also where they come together."""
    details = {"args": [CARD, 5], "kwargs": {"note": "n"}, "result": 7}
    preview = call(details, redact=["card"], keep=["card", "amount"], redact_result=True)
    assert found(preview) == [
        ("args[0]", "task:redact"),
        ("kwargs.note", "task:keep"),
        ("result", "task:redact_result"),
    ]
    assert preview.redacted == {"args": [REDACTED, 5], "kwargs": {"note": REDACTED},
                                "result": REDACTED}  # fmt: skip


def test_what_a_policy_adds_is_noted():
    """It is not seen in the value."""
    options = {"tags": {"team": "billing"}, "priority": "high", "sample_rate": 0.1}
    assert call({"args": []}, deadline_ms=50, **options).notes == [
        "sample_rate: 0.1 of the runs leave, the others not at all",
        "tag: team=billing",
        "priority: high",
        "deadline_ms: 50",
    ]


def test_nothing_is_shown_of_a_skipped_task():
    """Because nothing leaves."""
    preview = call({"args": [CARD]}, skip=True)
    assert preview.redacted is None
    assert preview.notes == ["skip: nothing of this task's runs leaves"]


def test_a_task_without_a_policy_is_told_so():
    """The common rules are shown."""
    preview = preview_call(REDACTOR, None, "shop.add", {"args": ["a@b.example"], "kwargs": {}})
    assert found(preview) == [("args[0]", "value:email")]
    assert preview.notes == ["the task has no policy of its own"]


def test_a_stored_event_shows_its_markers():
    """Which rule it was is not stored."""
    event = {"data": {"args": [REDACTED, f"to {REDACTED} and {REDACTED}"], "result": "x[...5 more"}}
    preview = preview_stored(REDACTOR, "task.sent", event)
    assert [(each.path, each.rule, each.count) for each in preview.findings] == [
        ("data.args[0]", AS_WRITTEN, 1),
        ("data.args[1]", AS_WRITTEN, 2),
        ("data.result", AS_WRITTEN, 1),
    ]
    assert preview.is_clean


def test_a_stored_event_that_todays_rules_would_change_is_not_clean():
    """It was written under other settings; the value is not shown."""
    stricter = Redactor(RedactionPolicy(extra_key_patterns=("patient",)))
    preview = preview_stored(stricter, "task.sent", {"data": {"kwargs": {"patient": "Jane Doe"}}})
    assert not preview.is_clean
    assert [each.path for each in preview.findings] == ["data.kwargs.patient"]
    assert preview.findings[0].rule.startswith("would be taken now: ")
    assert "Jane" not in json.dumps(preview.describe())


@pytest.mark.parametrize("key", ["jane@example.com"])
def test_a_key_that_is_content_is_not_shown_in_a_path(key):
    """Paths are made of safe names."""
    assert key not in json.dumps(call({"args": [], "kwargs": {key: CARD}}, keep=[]).describe())
