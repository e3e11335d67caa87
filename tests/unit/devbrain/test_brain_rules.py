"""What the brain redacts, and what it leaves alone."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from z4j_otel.devbrain.brain_rules import MAX_DEPTH, REDACTED, BrainRules

RULES = BrainRules()

SECRETS = [
    "eyJhbGciOi.eyJzdWIi.c2ln",
    "Authorization: bearer abcdefghijklmnop",
    "sk_live_" + "a1" * 12,
    "rk_test_" + "a1" * 12,
    "whsec_" + "a1" * 12,
    "xoxb-1234567890",
    "https://hooks.slack.com/services/T0/B0/x",
    "ghp_" + "a" * 36,
    "github_pat_" + "a" * 82,
    "AKIA" + "A1" * 8,
    "AIza" + "-" * 35,
    "SK" + "0f" * 16,
    "SG." + "a" * 22 + "." + "b" * 43,
    "connecting to redis://user:pass@host/0",
    "postgresql://user:pass@host",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----",
    "worker celery@web-01.example.com is lost",
    "123-45-6789",
]
HARMLESS = [
    "celery@web01",
    "44444444-4444-4444-8444-444444444444",
    "redis://host:6379/0",
    "https://user:pass@host",
    "4111 1111 1111 1111",
    "bearer short",
    "tasks.ask_a_desk",
    "a@b",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_sensitive_value_blanks_its_whole_string(text):
    """A match anywhere in a string replaces all of it."""
    assert RULES.apply({"a": [f"before {text} after"]}) == {"a": [REDACTED]}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_sensitive_stays(text):
    """Near misses are left as they are."""
    assert RULES.apply({"a": text}) == {"a": text}


@pytest.mark.parametrize("key", ["password", "API_KEY", "Set-Cookie", "x" * 257])
def test_a_sensitive_key_blanks_every_leaf_below_it(key):
    """Containers below a sensitive key keep their shape and lose their content."""
    value = {key: {"a": 1, "b": [None, "x", {}]}}
    assert RULES.apply(value) == {key: {"a": REDACTED, "b": [REDACTED, REDACTED, {}]}}


@pytest.mark.parametrize("key", ["passwords", "my_token", "api-key", "x" * 256])
def test_keys_are_compared_as_a_whole(key):
    """A key that only contains a sensitive word is not sensitive."""
    assert RULES.apply({key: 1}) == {key: 1}


def test_keys_are_values_too():
    """A key that matches a value rule is blanked itself."""
    assert RULES.apply({"a@b.example": 1}) == {REDACTED: 1}


def test_an_operator_may_add_key_patterns():
    """Extra patterns match whole keys in any case."""
    rules = BrainRules(extra_key_patterns=["order_.*"])
    assert rules.apply({"Order_No": 1, "reorder_no": 2}) == {"Order_No": REDACTED, "reorder_no": 2}


def test_a_long_string_keeps_its_head():
    """The cut is in bytes, and its length is told."""
    rules = BrainRules(max_string_bytes=10)
    assert rules.apply("é" * 6) == "é" * 5 + "[...2 more bytes truncated]"
    assert rules.apply("é" * 5) == "é" * 5


def test_deep_nesting_is_blanked():
    """What lies 64 levels deep is gone; what lies above it stays."""
    value = leaf = []
    for _ in range(MAX_DEPTH - 1):
        leaf.append([])
        leaf = leaf[0]
    leaf.append("deep")
    scrubbed = RULES.apply(value)
    for _ in range(MAX_DEPTH):
        scrubbed = scrubbed[0]
    assert scrubbed == REDACTED


def test_known_keys_are_bounded():
    """The memory of harmless keys does not grow without end."""
    rules = BrainRules()
    for number in range(5000):
        rules.apply({f"k{number}": 1})
    assert len(rules._safe_keys) <= 4096


_FRAGMENTS = st.sampled_from([*SECRETS, *HARMLESS, " ", ".", "é", "@", "password", "x" * 40])
_TEXTS = st.lists(_FRAGMENTS, max_size=4).map("".join)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(value=_VALUES)
def test_the_quick_way_agrees_with_the_exact_one(value):
    """Skipping the exact rules never changes the result."""
    rules = BrainRules()
    assert rules.apply(value) == rules._scrub(value, 0, blank=False)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the reference needs Python 3.11")
@settings(max_examples=60, deadline=None)
@given(value=_VALUES)
def test_it_agrees_with_the_reference(value):
    """The published reference redacts the same."""
    redaction = pytest.importorskip("z4j_core.redaction")
    event = {"data": value}
    assert RULES.apply(event) == redaction.RedactionEngine().scrub(event)
