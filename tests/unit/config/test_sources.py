"""The places that settings come from."""

from __future__ import annotations

import os

import pytest

from z4j_otel.config import check_settings, load_config
from z4j_otel.errors import ConfigError

GOOD = {
    "Z4J_BRAIN_URL": "https://brain.example.com",
    "Z4J_TOKEN": "t0ken",
    "Z4J_HMAC_SECRET": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory's project file, to be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("z4j_otel.config.resolver._told", set())
    return tmp_path / "pyproject.toml"


def test_the_project_file_of_the_working_directory_is_read(project):
    """Its table holds settings by their names."""
    project.write_text('[tool.z4j]\nproject_id = "shop"\ntags = {team = "pay"}\n')
    config = load_config(environ=GOOD)

    assert (config.project_id, dict(config.tags)) == ("shop", {"team": "pay"})
    assert config.sources["project_id"] == "pyproject.toml [tool.z4j]"


def test_a_file_that_is_named_is_the_only_one(project, tmp_path):
    """One file decides, never two."""
    project.write_text('[tool.z4j]\nproject_id = "shop"\n')
    (tmp_path / "z4j.toml").write_text("")

    assert load_config(environ={**GOOD, "Z4J_CONFIG": "z4j.toml"}).project_id == "default"


def test_directories_above_are_not_searched(project, tmp_path, monkeypatch):
    """A service does not find what somebody left above it."""
    project.write_text('[tool.z4j]\nproject_id = "shop"\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")

    assert load_config(environ=GOOD).project_id == "default"


def test_a_project_file_does_not_decide_whom_to_trust(project):
    """Neither where the token goes nor a secret is taken from it, which is told."""
    project.write_text('[tool.z4j]\nbrain_url = "https://evil.example.com"\ntoken = "x"\n')
    found = check_settings(environ=GOOD)
    assert found == []
    environ = {**GOOD, "Z4J_BRAIN_URL": "", "Z4J_TOKEN": ""}
    refused = [each for each in check_settings(environ=environ) if not each.is_fatal]

    assert [each.setting for each in refused] == ["brain_url", "token"]
    assert "set Z4J_BRAIN_URL, or name the file" in refused[0].cure
    with pytest.raises(ConfigError, match="brain_url is required"):
        load_config(environ=environ)


def test_a_project_file_that_is_named_may_decide_everything(project):
    """Whoever names it means it."""
    project.write_text('[tool.z4j]\nbrain_url = "https://own.example.com"\n')
    environ = {**GOOD, "Z4J_BRAIN_URL": "", "Z4J_CONFIG": "pyproject.toml"}

    assert load_config(environ=environ).brain_url == "https://own.example.com"


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "[tool]\nz4j = 1\n", "[[["])
def test_a_project_file_without_our_table_is_nothing_to_us(project, text):
    """Most projects know nothing of z4j, and some files are broken."""
    project.write_text(text)

    assert check_settings(environ=GOOD) == []


def test_a_broken_project_file_with_our_table_is_told(project):
    """Somebody wrote settings there, and would wonder."""
    project.write_text('[tool.z4j]\nproject_id = "shop\n')
    (problem,) = check_settings(environ=GOOD)

    assert (problem.text, problem.is_fatal) == ("not used: expected a TOML file in UTF-8", False)


def test_a_project_file_that_anybody_may_write_is_not_used(project):
    """Others would decide what is redacted."""
    project.write_text('[tool.z4j]\nproject_id = "shop"\n')
    project.chmod(0o666)
    (problem,) = check_settings(environ=GOOD)

    assert "another user may write it" in problem.text
    assert load_config(environ=GOOD).project_id == "default"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_project_file_of_another_user_is_not_used(project):
    """Nor would its owner be asked."""
    project.write_text('[tool.z4j]\nproject_id = "shop"\n')
    os.chown(project, 12345, 12345)

    assert load_config(environ=GOOD).project_id == "default"


def test_a_host_may_write_names_as_it_does():
    """Flask keeps flat names with the prefix, earlier agents a table for redaction."""
    host = {"Z4J_PROJECT_ID": "shop", "redaction": {"extra_key_patterns": ["^pin$"]}}
    config = load_config(environ=GOOD, host_settings=host)

    assert config.project_id == "shop"
    assert config.redaction_extra_key_patterns == ("^pin$",)


def test_opentelemetrys_own_variables_are_defaults(project):
    """What the service is called everywhere else it is called here, unless told otherwise."""
    attributes = "deployment.environment.name=staging%20eu,service.name=shop"
    config = load_config(environ={**GOOD, "OTEL_RESOURCE_ATTRIBUTES": attributes})
    assert (config.environment, config.agent_name) == ("staging eu", "shop")
    assert config.sources["environment"] == "environment OTEL_RESOURCE_ATTRIBUTES"

    named = {**GOOD, "OTEL_RESOURCE_ATTRIBUTES": attributes, "OTEL_SERVICE_NAME": "pay"}
    assert load_config(environ=named).agent_name == "pay"
    assert load_config(environ={**named, "Z4J_AGENT_NAME": "own"}).agent_name == "own"
    project.write_text('[tool.z4j]\nenvironment = "blue"\n')
    assert load_config(environ=named).environment == "blue"


def test_the_older_name_of_the_environment_counts(project):
    """Semantic conventions renamed it; variables live long."""
    environ = {**GOOD, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=prod-2"}

    assert load_config(environ=environ).environment == "prod-2"


def test_a_standard_variable_that_does_not_fit_stops_nothing(project):
    """It was not written for us: it is told, and the default counts."""
    environ = {**GOOD, "OTEL_SERVICE_NAME": "x" * 200, "OTEL_RESOURCE_ATTRIBUTES": "broken"}
    (problem,) = check_settings(environ=environ)

    assert (problem.setting, problem.is_fatal) == ("agent_name", False)
    assert problem.cure == "set Z4J_AGENT_NAME instead"
    assert load_config(environ=environ).agent_name == ""


@pytest.mark.parametrize(
    ("value", "expected"), [("1", "always"), ("yes", "always"), ("0", "never"), ("auto", "auto")]
)
def test_the_earlier_name_of_a_setting_is_understood(project, value, expected):
    """Z4J_ORCHESTRATED says in other words what Z4J_RESTART_BY_EXIT says."""
    config = load_config(environ={**GOOD, "Z4J_ORCHESTRATED": value})

    assert config.restart_by_exit == expected
    assert config.sources["restart_by_exit"] == "environment Z4J_ORCHESTRATED"
    assert check_settings(environ={**GOOD, "Z4J_ORCHESTRATED": value}) == []


@pytest.mark.parametrize("name", ["Z4J_RUNTIME_DIR", "Z4J_BUFFER_DIR"])
@pytest.mark.parametrize("strict", ["0", "1"])
def test_a_name_that_was_replaced_is_told_with_the_new_one(project, name, strict):
    """An update is no reason to stop, in strict mode either."""
    (problem,) = check_settings(environ={**GOOD, name: "/srv", "Z4J_STRICT_MODE": strict})

    assert problem.source == f"environment {name}"
    assert problem.cure == "set Z4J_HOME to this directory instead"
    assert not problem.is_fatal


def test_a_pipe_in_place_of_a_project_file_makes_nobody_wait(project):
    """Nobody would ever write to it."""
    os.mkfifo(project)

    assert load_config(environ=GOOD).project_id == "default"


def test_a_file_that_is_nested_too_deeply_is_an_error(project):
    """The parser's own limit is no crash of the application's."""
    project.with_name("z4j.toml").write_text("x = " + "[" * 50_000)
    with pytest.raises(ConfigError, match="expected a TOML file in UTF-8"):
        load_config(environ={**GOOD, "Z4J_CONFIG": "z4j.toml"})


def test_a_name_is_shown_short_and_printable(project):
    """Whatever stands in a file, the log has one line of it."""
    project.write_text(f'[tool.z4j]\n"a\\nb" = 1\n{"x" * 500} = 1\n')
    found = check_settings(environ=GOOD)

    assert found[0].setting == "a?b"
    assert len(found[1].setting) == 81
