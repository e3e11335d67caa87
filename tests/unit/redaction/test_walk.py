"""A walk keeps its bounds and says what it left out."""

import collections
import json
from typing import Any

import pytest

from z4j_otel.redaction import REDACTED, RedactionPolicy, Redactor
from z4j_otel.redaction.walk import Rules


def size_of(value: object) -> int:
    """Return the canonical JSON bytes of a value."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def test_a_sensitive_key_redacts_its_whole_value() -> None:
    """Whatever lies below a sensitive key goes, numbers and None included."""
    value = {"db_password": {"a": [1]}, "token": None, "max_tokens": 5, b"api_key": 7}
    assert Redactor().redact(value) == {
        "db_password": REDACTED,
        "token": REDACTED,
        "max_tokens": 5,
        "api_key": REDACTED,
    }


def test_keys_are_redacted_and_stay_apart() -> None:
    """Keys that become alike are numbered, none is lost."""
    value = {"a@b.co": 1, "c@d.co": 2, "k" * 300: 3}
    once = Redactor().redact(value)
    assert once == {REDACTED: 1, f"{REDACTED}~2": 2, f"{REDACTED}~3": REDACTED}
    assert Redactor().redact(once) == once


def test_a_key_that_grows_too_long_is_redacted() -> None:
    """A key over 256 characters once its matches are replaced counts as over-long."""
    key = "a@b.co " * 36
    assert list(Redactor().redact({key: 1})) == [REDACTED]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (1.5, "1.5"),
        ((1,), "<builtins.tuple>"),
    ],
)
def test_keys_of_other_types_become_text(key: object, text: str) -> None:
    """Keys that are no strings take their JSON form or their type's name."""
    assert Redactor().redact({key: 1}) == {text: 1}


def test_a_key_of_a_str_subclass_is_read_as_text() -> None:
    """A key's own class plays no part in the result."""
    result = Redactor().redact({type("Name", (str,), {})("token"): 1})
    assert result == {"token": REDACTED}
    assert type(next(iter(result))) is str


def test_named_tuples_keep_their_names() -> None:
    """A named tuple becomes an object, so the names of its fields count."""
    login = collections.namedtuple("login", "user password")  # noqa: PYI024 -- the plain kind
    assert Redactor().redact([login("bob", "x")]) == [{"user": "bob", "password": REDACTED}]
    odd = type("odd", (tuple,), {"_fields": ("a",)})
    assert Redactor().redact(odd((1, 2))) == [1, 2]


def test_lists_of_pairs_are_read_as_names_and_values() -> None:
    """A pair whose first item is a sensitive name loses its second."""
    pairs = [("Authorization", "Basic x"), [b"cookie", b"x"], ("a", "b"), ("token", 5), (1, "x")]
    pairs += [("token", 1.5), ("n" * 300, "x")]
    assert Redactor().redact(pairs) == [
        ["Authorization", REDACTED],
        ["<bytes of 6> cookie", REDACTED],
        ["a", "b"],
        ["token", 5],
        [1, "x"],
        ["token", REDACTED],
        ["n" * 300, "x"],
    ]
    assert Redactor().redact(("password", "x")) == ["password", REDACTED]
    assert Redactor().redact(["password", "x", "y"]) == ["password", "x", "y"]


def test_an_options_value_goes_with_its_name() -> None:
    """A command line is a list, and what follows `--password` is one."""
    command = ["pg_dump", "--password", "hunter2", "--jobs", "two", "password", "open"]
    shown = ["pg_dump", "--password", REDACTED, "--jobs", "two", "password", "open"]
    assert Redactor().redact(command) == shown


def test_numbers_of_tokens_are_shown() -> None:
    """How many tokens a model may use is no secret; which ones there are is."""
    shown = {"tokens": 512, "x": {"tokens": REDACTED}}
    assert Redactor().redact({"tokens": 512, "x": {"tokens": ["plum"]}}) == shown


@pytest.mark.parametrize(("name", "value"), [("name", "value"), ("Key", "Value")])
def test_a_value_goes_with_the_entry_that_names_it(name: str, value: str) -> None:
    """Environments of containers and tags of clouds are written so."""
    redact = Redactor().redact
    assert redact({name: "DB_PASSWORD", value: "hunter2"}) == {name: "DB_PASSWORD", value: REDACTED}
    for harmless in (
        {name: "region", value: "hunter2"},
        {name: 5, 6: "DB_PASSWORD", value: "x" * 9},
    ):
        assert redact(harmless)[value] == harmless[value]


def test_a_card_number_as_integer_is_redacted() -> None:
    """An integer is a card number by the same marks as text, unless defaults are off."""
    assert Redactor().redact([4111111111111111, 1700000000000]) == [REDACTED, 1700000000000]
    plain = Redactor(RedactionPolicy(defaults_enabled=False))
    assert plain.redact(4111111111111111) == 4111111111111111


def test_cycles_and_depth_end_in_a_marker() -> None:
    """A value that contains itself, or lies too deep, is named instead of followed."""
    loop: list[Any] = [1]
    loop.append(loop)
    assert Redactor().redact(loop) == [1, "[cycle]"]
    assert Redactor(RedactionPolicy(max_depth=1)).redact([[1], 2]) == ["[nested too deeply]", 2]


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_items_beyond_the_bound_are_counted(kind: type) -> None:
    """A marker takes the last place and tells how many items are missing."""
    redactor = Redactor(RedactionPolicy(max_items=4))
    result = redactor.redact(kind(range(10)))
    assert result == [0, 1, 2, "[...7 more items dropped]"]
    assert redactor.redact(result) == result
    assert redactor.redact(kind(range(4))) == [0, 1, 2, 3]


def test_entries_beyond_the_bound_are_counted() -> None:
    """Objects say the same under a key of their own."""
    redactor = Redactor(RedactionPolicy(max_items=3))
    result = redactor.redact({"[truncated]": 1, "b": 2, "c": 3, "d": 4})
    assert result == {"[truncated]": 1, "b": 2, "[truncated]~2": "[...2 more items dropped]"}
    assert redactor.redact(result) == result


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 100] * 100,
        {f"key{number}": "y" * 90 for number in range(100)},
        [[["z" * 50] * 9] * 9] * 9,
        [{"a": "\n" * 400, "b": '"' * 400, "c": "\1" * 400}] * 20,
        ["ä\n" * 300, 1.5e-300, 12345678901234567890, None, True] * 9,
        [[]] * 500,
        [{}, b"x" * 900, 10**500] * 30,
    ],
)
@pytest.mark.parametrize("budget", [256, 300, 777, 2000])
def test_the_budget_holds_and_repeats(value: object, budget: int) -> None:
    """The result is within its budget, and redacting it again changes nothing."""
    redactor = Redactor()
    once = redactor.redact(value, budget_bytes=budget)
    assert size_of(once) <= budget
    assert redactor.redact(once, budget_bytes=budget) == once


def test_memory_of_keys_is_bounded() -> None:
    """Any number of different keys leaves the memory of keys small, long ones unremembered."""
    rules = Rules(RedactionPolicy())
    for number in range(5000):
        assert rules.read_key(f"k{number}")[1] == ""
    assert rules.read_key("x" * 100) == ("x" * 100, "", 103)
    assert len(rules._known) <= 2048


def test_texts_of_nothing_but_secrets_do_not_go_on_for_ever() -> None:
    """They take no room, so what is searched is counted, too; the rest is dropped and told."""
    told = Redactor().redact([["password=" + "x" * 7900] * 150, 7])
    assert told[0][:2] == ["password=[REDACTED]"] * 2
    assert len(told[0]) < 30
    assert "more items dropped]" in told[0][-1]
    assert told[1] == 7
    assert Redactor().redact(told) == told
