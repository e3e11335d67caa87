"""A secret shows only whether it is set."""

from __future__ import annotations

import copy
import pickle

import pytest

from z4j_otel.config import Secret


def test_a_secret_never_shows_its_value():
    """Neither repr, str nor formatting repeats what is inside."""
    secret = Secret("hunter2")

    assert [repr(secret), str(secret), f"{secret}"] == ["Secret(set)", "set", "set"]
    assert repr(Secret()) == "Secret(unset)"


def test_reveal_gives_the_value():
    """Whoever needs the value asks for it by name."""
    assert Secret("hunter2").reveal() == "hunter2"


def test_an_empty_secret_is_false():
    """An unset secret can be tested like an empty text."""
    assert not Secret()
    assert Secret("x")


def test_secrets_compare_by_value():
    """Equal secrets are equal and hash alike, so configurations can be compared."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_can_be_copied_but_not_pickled():
    """A copy is the secret itself; a pickle would carry it to a disk or a broker."""
    secret = Secret("hunter2")

    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)
