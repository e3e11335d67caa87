"""``z4j-otel version``."""

from __future__ import annotations

import json
import platform

from click.testing import CliRunner

from z4j_otel.cli.version import command, versions


def test_versions_are_printed_one_to_a_line():
    """Name and version, for people."""
    lines = CliRunner().invoke(command).output.splitlines()

    assert [line.split()[0] for line in lines] == list(versions())
    assert lines[2].split() == ["python", platform.python_version()]


def test_versions_are_one_json_object():
    """The same, for programs."""
    found = json.loads(CliRunner().invoke(command, ["--json"]).output)

    assert found == versions()
    assert found["protocol"] == "2"


def test_a_package_that_is_missing_has_no_version(monkeypatch):
    """Nothing fails when an optional package is not installed."""
    monkeypatch.setattr("z4j_otel.cli.version._PACKAGES", ("no-such-package",))

    assert versions()["no-such-package"] is None
    assert "no-such-package  not installed" in CliRunner().invoke(command).output
