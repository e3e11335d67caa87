"""``z4j-otel config``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from z4j_otel.cli.main import cli
from z4j_otel.config import SETTINGS

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
GOOD = {
    "Z4J_BRAIN_URL": "https://brain.example.com",
    "Z4J_TOKEN": "t0ken-value",
    "Z4J_HMAC_SECRET": KEY_TEXT,
}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    """A directory without a project file, and no settings of the machine's."""
    monkeypatch.chdir(tmp_path)
    for name in ("OTEL_SDK_DISABLED", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


def show(*options, **environ):
    """Run the command with these variables."""
    return CliRunner().invoke(cli, ["config", *options], env={"COLUMNS": "80", **environ})


def test_each_setting_shows_with_value_and_source():
    """All rows of the table, within 80 columns, no secret among them."""
    result = show(**GOOD)

    assert result.exit_code == 0, result.output
    for row in SETTINGS:
        assert row.name in result.output
    assert "environment Z4J_TOKEN" in result.output
    assert "t0ken-value" not in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_all_problems_are_told_with_their_cures():
    """Three errors and a doubt are four entries; the exit code says that it does not start."""
    variables = {
        **GOOD,
        "Z4J_TOKEN": "",
        "Z4J_DEV_MODE": "perhaps",
        "Z4J_TAGS": "a,b",
        "Z4J_HOEM": "/srv",
    }
    result = show("--json", **variables)
    told = json.loads(result.output)

    assert result.exit_code == 2
    assert told["ok"] is False
    names = [(each["setting"], each["is_fatal"]) for each in told["problems"]]
    assert names == [("tags", True), ("dev_mode", True), ("hoem", False), ("token", True)]
    assert "did you mean Z4J_HOME?" in told["problems"][2]["cure"]
    for problem in told["problems"]:
        assert problem["cure"] in " ".join(show(**{**variables, "COLUMNS": "400"}).output.split())


def test_only_what_is_set_shows_when_asked():
    """A short list answers what was configured."""
    told = json.loads(show("--json", "--set", **GOOD).output)

    assert [each["name"] for each in told["settings"]] == ["brain_url", "token", "hmac_secret"]
    assert told["settings"][1] == {
        "name": "token",
        "variable": "Z4J_TOKEN",
        "value": "set",
        "source": "environment Z4J_TOKEN",
    }
    assert "purge_threshold" not in show("--set", **GOOD).output


def test_a_file_can_be_named(tmp_path):
    """The file on the command line is the one that is read."""
    (tmp_path / "other.toml").write_text('project_id = "shop"\n')
    told = json.loads(show("--json", "--set", "--config", "other.toml", **GOOD).output)

    sources = {each["name"]: each["source"] for each in told["settings"]}
    assert sources["project_id"] == "file other.toml"


def test_what_may_surprise_is_noted():
    """Neither switch is a problem, and both change what happens."""
    result = show(Z4J_DISABLED="1", OTEL_SDK_DISABLED="true")

    assert result.exit_code == 0
    assert "note: OTEL_SDK_DISABLED=true: no spans" in result.output
    assert "to switch it on: unset Z4J_DISABLED" in result.output


def test_what_is_to_be_typed_stays_on_one_line():
    """It can be copied from a narrow terminal, and found in a pipe."""
    result = show("--set", COLUMNS="40", Z4J_BRAIN_URL="ftp://x")
    assert "  for example: export Z4J_BRAIN_URL='https://z4j.example.com'\n" in result.output


def test_nothing_set_is_said():
    """A table without rows says less."""
    result = show("--set")
    assert result.output.startswith("nothing is set\n")
    assert "z4j-otel brain\n" in result.output
