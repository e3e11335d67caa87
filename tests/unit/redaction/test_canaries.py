"""The secrets of ``make canary``, taken through the rules alone: each rule is needed."""

from __future__ import annotations

import json

import pytest
from tests.canary.plants import PLANTS

from z4j_otel.redaction import RedactionPolicy, Redactor
from z4j_otel.redaction.catalogue import RULES

ALONE = {"local variable", "source line"}
"""Ways whose plants are secrets only where they stand."""
TAKEN = [(each, each.content(), each.forms) for each in PLANTS if each.way not in ALONE]
NEVER_SHOWN = {"key:too-long"}
"""The content of such a key goes with the key, whatever the rules."""


def leaked(*disabled):
    """Return the plants of which something is left without these rules."""
    redactor = Redactor(RedactionPolicy(disabled_rules=frozenset(disabled)))
    found = []
    for plant, content, forms in TAKEN:
        shown = json.dumps(redactor.redact(content)).encode().lower()
        if any(form in shown for form in forms):
            found.append(plant.name)
    return found


def test_every_secret_is_another_one():
    """A leak names its plant."""
    assert len({plant.secret for plant in PLANTS}) == len(PLANTS) >= 60


def test_no_secret_passes_the_rules():
    """All rules together leave nothing of any secret."""
    assert leaked() == []


def test_what_stands_around_a_secret_stays():
    """Nothing goes but the secret and what belongs to it."""
    redactor = Redactor()
    whole = ("argument", "result", "exception's message")
    for plant, content, _ in TAKEN:
        if plant.shown is not None and plant.way in whole:
            assert redactor.redact(content) == plant.shown, plant.name


@pytest.mark.parametrize("rule", sorted(RULES.keys() - NEVER_SHOWN))
def test_each_rule_is_needed(rule):
    """Without any one rule, some secret is told."""
    assert leaked(rule)
