"""A policy's values, checked where they are written."""

from __future__ import annotations

import math
import re

import pytest

from z4j_otel.errors import ConfigError
from z4j_otel.task_policies.policy import TaskPolicy, build_policy, strictest


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("redact", "card", "expected a list of the names of arguments, as redact=['card', "),
        ("keep", ["a..b"], "expected a list of the names of arguments, as keep=['card', "),
        ("redact", [7], "expected a list of the names"),
        ("redact", [""], "expected a list of the names"),
        ("redact", ["a"] * 101, "expected at most 100 names"),
        ("redact_result", 1, "expected True or False"),
        ("skip", "yes", "expected True or False"),
        ("tags", {"team": 7}, "expected texts by name, as tags={'team': 'billing'}"),
        ("tags", "billing", "expected texts by name"),
        ("tags", {"team": "x" * 201}, "expected at most 32 tags of at most 200 characters"),
        ("priority", "urgent", "expected one of critical, high, normal, low"),
        ("sample_rate", 1.5, "expected a number from 0 (no run) to 1 (every run)"),
        ("sample_rate", True, "expected a number from 0"),
        ("sample_rate", math.nan, "expected a number from 0"),
        ("deadline_ms", 0, "expected a whole number of milliseconds above 0"),
        ("expected_duration_ms", 1.5, "expected a whole number of milliseconds above 0"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(option, value, told):
    """The text names the option and shows the form, never the value."""
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        build_policy({option: value})
    assert str(caught.value).startswith(f"{option} (z4j_task): ")


def test_options_that_are_not_given_change_nothing():
    """None stands for what was not given."""
    assert build_policy({"redact": None, "skip": None}) == TaskPolicy()
    assert not TaskPolicy().hides_arguments


def test_tags_may_be_names_alone():
    """As the existing agents take them."""
    assert build_policy({"tags": ["billing"]}).tags == {"billing": "true"}


def test_two_policies_add_up_to_the_stricter_one():
    """What one of them hides is hidden; the first one's word counts for the rest."""
    one = build_policy({"redact": ["a"], "keep": ["x", "y"], "tags": {"t": "1"}, "skip": True})
    other = build_policy(
        {"redact": ["b"], "keep": ["y"], "tags": {"t": "2", "u": "3"}, "sample_rate": 0.5}
    )
    both = strictest([one, other])
    assert both.redact == {("a",), ("b",)}
    assert both.keep == {("y",)}
    assert both.tags == {"t": "1", "u": "3"}
    assert both.skip
    assert both.sample_rate == 0.5
    assert strictest([one, one]) is one
    assert strictest([]) is None


def test_a_share_of_the_runs_is_told():
    """About as many as asked for, and none or all at the ends."""
    ids = [f"id-{number}" for number in range(2000)]
    told = [sum(map(TaskPolicy(sample_rate=rate).tells_of, ids)) for rate in (0.0, 0.25, 1.0)]
    assert told[0] == 0
    assert 400 < told[1] < 600
    assert told[2] == 2000
    assert not TaskPolicy(skip=True).tells_of("any")


def test_the_choice_of_a_run_is_the_same_everywhere():
    """It depends on nothing but the id: every process and every version chooses alike."""
    policy = TaskPolicy(sample_rate=0.5)
    assert [policy.tells_of(each) for each in ("a", "b", "c", "d")] == [False, True, True, False]
