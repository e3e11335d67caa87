"""The package's two public names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import z4j_otel.exporter as package


def test_public_names_are_resolved_when_asked_for():
    """Both classes are there, and nothing else."""
    assert [getattr(package, name).__name__ for name in package.__all__] == package.__all__
    with pytest.raises(AttributeError, match="Nothing"):
        _ = package.Nothing


def test_importing_the_package_loads_no_sdk():
    """The gate can be used without the OpenTelemetry SDK being loaded."""
    code = "import sys, z4j_otel.exporter; sys.exit('opentelemetry.sdk.trace' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
