"""Options made from the table of settings."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from z4j_otel.cli.setting_options import setting_options
from z4j_otel.config import SETTINGS


@click.command()
@setting_options(without=("engines",))
def show(**settings):
    """Print what was given."""
    click.echo({name: value for name, value in settings.items() if value is not None})


def test_every_setting_has_an_option_but_those_left_out():
    """A new row of the table is an option at once."""
    names = {option.name for option in show.params}

    assert {row.name for row in SETTINGS} - names == {"engines"}
    assert {"token_file", "hmac_secret_file"} <= names


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        (["--heartbeat-seconds", "7"], {"heartbeat_seconds": "7"}),
        (["--dev-mode"], {"dev_mode": True}),
        (["--no-heartbeat"], {"heartbeat": False}),
        (["--token-file", "/run/token"], {"token_file": "/run/token"}),
        ([], {}),
    ],
)
def test_what_is_typed_is_given_and_nothing_else(typed, given):
    """An option that is not there leaves the word to other sources."""
    result = CliRunner().invoke(show, typed)

    assert result.output.strip() == str(given)


def test_a_secret_on_the_command_line_is_advised_against():
    """Whoever may list processes sees it."""
    assert "Better in Z4J_TOKEN or a file" in " ".join(
        CliRunner().invoke(show, ["--help"]).output.split()
    )
