"""The table of settings and the configuration made from it."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

import z4j_otel.config
from z4j_otel.config import SETTINGS, AgentConfig, Secret
from z4j_otel.config.parsing import parse
from z4j_otel.errors import ConfigError

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
KEY = bytes(range(32))


def test_every_field_but_the_sources_is_a_row():
    """Nothing can be configured that the table does not list."""
    names = [each.name for each in dataclasses.fields(AgentConfig)]

    assert [*[row.name for row in SETTINGS], "sources", "secret_files"] == names


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_every_row_is_complete(row):
    """Help is one sentence, and a default other than unset passes the row's own parser."""
    assert row.help.endswith(".")
    assert "\n" not in row.help
    if row.show(row.default) != "unset" and not row.is_secret:
        assert parse(row, row.default) == row.default


def test_the_configuration_is_frozen():
    """A configuration cannot change after it was made."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        AgentConfig().project_id = "other"


def test_the_repr_holds_no_secret():
    """A configuration can be logged without care."""
    shown = repr(AgentConfig(token=Secret("t0ken-value"), hmac_secret=Secret(KEY_TEXT)))

    assert "t0ken-value" not in shown
    assert KEY_TEXT not in shown


def test_the_deployment_is_named_by_secret_and_by_token():
    """Processes that share either find each other's files; the name tells neither."""
    config = AgentConfig(token=Secret("t"), hmac_secret=Secret(KEY_TEXT), project_id="shop")
    rotated = dataclasses.replace(config, token=Secret("u"))
    elsewhere = dataclasses.replace(config, project_id="other")

    by_secret, by_token = config.deployment.split(".")
    assert by_secret == hashlib.sha256(b"secret" + KEY + b"shop").hexdigest()[:16]
    assert rotated.deployment.split(".")[0] == by_secret
    assert not {by_secret, by_token} & set(elsewhere.deployment.split("."))
    assert config.signing_key() == KEY


def test_there_is_no_deployment_without_a_secret():
    """An unset secret is an error, not the name of some deployment."""
    with pytest.raises(ConfigError):
        _ = AgentConfig().deployment


def test_rows_tell_value_and_source_but_no_secret():
    """What doctor prints: each setting, its value, where it came from."""
    config = AgentConfig(token=Secret("t0ken"), sources={"token": "environment Z4J_TOKEN"})

    shown = {row.name: (value, source) for row, value, source in config.rows()}
    assert shown["token"] == ("set", "environment Z4J_TOKEN")
    assert shown["heartbeat_seconds"] == ("30.0", "default")
    assert len(shown) == len(SETTINGS)


def test_unknown_names_of_the_package_are_attribute_errors():
    """Lazy loading does not change what a missing name looks like."""
    with pytest.raises(AttributeError, match="nonsense"):
        _ = z4j_otel.config.nonsense


def test_a_secret_in_the_wrong_setting_is_not_shown():
    """Whoever looks at the settings sees which one is set, not what was pasted into it."""
    token = "ghp_" + "a1B2" * 9
    config = AgentConfig(agent_name=f"web-{token}", tags={"team": "north", "password": "pa55-word"})

    shown = {row.name: value for row, value, _ in config.rows()}

    assert (shown["agent_name"], shown["tags"]) == (
        "web-[REDACTED]",
        "team=north,password=[REDACTED]",
    )
