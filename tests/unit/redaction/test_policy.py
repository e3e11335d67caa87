"""The policy checks its patterns and bounds when it is made."""

import pytest

from z4j_otel.errors import ConfigError
from z4j_otel.redaction import RedactionPolicy


@pytest.mark.parametrize("field", ["extra_key_patterns", "extra_value_patterns"])
@pytest.mark.parametrize("patterns", [("fine", "(broken"), ("fine", 7), "not-a-list"])
def test_an_invalid_pattern_names_setting_and_form(field: str, patterns: object) -> None:
    """A pattern that does not compile is refused without repeating its text."""
    with pytest.raises(ConfigError) as caught:
        RedactionPolicy(**{field: patterns})
    assert caught.value.setting == f"redaction_{field}"
    assert "regular expression" in str(caught.value)
    assert "broken" not in str(caught.value)


@pytest.mark.parametrize(
    "bounds",
    [{"max_string_bytes": 63}, {"max_items": 1}, {"max_depth": 0}, {"max_total_bytes": 255}],
)
def test_a_bound_out_of_range_is_refused(bounds: dict[str, int]) -> None:
    """A bound that leaves no room for a marker is a configuration error."""
    with pytest.raises(ConfigError, match="expected"):
        RedactionPolicy(**bounds)


@pytest.mark.parametrize("name", ["value:mail", "key:too-long", ""])
def test_a_rule_that_is_not_there_cannot_be_switched_off(name: str) -> None:
    """The error names the setting and, where there is one, the nearest rule."""
    with pytest.raises(ConfigError) as caught:
        RedactionPolicy(disabled_rules=frozenset({name}))
    assert caught.value.setting == "redaction_disabled_rules"
    assert ("did you mean value:email?" in str(caught.value)) == (name == "value:mail")


@pytest.mark.parametrize("field", ["extra_key_patterns", "extra_value_patterns"])
def test_a_dangerous_pattern_is_refused_with_the_reason(field: str) -> None:
    """The error says which pattern and why, and repeats none."""
    with pytest.raises(ConfigError, match="pattern 2 can match the same text") as caught:
        RedactionPolicy(**{field: ("fine_plum", "(b+)+c")})
    assert "plum" not in str(caught.value)
    assert "(b+)+c" not in str(caught.value)
