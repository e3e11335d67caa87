"""Names of parameters, as a caller sees them."""

from __future__ import annotations

from z4j_otel.task_policies.signatures import Parameters, read_parameters


class Shop:
    """Has a method."""

    def pay(self, card, /, amount, *rest, note="", **others):
        """Take all kinds of parameters."""


def test_each_kind_of_parameter_has_its_place():
    """Positional ones in order, keywords by name; a bound ``self`` is not one."""
    assert read_parameters(Shop().pay) == Parameters(
        ("card", "amount"),
        frozenset({"amount", "note"}),
        "rest",
        "others",
        frozenset({"card", "amount"}),
    )


def test_all_names_are_listed_once():
    """For the message that tells which there are."""
    assert read_parameters(Shop().pay).names == ["card", "amount", "note", "rest", "others"]


def test_what_tells_no_signature_has_none():
    """Neither a number nor a built-in without one raises."""
    assert read_parameters(7) is None
    assert read_parameters(dict.__init__) is not None
    assert read_parameters(type) is None
