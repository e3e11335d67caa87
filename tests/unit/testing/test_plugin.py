"""The pytest plugin and the lazy names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

import z4j_otel.testing
from z4j_otel.testing.stub import StubBrain

SCRIPT = """
import sys, z4j_otel.testing.plugin
heavy = {"celery", "opentelemetry.sdk", "websockets", "msgspec", "sqlite3", "httpx"}
sys.exit(",".join(heavy & set(sys.modules)) or 0)
"""


def test_the_plugin_costs_other_projects_nothing():
    """Loading it imports neither engines nor the SDK nor any network library."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_fixture_is_registered(stub_brain):
    """It is there without any import."""
    assert isinstance(stub_brain, StubBrain)


@pytest.mark.parametrize("name", z4j_otel.testing.__all__)
def test_every_public_name_resolves(name):
    """The lazy names lead somewhere."""
    assert getattr(z4j_otel.testing, name) is not None


def test_the_fixture_may_be_imported():
    """``from z4j_otel.testing import stub_brain`` works, too."""
    assert callable(z4j_otel.testing.stub_brain)


def test_other_names_do_not_resolve():
    """A misspelt name is an AttributeError."""
    with pytest.raises(AttributeError, match="nonsense"):
        _ = z4j_otel.testing.nonsense
