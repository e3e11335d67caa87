"""Explaining tells which rule took what, and redacts as ever."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.redaction import REDACTED, Finding, RedactionPolicy, Redactor

VALUE = {
    "user": {"password": "hunter2", "mail": "a@b.co, c@d.co"},
    "args": [1, "Authorization: Basic x", ("--token", "abc")],
    "pairs": [("api_key", "x"), ("a", 4111111111111111)],
    "env": [{"name": "DB_PASSWORD", "value": "hunter2"}],
    "a@b.co": "password=hunter2",
    7: "see ghp_0123456789abcdefghijABCDEFGHIJ012345 and key=1",
}
FOUND = [
    Finding("user.password", "key:password", 1),
    Finding("user.mail", "value:email", 2),
    Finding("args[1]", "text:header", 1),
    Finding("args[2][1]", "key:token", 1),
    Finding("pairs[0][1]", "key:api-key", 1),
    Finding("pairs[1][1]", "value:card", 1),
    Finding("env[0].value", "key:password", 1),
    Finding(REDACTED, "value:email", 1),
    Finding(REDACTED, "text:assignment", 1),
    Finding("7", "value:github", 1),
]
PIECES = st.sampled_from(["a@b.co", "password=x", "plain", "4111111111111111", "token", "name"])
VALUES = st.recursive(
    PIECES | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(PIECES | st.integers(), inner),
    max_leaves=12,
)


def test_each_rule_is_told_with_its_place() -> None:
    """Keys, pairs, named values, numbers and parts of texts are told by path and rule."""
    value, findings = Redactor().explain(VALUE)
    assert value == Redactor().redact(VALUE)
    assert findings == FOUND


def test_what_is_dropped_is_not_told() -> None:
    """A secret that did not fit into the budget was not redacted: it is not there."""
    value = {"a": "w " * 80, "db_password": 10**400, "b": ["x" * 90, "a@b.co " * 20]}
    shown, findings = Redactor().explain(value, budget_bytes=256)
    assert "b" not in shown
    assert {each.path for each in findings} <= {"db_password"}


def test_nothing_taken_is_nothing_told() -> None:
    """A value without secrets has no findings."""
    assert Redactor().explain({"note": "n", "list": [1, 2]}) == ({"note": "n", "list": [1, 2]}, [])


@given(VALUES, st.integers(256, 2000))
def test_explaining_changes_nothing(value: Any, budget: int) -> None:
    """The explained value is the redacted value, and what is shown redacted has a finding."""
    redactor = Redactor(RedactionPolicy(max_items=3))
    shown, findings = redactor.explain(value, budget_bytes=budget)
    assert shown == redactor.redact(value, budget_bytes=budget)
    assert str(shown).count(REDACTED) <= sum(each.count for each in findings)
    assert bool(findings) == (REDACTED in str(shown))


@pytest.mark.parametrize("path", ["", "traceback"])
def test_a_text_is_explained_under_its_name(path: str) -> None:
    """Each rule that took a part of a text is told once, with the number of parts."""
    text, findings = Redactor().explain_text("a@b.co c@d.co password=x", path=path)
    assert text == f"{REDACTED} {REDACTED} password={REDACTED}"
    assert findings == [Finding(path, "value:email", 2), Finding(path, "text:assignment", 1)]


def test_the_path_begins_with_what_the_value_is_called() -> None:
    """A caller names the value it has explained."""
    redactor = Redactor()
    assert redactor.explain(["a@b.co"], path="args")[1] == [Finding("args[0]", "value:email", 1)]
    assert redactor.explain("a@b.co", path="result")[1] == [Finding("result", "value:email", 1)]
    assert redactor.explain({"token": 1}, path="kw")[1] == [Finding("kw.token", "key:token", 1)]


def test_extra_patterns_are_told_by_their_number() -> None:
    """A user's own pattern has the number of its place in the setting."""
    policy = RedactionPolicy(extra_key_patterns=("x", "badge"), extra_value_patterns=(r"EMP-\d+",))
    findings = Redactor(policy).explain({"badge": 1, "note": "EMP-77"})[1]
    assert [each.rule for each in findings] == ["key:extra-2", "value:extra-1"]


def test_a_part_beyond_the_cut_is_told_once() -> None:
    """What a cut brings out or takes away is not counted twice."""
    plain = Redactor(RedactionPolicy(max_string_bytes=64))
    assert plain.explain_text("w " * 900) == (plain.redact_text("w " * 900), [])
    policy = RedactionPolicy(max_string_bytes=100)
    assert Redactor(policy).explain_text("w " * 40 + "a@b.co " + "w " * 900)[1] == [
        Finding("", "value:email", 1)
    ]


def test_a_value_that_cannot_be_read_has_no_findings() -> None:
    """Failures and values without room end in the marker of :meth:`Redactor.redact`."""
    redactor = Redactor()
    assert redactor.explain(10**3000, budget_bytes=1) == ("[unreadable]", [])
    redactor.policy = None  # type: ignore[assignment]
    assert redactor.explain_text("long enough", max_bytes=99) == ("[unreadable]", [])
    assert redactor.explain("long enough", budget_bytes=999) == ("[unreadable]", [])
