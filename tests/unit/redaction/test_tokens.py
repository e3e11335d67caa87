"""Tokens make equal secrets comparable and tell nothing else."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.redaction.tokens import derive_key, marker_of

KEY = derive_key(b"k" * 32)
REDACTOR = Redactor(RedactionPolicy(token_key=KEY))
TOKEN = re.compile(r"\[REDACTED:[0-9a-f]{4}\]")


def test_equal_secrets_have_equal_markers_wherever_they_stand() -> None:
    """Under a name, in a text and in a pair: one secret, one marker; another, another."""
    shown = REDACTOR.redact(
        {"db_password": "plum-7", "note": "password=plum-7 ok", "x": ["api_secret", "plum-7"]}
    )
    marker = shown["db_password"]
    assert TOKEN.fullmatch(marker)
    assert shown == {
        "db_password": marker,
        "note": f"password={marker} ok",
        "x": ["api_secret", marker],
    }
    assert REDACTOR.redact({"db_password": "plum-8"})["db_password"] != marker


def test_another_deployment_has_other_markers() -> None:
    """The key comes from the signing secret and is not that secret."""
    other = derive_key(b"l" * 32)
    assert marker_of(KEY, "plum") != marker_of(other, "plum")
    assert len(KEY) == 32
    assert b"k" * 32 not in KEY


@pytest.mark.parametrize("secret", [True, None, "", [1], {"a": 1}, object(), 1 << 5000])
def test_what_has_few_values_or_no_text_gets_the_plain_marker(secret: Any) -> None:
    """A token of a truth value would tell it, and containers have none."""
    assert marker_of(KEY, secret) == REDACTED


@pytest.mark.parametrize("secret", ["x", 7, 1.5, b"x", "\ud800", 4111111111111111])
def test_texts_numbers_and_bytes_get_a_token(secret: Any) -> None:
    """Four hexadecimal digits stand behind the marker's name."""
    assert TOKEN.fullmatch(marker_of(KEY, secret))


@pytest.mark.parametrize(
    "name", ["password", "Set-Cookie", "apiKey", "x-api-key", "accessToken", "cvv", "auth"]
)
def test_names_that_the_brain_blanks_keep_the_plain_marker(name: str) -> None:
    """What leaves the process is what the dashboard shows."""
    assert REDACTOR.redact({name: "plum"}) == {name: REDACTED}


def test_the_policy_does_not_show_its_key() -> None:
    """A policy may be logged."""
    assert "token_key" not in repr(RedactionPolicy(token_key=KEY))


def test_an_extra_pattern_does_not_read_a_token_as_a_value() -> None:
    """The marker is no name with a value, whatever names the user has added."""
    policy = RedactionPolicy(extra_key_patterns=("redacted",), token_key=KEY)
    once = Redactor(policy).redact_text("password=plum ok")
    assert TOKEN.search(once)
    assert Redactor(policy).redact_text(once) == once


PIECES = [
    "password=",
    "plum",
    "a@b.co",
    "[REDACTED:3f2a]",
    " ",
    "token: ",
    "'",
    "//u:p@h",
    "x" * 50,
]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.integers(64, 300))
def test_markers_with_tokens_are_stable_and_never_cut(text: str, cap: int) -> None:
    """Redacting again changes nothing, and no marker loses its end or its beginning."""
    for keep in ("head", "tail"):
        once = REDACTOR.redact_text(text, max_bytes=cap, keep=keep)
        assert len(once.encode()) <= cap
        assert REDACTOR.redact_text(once, max_bytes=cap, keep=keep) == once
        rest = re.sub(r"\[REDACTED(:[0-9a-f]{4})?\]", "", once).replace("more bytes truncated", "")
        assert "RED" not in rest
        assert "ACTED" not in rest
