"""Where settings come from, and what happens to names that nobody knows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from z4j_otel.config import Secret, check_settings, examine, load_config
from z4j_otel.errors import ConfigError

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch, tmp_path):
    """A process that has warned of nothing, where no project file lies."""
    monkeypatch.setattr("z4j_otel.config.resolver._told", set())
    monkeypatch.chdir(tmp_path)


ENVIRON = {
    "Z4J_BRAIN_URL": "https://brain.example.com",
    "Z4J_TOKEN": "t0ken-value",
    "Z4J_HMAC_SECRET": KEY_TEXT,
}


@pytest.fixture
def file(tmp_path):
    """A configuration file with a project and a heartbeat."""
    path = tmp_path / "z4j.toml"
    path.write_text('project_id = "from-file"\nheartbeat_seconds = 7\nengines = ["celery"]\n')
    return path


def test_the_environment_is_enough():
    """Three variables configure an agent; all else has defaults."""
    config = load_config(environ=ENVIRON)

    assert config.brain_url == "https://brain.example.com"
    assert config.token == Secret("t0ken-value")
    assert (config.project_id, config.heartbeat_seconds) == ("default", 30.0)


def test_each_source_beats_the_ones_behind_it(file):
    """Argument, environment, host settings, file, default: the first that has a value wins."""
    environ = {**ENVIRON, "Z4J_PROJECT_ID": "from-env"}
    host = {"project_id": "from-host"}

    def project(arguments, environ, host):
        return load_config(arguments, environ, file, host_settings=host).project_id

    assert project({"project_id": "from-argument"}, environ, host) == "from-argument"
    assert project({}, environ, host) == "from-env"
    assert project({}, ENVIRON, host) == "from-host"
    assert project({}, ENVIRON, {}) == "from-file"


def test_a_pinned_environment_beats_the_applications_code(file):
    """A drill's processes keep to its brain, whatever the application is set to."""
    environ = {**ENVIRON, "Z4J_OTEL_PINNED": "1"}
    given = {"brain_url": "https://own.example.com", "token": "own"}

    config = load_config(given, environ, file, host_settings={"project_id": "own"})

    assert config.brain_url == "https://brain.example.com"
    assert (config.token, config.project_id) == (Secret("t0ken-value"), "default")


def test_sources_are_remembered(file):
    """Every value that is no default knows where it came from."""
    config = load_config({"agent_name": "a"}, {**ENVIRON, "Z4J_CONFIG": str(file)})

    assert config.sources["agent_name"] == "argument"
    assert config.sources["token"] == "environment Z4J_TOKEN"
    assert config.sources["heartbeat_seconds"] == "file z4j.toml"
    assert "log_level" not in config.sources


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_value_means_unset(file, empty):
    """An empty variable or argument lets the next source speak."""
    environ = {**ENVIRON, "Z4J_PROJECT_ID": empty}

    config = load_config({"project_id": empty, "agent_name": None}, environ, file)
    assert (config.project_id, config.agent_name) == ("from-file", "")


def test_secrets_are_read_from_the_files_named(tmp_path):
    """Z4J_TOKEN_FILE and Z4J_HMAC_SECRET_FILE keep secrets out of the environment."""
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "key").write_text(KEY_TEXT + "\n")
    environ = {
        "Z4J_BRAIN_URL": "http://localhost",
        "Z4J_TOKEN_FILE": str(tmp_path / "token"),
        "Z4J_HMAC_SECRET_FILE": str(tmp_path / "key"),
    }

    config = load_config(environ=environ)
    assert config.token.reveal() == "from-file"
    assert config.sources["token"] == "environment Z4J_TOKEN_FILE"
    assert load_config(environ={**environ, "Z4J_TOKEN": "direct"}).token.reveal() == "direct"


def test_a_secret_file_that_cannot_be_read_is_an_error(tmp_path):
    """A missing or unreadable secret file is named by its variable."""
    environ = {**ENVIRON, "Z4J_TOKEN": "", "Z4J_TOKEN_FILE": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match=r"Z4J_TOKEN_FILE\): the file cannot be read: No such"):
        load_config(environ=environ)
    (tmp_path / "none").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="text in UTF-8"):
        load_config(environ=environ)


def test_an_error_is_one_line_with_setting_source_and_form():
    """The value itself is not repeated."""
    with pytest.raises(ConfigError) as caught:
        load_config(environ={**ENVIRON, "Z4J_DEV_MODE": "perhaps"})

    assert str(caught.value) == (
        "dev_mode (environment Z4J_DEV_MODE): expected 1/true/yes/on or 0/false/no/off;"
        " for example: export Z4J_DEV_MODE='true'"
    )
    assert caught.value.__cause__ is None


def test_unknown_variables_get_one_warning_with_the_nearest_match(caplog):
    """A misspelt name is told, once, and does not stop the agent."""
    environ = {**ENVIRON, "Z4J_TOKN": "secret-value", "Z4J_XYZZY_PLUGH": "1"}
    with caplog.at_level(logging.WARNING):
        load_config(environ=environ)

    (record,) = caplog.records
    assert "(environment Z4J_TOKN): unknown setting; did you mean Z4J_TOKEN?" in record.getMessage()
    assert "Z4J_XYZZY_PLUGH" in record.getMessage()
    assert "secret-value" not in record.getMessage()


def test_unknown_names_are_errors_in_strict_mode(file):
    """Strict mode refuses misspelt variables and keys of the file."""
    with pytest.raises(ConfigError, match=r"Z4J_TOKN\): unknown setting; did you mean Z4J_TOKEN"):
        load_config(environ={**ENVIRON, "Z4J_STRICT_MODE": "1", "Z4J_TOKN": "x"})
    file.write_text("strict_mode = true\nprojectid = 'x'\n")
    with pytest.raises(ConfigError, match=r"file z4j.toml\): unknown setting; .*project_id"):
        load_config(environ=ENVIRON, file=file)


def test_an_unknown_argument_is_always_an_error():
    """A misspelt keyword is a bug of the caller."""
    with pytest.raises(ConfigError, match=r"brain_uri \(argument\).*did you mean brain_url"):
        load_config({"brain_uri": "http://localhost"}, ENVIRON)


def test_variables_with_another_purpose_are_known(caplog):
    """Our other variables are no settings, and no warning either."""
    load_config(environ={**ENVIRON, "Z4J_REQUIRE_SERVICES": "1", "Z4J_OTEL_JOURNAL": "x"})

    assert not caplog.records


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"token = 's3cret' oops"])
def test_a_malformed_file_is_an_error_that_quotes_nothing(file, content):
    """The parser's own message could show a secret."""
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a TOML file in UTF-8") as caught:
        load_config(environ=ENVIRON, file=file)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_missing_is_an_error():
    """A file that was asked for must be there."""
    with pytest.raises(ConfigError, match=r"no\.toml\): cannot be read: No such file"):
        load_config(environ=ENVIRON, file=Path("no.toml"))


def test_required_settings_can_be_waived():
    """Tools and a disabled agent get a configuration without brain and token."""
    assert load_config(environ={}, is_partial=True).brain_url == ""
    assert load_config(environ={"Z4J_DISABLED": "true"}).disabled
    with pytest.raises(ConfigError, match="brain_url is required"):
        load_config(environ={})


def test_the_label_of_the_host_settings_is_used():
    """A framework's settings are called what its users call them."""
    with pytest.raises(ConfigError, match=r"autostart \(Django settings\)"):
        load_config(environ=ENVIRON, host_settings={"autostart": "x"}, host_label="Django settings")


def test_everything_that_is_wrong_is_told_at_once():
    """Each problem has its setting, its source and its cure; nothing is raised or logged."""
    environ = {
        "Z4J_BRAIN_URL": "ftp://brain",
        "Z4J_TOKEN": "two words",
        "Z4J_HEARTBEAT_SECONDS": "soon",
        "Z4J_PROJEKT_ID": "x",
    }
    found = check_settings({"autostart": "perhaps"}, environ)

    assert [(each.setting, each.source, each.is_fatal) for each in found] == [
        ("brain_url", "environment Z4J_BRAIN_URL", True),
        ("token", "environment Z4J_TOKEN", True),
        ("heartbeat_seconds", "environment Z4J_HEARTBEAT_SECONDS", True),
        ("autostart", "argument", True),
        ("projekt_id", "environment Z4J_PROJEKT_ID", False),
        ("hmac_secret", "not set", True),
    ]
    assert all(each.cure for each in found)
    assert "export Z4J_HEARTBEAT_SECONDS='30.0'" in found[2].cure
    assert not any("two words" in str(each) for each in found)


def test_a_good_configuration_has_no_problem():
    """Nothing to say about what is right."""
    assert check_settings(environ=ENVIRON) == []


def test_what_is_wrong_has_its_default_in_what_is_shown():
    """A tool can go on and show the rest."""
    found = examine(environ={**ENVIRON, "Z4J_HEARTBEAT_SECONDS": "soon"})

    assert found.config.heartbeat_seconds == 30.0
    assert found.config.project_id == "default"


def test_the_same_warning_is_not_repeated_in_a_process(caplog):
    """A process resolves its settings several times, and tells what is doubtful once."""
    for _ in range(2):
        load_config(environ={**ENVIRON, "Z4J_TOKN": "x"})

    assert len(caplog.records) == 1


def test_an_error_knows_whether_the_configuration_is_strict(file):
    """Also where the file says so: whoever catches it must end the process."""
    file.write_text("strict_mode = true\nheartbeat_seconds = 0\n")
    with pytest.raises(ConfigError) as caught:
        load_config(environ=ENVIRON, file=file)
    assert caught.value.is_strict


def test_a_file_nested_without_end_is_refused(tmp_path):
    """By the error that names the file."""
    (tmp_path / "z4j.toml").write_text("a=" + "[" * 20_000)
    with pytest.raises(ConfigError, match="expected a TOML file"):
        load_config({}, ENVIRON, tmp_path / "z4j.toml")
