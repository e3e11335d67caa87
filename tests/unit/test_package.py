"""The public names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import z4j_otel


def test_every_public_name_can_be_imported() -> None:
    """What `__all__` lists is there, and documented."""
    for name in z4j_otel.__all__:
        assert getattr(z4j_otel, name).__doc__
    assert dir(z4j_otel) == sorted(z4j_otel.__all__)


def test_there_are_few_public_names() -> None:
    """A user should not have to search."""
    assert len(z4j_otel.__all__) <= 12


def test_an_unknown_name_is_refused() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = z4j_otel.nothing


def test_importing_the_package_costs_nothing() -> None:
    """Neither OpenTelemetry's SDK nor anything else of weight is loaded."""
    code = (
        "import sys, z4j_otel\n"
        "heavy = {'opentelemetry', 'websockets', 'httpx', 'celery', 'msgspec', 'rich', 'asyncio'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
