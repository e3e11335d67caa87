"""The cheap test that runs at the start of every interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from z4j_otel.config import half_configured, is_configured, is_strict_mode

BRAIN = {"Z4J_BRAIN_URL": "http://localhost", "Z4J_TOKEN": "t"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        (BRAIN, True),
        ({"Z4J_BRAIN_URL": "http://localhost"}, False),
        ({"Z4J_TOKEN": "t"}, False),
        ({**BRAIN, "Z4J_TOKEN": ""}, False),
        ({**BRAIN, "Z4J_TOKEN": "", "Z4J_TOKEN_FILE": "token"}, True),
        ({"Z4J_CONFIG": "z4j.toml"}, True),
        ({**BRAIN, "Z4J_DISABLED": "1"}, False),
        ({**BRAIN, "Z4J_DISABLED": " True "}, False),
        ({**BRAIN, "Z4J_DISABLED": "0"}, True),
    ],
)
def test_configured_means_brain_and_token_and_not_disabled(environ, expected):
    """A brain and a token, or a file that may name them, unless switched off."""
    assert is_configured(environ) is expected


def test_asking_imports_nothing_heavy():
    """The question costs an interpreter without z4j next to nothing."""
    code = (
        "import sys, z4j_otel.config as c; c.is_configured({}); "
        "print(sorted(m for m in sys.modules if m.startswith(('z4j_otel', 'httpx', 'msgspec',"
        " 'opentelemetry', 'dataclasses', 'logging', 'rich'))))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout

    assert printed.strip() == str(["z4j_otel", "z4j_otel.config", "z4j_otel.config.presence"])


@pytest.mark.parametrize(
    ("value", "is_strict"), [("1", True), (" Yes ", True), ("0", False), ("", False)]
)
def test_strict_mode_is_read_without_settings(value: str, is_strict: bool) -> None:
    """It must be known before anything can be wrong."""
    assert is_strict_mode({"Z4J_STRICT_MODE": value}) is is_strict


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, None),
        (BRAIN, None),
        ({"Z4J_BRAIN_URL": "http://localhost"}, "Z4J_TOKEN"),
        ({"Z4J_TOKEN_FILE": "token"}, "Z4J_BRAIN_URL"),
        ({"Z4J_TOKEN": "t", "Z4J_CONFIG": "z4j.toml"}, None),
    ],
)
def test_half_of_the_settings_is_told_by_the_other_half(environ, missing):
    """Who sets one of the two would wonder why nothing happens."""
    assert half_configured(environ) == missing
