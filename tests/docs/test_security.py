"""What SECURITY.md names is there: a promise without its test would be a guess."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from z4j_otel.config import SETTINGS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
QUOTED = sorted(set(re.findall(r"`([^`\n]+)`", TEXT)))
SOURCE = ROOT / "src" / "z4j_otel"


@pytest.mark.parametrize("path", [each for each in QUOTED if each.startswith("tests/")])
def test_a_test_that_is_named_exists(path: str) -> None:
    """File or directory."""
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", [each for each in QUOTED if re.fullmatch(r"test_\w+", each)])
def test_a_test_function_that_is_named_exists(name: str) -> None:
    """In one of the files that are named."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name in TEXT]
    assert any(f"def {name}(" in path.read_text("utf-8") for path in files)


@pytest.mark.parametrize("path", [each for each in QUOTED if re.fullmatch(r"[\w/]+(\.py|/)", each)])
def test_a_module_that_is_named_exists(path: str) -> None:
    """Below the package."""
    assert (SOURCE / path).exists() or (ROOT / path).exists()


@pytest.mark.parametrize("name", [each for each in QUOTED if re.fullmatch(r"Z4J_[A-Z_]+", each)])
def test_a_setting_that_is_named_exists(name: str) -> None:
    """By the name of its variable, or of the one for its file."""
    known = {row.env_name for row in SETTINGS}
    assert name in known | {f"{row.env_name}_FILE" for row in SETTINGS if row.is_secret}
