"""The application's own redactors see each value first and cannot do harm."""

import logging
from typing import Any

import pytest

from z4j_otel import guard
from z4j_otel.redaction import REDACT, REDACTED, Finding, RedactionPolicy, Redactor
from z4j_otel.redaction.custom import NamedRedactor, ask

VALUE = {
    "customer": {"name": "Ada", "age": 36, "tags": ["x", True]},
    "none": None,
    "password": "plum",
    "mail": "a@b.co",
}


class Watcher:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def __call__(self, path: str, value: Any) -> Any:
        """Change nothing."""
        self.asked.append((path, value))
        return value


def hide_names(path: str, value: Any) -> Any:
    """Hide names of customers, and answer for others with what must go."""
    if path.endswith("customer.name"):
        return REDACT
    return "see password=plum" if path.endswith("mail") else value


def fail(path: str, value: Any) -> Any:
    """Raise for texts."""
    if isinstance(value, str):
        raise KeyError(value)
    return value


def test_each_leaf_is_shown_with_its_path() -> None:
    """Texts, numbers and truth values are shown; names, None and what is gone are not."""
    watcher = Watcher()
    redactor = Redactor(RedactionPolicy(redactors=(watcher,)))
    assert redactor.redact(VALUE, path="kwargs") == Redactor().redact(VALUE)
    assert watcher.asked == [
        ("kwargs.customer.name", "Ada"),
        ("kwargs.customer.age", 36),
        ("kwargs.customer.tags[0]", "x"),
        ("kwargs.customer.tags[1]", True),
        ("kwargs.mail", "a@b.co"),
    ]


def test_an_answer_takes_the_place_of_the_value_and_passes_the_rules() -> None:
    """REDACT hides it; any other answer is redacted as a value of the application is."""
    redactor = Redactor(RedactionPolicy(redactors=(hide_names,)))
    shown, findings = redactor.explain(VALUE)
    assert shown == redactor.redact(VALUE)
    assert shown["customer"]["name"] == REDACTED
    assert shown["mail"] == f"see password={REDACTED}"
    assert Finding("customer.name", "custom:1", 1) in findings


def test_short_numbers_and_dictionaries_are_shown_too() -> None:
    """The short way for harmless values is closed when somebody wants to see them."""
    watcher = Watcher()
    redactor = Redactor(RedactionPolicy(redactors=(watcher,)))
    for _ in range(2):
        redactor.redact([1, 2], path="args")
        redactor.redact({"note": "n"}, path="kwargs")
    assert watcher.asked == 2 * [("args[0]", 1), ("args[1]", 2), ("kwargs.note", "n")]


def test_a_failing_redactor_hides_the_value_and_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its errors are counted and logged once a minute, without the value."""
    monkeypatch.setattr(guard, "failures", {})
    monkeypatch.setattr(guard, "_logged_at", {})
    redactor = Redactor(RedactionPolicy(redactors=(fail,)))
    with caplog.at_level(logging.WARNING):
        assert redactor.redact(["plum", 1, "pear"]) == [REDACTED, 1, REDACTED]
        assert redactor.redact_text("plum pie") == REDACTED
    assert guard.failures == {"custom redactor 1": 3}
    assert len(caplog.records) == 1
    assert "plum" not in caplog.text


def test_redactors_are_asked_in_their_order() -> None:
    """Each gets the answer of the one before, until one hides the value."""
    upper = lambda _, value: value.upper()  # noqa: E731 -- the smallest redactor
    assert ask((upper, lambda _, value: value + "!"), "", "a") == ("A!", "custom:2")
    assert ask((lambda *_: [1], upper), "", "a") == (REDACT, "custom:1")
    assert ask((lambda *_: None, upper), "", "a") == (None, "custom:1")
    assert ask((lambda *_: REDACT, upper), "", "a") == (REDACT, "custom:1")
    assert ask((upper,), "", None) == (None, "")


@pytest.mark.parametrize(
    ("answer", "shown"), [(REDACT, REDACTED), ("short", "short"), (7, REDACTED)]
)
def test_texts_are_shown_as_a_whole(answer: Any, shown: str) -> None:
    """A traceback is one text under its name; an answer that is no text hides it."""
    redactor = Redactor(RedactionPolicy(redactors=(lambda path, _: answer if path == "tb" else 1,)))
    assert redactor.redact_text("long traceback", path="tb") == shown
    assert redactor.explain_text("long traceback", path="tb") == (
        shown,
        [Finding("tb", "custom:1", 1)],
    )


def test_the_answer_has_a_name() -> None:
    """People meet it in a debugger."""
    assert repr(REDACT) == "REDACT"


def test_a_function_of_the_settings_is_imported_when_it_is_first_asked() -> None:
    """The application may not be there yet when the settings are read."""
    redactor = NamedRedactor("operator.concat")
    assert redactor._function is None
    assert redactor("a", "b") == redactor("a", "b") == "ab"
    assert repr(redactor) == "NamedRedactor('operator.concat')"


@pytest.mark.parametrize("name", ["no_such_module.function", "operator.nothing", "bare"])
def test_a_function_that_is_not_there_hides_all_values(name: str) -> None:
    """A misspelt name must not let through what it should have hidden."""
    redactor = Redactor(RedactionPolicy(redactors=(NamedRedactor(name),)))
    assert redactor.redact({"a": "plum", "b": [1]}) == {"a": REDACTED, "b": [REDACTED]}
