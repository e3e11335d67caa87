"""Each built-in rule takes what it says, leaves the rest, and can be missed."""

import pytest

from z4j_otel.redaction import REDACTED, RULES, RedactionPolicy, Redactor
from z4j_otel.redaction.keys import KEY_RULES, NAME_STEMS, KeyRules
from z4j_otel.redaction.patterns import TOKEN_RULES

from .examples import HARMLESS, KEY_EXAMPLES, TEXT_EXAMPLES, redacted, written

TAKEN_NAMES = [(rule, name) for rule, names in KEY_EXAMPLES.items() for name in names[0]]
LEFT_NAMES = [name for names in KEY_EXAMPLES.values() for name in names[1]]
TAKEN_TEXTS = [(rule, text) for rule, texts in TEXT_EXAMPLES.items() for text in texts[0]]
LEFT_TEXTS = [text for texts in TEXT_EXAMPLES.values() for text in texts[1]] + HARMLESS
REDACTOR = Redactor()


def test_every_rule_has_examples_and_a_line_in_the_catalogue() -> None:
    """Tables, catalogue and examples name the same rules."""
    assert set(KEY_EXAMPLES) | set(TEXT_EXAMPLES) == set(RULES)
    assert {rule.name for rule in (*KEY_RULES, *TOKEN_RULES)} <= set(RULES)
    assert all(taken and left for taken, left in (KEY_EXAMPLES | TEXT_EXAMPLES).values())


@pytest.mark.parametrize(("rule", "name"), TAKEN_NAMES)
def test_a_sensitive_name_is_known_by_its_rule(rule: str, name: str) -> None:
    """A value under the name goes, as a key and (but for over-long names) in a text."""
    shown, findings = REDACTOR.explain({name: "plum"})
    assert list(shown.values()) == [REDACTED]
    assert [each.rule for each in findings] == [rule]
    if rule != "key:too-long":
        assert REDACTOR.redact_text(f"{name}='plum'") == f"{name}='{REDACTED}'"
        assert any(stem in name.lower() for stem in NAME_STEMS)


@pytest.mark.parametrize("name", LEFT_NAMES)
def test_a_name_that_only_looks_sensitive_is_left(name: str) -> None:
    """A value under the name is shown, as a key and in a text."""
    assert REDACTOR.redact({name: "plum"}) == {name: "plum"}
    assert REDACTOR.redact_text(f"{name}='plum'") == f"{name}='plum'"


@pytest.mark.parametrize(("rule", "text"), TAKEN_TEXTS)
def test_a_secret_is_taken_and_its_surroundings_stay(rule: str, text: str) -> None:
    """Exactly the secret is replaced, by that rule, alone and between other text, once for all."""
    shown, findings = REDACTOR.explain_text(written(text))
    assert shown == redacted(text)
    assert [each.rule for each in findings] == [rule]
    assert REDACTOR.redact_text(shown) == shown
    framed = f"plain words; {text}\nplain words"
    if "BEGIN OPENSSH" not in text:  # half a key: it reaches to the end
        assert REDACTOR.redact_text(written(framed)) == redacted(framed)


@pytest.mark.parametrize("text", LEFT_TEXTS)
def test_what_only_looks_like_a_secret_is_left(text: str) -> None:
    """Nothing is replaced, in short texts and in long ones."""
    assert REDACTOR.redact_text(text) == text
    framed = f"{'. ' * 200}{text} ."
    assert REDACTOR.redact_text(framed) == framed


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"key:too-long"}))
def test_a_rule_that_is_switched_off_takes_nothing(rule: str) -> None:
    """Without the rule, its own name appears in no explanation."""
    redactor = Redactor(RedactionPolicy(disabled_rules=frozenset({rule})))
    names, texts = KEY_EXAMPLES.get(rule), TEXT_EXAMPLES.get(rule)
    for name in names[0] if names else ():
        assert rule not in {each.rule for each in redactor.explain({name: "plum"})[1]}
    for text in texts[0] if texts else ():
        shown, findings = redactor.explain_text(written(text))
        assert rule not in {each.rule for each in findings}
        assert shown != redacted(text) or findings


def test_a_key_rule_that_is_switched_off_is_off_in_texts() -> None:
    """Names in texts are judged by the same rules as keys."""
    rules = KeyRules(RedactionPolicy(disabled_rules=frozenset({"key:password"})))
    assert not rules.is_sensitive("password")
    assert rules.rule_of("password_token") == "key:token"
