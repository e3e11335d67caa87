"""Passwords in options that do not say so are known by the program they are given to."""

from typing import Any

import pytest

from z4j_otel.redaction import REDACTED, Finding, RedactionPolicy, Redactor

TAKEN = [
    ["curl", "-u", "bob:«hunter2»", "x"],
    ["/usr/bin/curl", "--proxy-user", "bob:«hunter2»"],
    ["curl", "-ubob:«hunter2»"],
    ["sudo", "-E", "mysql", "-p«hunter2»", "db"],
    ["sshpass", "-p", "«hunter2»", "ssh"],
    ["docker", "login", "-u", "bob", "-p", "«hunter2»"],
    ["redis-cli", "-a", "«hunter2»", 5],
    ["ldapsearch", "-w", "«hunter2»", "-p389"],
    ["mongo", "-p«hunter2»"],
]
LEFT: list[list[Any]] = [
    ["mysql", "-p", "db"],
    ["docker", "run", "-p", "8080:80"],
    ["ssh", "-p", "22", "host"],
    ["curl", "-u", "bob", "x"],
    ["curl", "-u", "1000:1000"],
    ["-p", "hunter2"],
    [5, "curl", "-x"],
    ["curl"],
]


@pytest.mark.parametrize("command", TAKEN)
def test_the_password_goes_and_the_rest_stays(command: list[Any]) -> None:
    """Of the argument that holds it, what stands before the password is kept."""
    given = [
        str(item).replace("«", "").replace("»", "") if type(item) is str else item
        for item in command
    ]
    shown = [
        item.partition("«")[0] + REDACTED if type(item) is str and "«" in item else item
        for item in command
    ]
    place = next(number for number, item in enumerate(command) if "«" in str(item))
    assert Redactor().explain(given) == (shown, [Finding(f"[{place}]", "text:command", 1)])
    assert Redactor().redact(shown) == shown


@pytest.mark.parametrize("command", LEFT)
def test_other_options_are_left(command: list[Any]) -> None:
    """The same letters mean something else to other programs."""
    assert Redactor().redact(command) == command


def test_a_dropped_argument_is_no_password() -> None:
    """The marker for items that were dropped stays what it is."""
    redactor = Redactor(RedactionPolicy(max_items=3))
    once = redactor.redact(["sshpass", "-p", "hunter2", "ssh"])
    assert once == ["sshpass", "-p", "[...2 more items dropped]"]
    assert redactor.redact(once) == once


def test_without_the_rule_command_lines_are_left() -> None:
    """The rule is switched off by its name, or with all others."""
    for policy in (
        RedactionPolicy(disabled_rules=frozenset({"text:command"})),
        RedactionPolicy(defaults_enabled=False),
    ):
        assert Redactor(policy).redact(["mysql", "-pplum"]) == ["mysql", "-pplum"]
