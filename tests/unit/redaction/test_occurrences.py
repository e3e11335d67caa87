"""Hidden values in what else is told of a run."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import NamedTuple

import pytest

from z4j_otel.redaction import REDACTED
from z4j_otel.redaction.occurrences import forms_of, without_occurrences


def clean(value, *hidden):
    """Take the occurrences of hidden values out of another."""
    return without_occurrences(value, forms_of(hidden))


def test_a_value_goes_wherever_it_stands_in_a_text():
    """And what is around it stays."""
    assert clean("card 4111-22 is refused (4111-22)", "4111-22") == (
        "card [REDACTED] is refused ([REDACTED])"
    )


def test_short_values_stay():
    """They stand in too many innocent places; so do words of the marker, and True and None."""
    text = "abc 12 True None REDACTED"
    assert clean(text, "abc", 12, True, None, "REDACTED") == text


def test_values_are_found_as_repr_and_json_write_them():
    """Quotes, line breaks and letters that one of them escapes."""
    secret = 'it\'s\na "naïve" one'
    for written in (repr({"a": secret}), json.dumps(secret), secret):
        assert "naïve" not in clean(written, secret)
        assert "na\\u00efve" not in clean(written, secret)


def test_numbers_and_other_plain_values_are_found():
    """As their text is."""
    token = uuid.UUID(int=7)
    text = f"{4111222233} {1234.5} {token} {Decimal('99.95')} secret"
    assert clean(text, 4111222233, 1234.5, token, Decimal("99.95"), b"secret") == " ".join(
        [REDACTED] * 5
    )


def test_the_members_of_hidden_containers_are_found():
    """However they are nested; names of members stay."""
    hidden = {"number": ["4111-22", {"pin": ("0815x",)}], "set": {"abcd"}}
    assert clean("number 4111-22 pin 0815x abcd", hidden) == (
        f"number {REDACTED} pin {REDACTED} {REDACTED}"
    )


def test_longer_values_go_first():
    """Of a value that begins like another one, nothing is left."""
    assert clean("secret-long secret", "secret", "secret-long") == f"{REDACTED} {REDACTED}"


def test_results_are_looked_through():
    """Texts, numbers and keys; the rest keeps its type."""
    result = {"secret-1": ["secret-1", 42, True, None], "n": 77777, 5: b"secret-1", "f": 0.5}
    assert clean(result, "secret-1", 77777) == {
        REDACTED: [REDACTED, 42, True, None],
        "n": REDACTED,
        5: f"<bytes of 8> {REDACTED}",
        "f": 0.5,
    }


class Card(NamedTuple):
    """A value with names of the application's own."""

    number: str
    pin: int


class Numbers(list):
    """A list of the application's own kind."""

    def __iter__(self):
        raise AssertionError("the application's code must not run")


@pytest.mark.parametrize(
    ("container", "left"),
    [
        (Card("secret-1", 42), {"number": REDACTED, "pin": 42}),
        (Numbers(["secret-1", 42]), [REDACTED, 42]),
        ({b"secret-1": 42}, {f"<bytes of 8> {REDACTED}": 42}),
    ],
    ids=["named tuple", "subclass", "key of bytes"],
)
def test_containers_of_all_kinds_are_looked_through(container, left):
    """Those that the common rules would look into, too; by C methods alone."""
    assert clean(container, "secret-1") == left


@pytest.mark.parametrize("hidden", [Card("secret-1", 42), Numbers(["secret-1"])])
def test_the_members_of_hidden_containers_of_all_kinds_are_found(hidden):
    """What a policy hides may be of the application's own type."""
    assert clean("refused: secret-1", hidden) == f"refused: {REDACTED}"


def test_nothing_is_looked_at_where_nothing_is_hidden():
    """The very same value comes back."""
    value = object()
    assert clean(value) is value


def test_a_value_that_holds_itself_comes_to_an_end():
    """In what is hidden and in what is told."""
    ring = []
    ring += [ring, ring, "secret"]
    assert forms_of([ring]) == ("secret",)
    assert "secret" not in repr(clean(ring, "secret"))


def test_there_are_only_so_many_forms():
    """A task that is given thousands of values does not make its failure slow."""
    assert len(forms_of([f"value{number}" for number in range(10_000)])) <= 400
