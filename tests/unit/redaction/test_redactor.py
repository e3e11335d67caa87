"""The redactor never raises, and no planted secret survives it."""

import datetime as dt
import decimal
import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.redaction.walk import Rules, Walk
from z4j_otel.wire import canonical

REDACTOR = Redactor()
BODY = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"
HEX = "0123456789abcdef" * 2
NAMES = """
password passwd pwd db_password userPassword old_password passphrase secret client_secret
stripe_secret token access_token refreshToken csrf_token api_key apiKey x-api-key
AWS_SECRET_ACCESS_KEY private_key secret_key authorization auth credentials cookie
set-cookie sessionid dsn ssn cvv card_number
"""
NAMED = [
    form.format(name=name, value="Zq7-plum-Vault")
    for name in NAMES.split()
    for form in ("{name}='{value}'", '"{name}": "{value}"', "{name}={value}")
]
BARE = [
    f"sk_live_{BODY}", f"whsec_{BODY}", "xoxb-1234567890-abcdef", f"ghp_{BODY}Abcd", f"SK{HEX}",
    f"glpat-{BODY[:20]}", f"npm_{BODY}Abcd", "AKIAIOSFODNN7EXAMPLE", f"AIza{BODY}abc",
    f"SG.{BODY[:22]}.{BODY}{BODY[:11]}", f"sk-ant-api03-{BODY}", f"sk-proj-{BODY}",
    f"Bearer {BODY}", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0", "ada@example.com",
    "123-45-6789", "4111 1111 1111 1111", "378282246310005", "postgres://bob:Zq7-plum-Vault@db/x",
    "https://bob:Zq7-plum-Vault@host/p", "amqp://bob:Zq7-plum-Vault@mq//",
    "-----BEGIN PRIVATE KEY-----\nZq7plumVault\n-----END PRIVATE KEY-----",
]  # fmt: skip
WORDS = st.text(string.ascii_lowercase + " ", max_size=30).map(lambda text: f" {text} ")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.decimals()
    | st.datetimes(timezones=st.just(dt.timezone.utc) | st.none())
    | st.uuids()
    | st.builds(object)
    | st.complex_numbers()
    | st.integers(4100, 5000).map(lambda digits: 10**digits)
    | st.sampled_from([decimal.Decimal, ..., "x" * 20_000, b"\xff" * 20_000])
)
SMALL = st.none() | st.booleans() | st.integers(-(10**6) - 2, 10**6 + 2) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=20) | st.integers() | st.binary(max_size=5), inner)
        | st.frozensets(st.integers() | st.text(max_size=9), max_size=6)
    ),
    max_leaves=25,
)


def encode(value: object) -> bytes:
    """Return a value as canonical JSON, refusing what JSON cannot hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


@given(VALUES, st.integers(256, 3000))
@settings(max_examples=300, deadline=None)
def test_any_value_becomes_bounded_json(value: Any, budget: int) -> None:
    """Arbitrary nested values give valid JSON within the budget, stable under repetition."""
    once = REDACTOR.redact(value, budget_bytes=budget)
    assert len(encode(once)) <= budget
    assert REDACTOR.redact(once, budget_bytes=budget) == once


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_the_brain_changes_nothing_more(value: Any) -> None:
    """The reference's redaction leaves redacted values as they are."""
    core = pytest.importorskip("z4j_core.redaction")
    once = REDACTOR.redact(value)
    assert core.RedactionEngine(core.RedactionConfig()).scrub(once) == once


@given(st.sampled_from(NAMED + BARE), WORDS, WORDS, st.integers(0, 2))
@settings(max_examples=400, deadline=None)
def test_no_planted_secret_survives(secret: str, before: str, after: str, depth: int) -> None:
    """A secret goes wherever it stands, the text around it stays."""
    value: Any = f"{before}; {secret} ;{after}"
    for level in range(depth):
        value = [1, {"note": value}] if level else (value, "x")
    text = encode(REDACTOR.redact(value)).decode()
    for piece in (
        "Zq7-",
        "-Vault",
        "Zq7p",
        BODY[:12],
        HEX[:9],
        "lovelace",
        "ada@",
        "6789",
        "1111",
        "ODNN7",
    ):
        assert piece not in text
    assert REDACTED in text
    assert before in text
    assert after.rstrip() in text or "cookie" in secret or "authorization" in secret


def test_there_are_enough_planted_secrets() -> None:
    """The list of planted secrets is long and free of repetition."""
    assert len(set(NAMED + BARE)) >= 60


class Evil(str):
    """A string whose comparison, as an extra rule's victim, ends the walk."""

    __slots__ = ()


class Unstoppable:
    """Text rules that fail, as an exhausted stack would make them."""

    def redact(self, *_: object) -> str:
        """Fail as a deep recursion does."""
        raise RecursionError


@given(st.lists(st.none() | st.booleans() | st.integers(-(10**7), 10**7), max_size=12))
def test_short_lists_of_numbers_are_what_a_walk_makes_of_them(numbers: list[Any]) -> None:
    """The short way changes nothing but the price, and returns a copy."""
    redactor = Redactor(RedactionPolicy(max_items=5))
    result = redactor.redact(tuple(numbers), budget_bytes=256)
    assert result == Walk(Rules(redactor.policy), 256).value(numbers)
    assert redactor.redact(numbers) is not numbers


SMALL_KEYS = st.sampled_from(
    ["id", "note", "password", "a@b.io", "x-api-key", "käse", "n\0te", "", "mine"]
)
SMALL_VALUES = (
    st.none() | st.booleans() | st.integers(-(10**7), 10**7) | st.text(max_size=6) | st.floats()
)


@given(st.dictionaries(SMALL_KEYS, SMALL_VALUES), st.sampled_from([256, 4096, None]))
def test_short_dictionaries_are_what_a_walk_makes_of_them(
    members: dict[str, Any], budget: int | None
) -> None:
    """The short way, open once the keys are known, changes nothing but the price."""
    for policy in (
        RedactionPolicy(max_items=5),
        RedactionPolicy(extra_value_patterns=("a",), extra_key_patterns=("mine",)),
        RedactionPolicy(defaults_enabled=False),
    ):
        redactor = Redactor(policy)
        walked = Walk(Rules(policy), budget or policy.max_total_bytes).value(members)
        for _ in range(2):
            result = redactor.redact(members, budget_bytes=budget)
            assert json.dumps(result) == json.dumps(walked)
            assert result is not members


def test_a_failure_inside_becomes_a_marker() -> None:
    """An unforeseen failure ends in a marker, never in an exception."""
    redactor = Redactor()
    redactor._rules.texts = Unstoppable()  # type: ignore[assignment]
    assert redactor.redact(["long enough"]) == "[unreadable]"
    assert redactor.redact_text("long enough") == "[unreadable]"


def test_the_smallest_budget_still_gives_a_value() -> None:
    """A budget below the minimum counts as the minimum, of numbers that do not fit, too."""
    assert Redactor().redact([1, "a"], budget_bytes=1) == [1, "a"]
    assert Redactor().redact(10**3000, budget_bytes=1) == "[unreadable]"


@given(
    st.dictionaries(st.sampled_from(["note", "name", "token", "x"]), SMALL, max_size=9)
    | st.lists(SMALL, max_size=9)
    | st.lists(SMALL, max_size=9).map(tuple)
    | VALUES
)
def test_small_arguments_are_copied_as_a_walk_would_copy_them(value: Any) -> None:
    """The short way and the long one agree, and its copy has one form in JSON."""
    REDACTOR.redact({"note": 1, "name": 1, "token": 1, "x": 1})  # keys must be known
    small = REDACTOR.redact_small(value)
    if small is not None:
        walked = Walk(Rules(RedactionPolicy()), 16_384).value(value)
        assert repr(small) == repr(walked)
        assert canonical.encode_plain(small) == canonical.encode(walked)
        assert small is not value
    assert Redactor(RedactionPolicy(max_total_bytes=1000)).redact_small({"note": 1}) is None


def test_text_of_a_subclass_is_read_as_text() -> None:
    """A subclass of ``str`` gives an exact ``str``; anything else its type's name."""
    result = Redactor().redact_text(Evil("password=x"))
    assert result == "password=[REDACTED]"
    assert type(result) is str
    assert Redactor().redact_text(7) == "<builtins.int>"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("shop.tasks.send_invoice", 200, "shop.tasks.send_invoice"),
        ("n" * 900, 200, "n" * 200),
        ("n" * 900, 900, "n" * 500),
        ("celery@web-01.example.com", 200, REDACTED),
        (Evil("a\0b"), 200, "a\ufffdb"),
        ("", 200, ""),
    ],
)
def test_names_are_redacted_and_cut(name: str, size: int, expected: str) -> None:
    """A name keeps to the width of its column and is free of secrets."""
    redactor = Redactor()
    assert redactor.redact_name(name, max_chars=size) == expected
    assert redactor.redact_name(name, max_chars=size) == expected


def test_memory_of_names_is_bounded() -> None:
    """Any number of different names leaves the memory of names small."""
    redactor = Redactor()
    for number in range(5000):
        redactor.redact_name(f"task{number}")
    assert len(redactor._names) <= 2048


def test_the_value_itself_is_not_changed() -> None:
    """Redaction builds anew and leaves the application's objects alone."""
    value = {"password": "x", "list": [1, {"token": "y"}]}
    Redactor(RedactionPolicy()).redact(value)
    assert value == {"password": "x", "list": [1, {"token": "y"}]}
