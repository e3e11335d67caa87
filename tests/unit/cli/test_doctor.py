"""``z4j-otel doctor``: what it takes, and what it hands to the drill."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from z4j_otel.cli.main import cli


class Recorder:
    """Stands for the drill, and keeps what it was given."""

    def __init__(self, code=0):
        self.code = code
        self.given = None

    def __call__(self, app, **given):
        """Take the options."""
        self.given = {"app": app, **given}
        return self

    def run(self):
        """Play nothing."""
        return self.code


def doctor(*options, drill=None):
    """Run the command."""
    return CliRunner().invoke(cli, ["doctor", *options], obj=drill or Recorder())


@pytest.mark.parametrize("options", [(), ("-A", "shop.app"), ("--drill",)])
def test_what_is_missing_is_said_with_a_command_to_type(options):
    """One line of what is wrong, one to try, exit code 2."""
    result = doctor(*options)

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert "z4j-otel doctor --drill -A shop.app" in result.stderr


def test_the_defaults_play_a_minute_on_the_apps_own_broker():
    """Nothing but the app need be said."""
    drill = Recorder()

    assert doctor("--drill", "-A", "shop.app", drill=drill).exit_code == 0
    assert drill.given == {
        "app": "shop.app",
        "broker": None,
        "minutes": 1.0,
        "seeds": (),
        "concurrency": 4,
        "as_json": False,
        "is_agreed": False,
    }


def test_every_option_reaches_the_drill():
    """And its exit code is the command's."""
    drill = Recorder(code=1)
    options = "--drill --app shop.app --broker redis:// --minutes 2.5 --seed 7 --seed 8"

    result = doctor(*options.split(), "--concurrency", "9", "--json", "--yes", drill=drill)

    assert result.exit_code == 1
    assert drill.given == {
        "app": "shop.app",
        "broker": "redis://",
        "minutes": 2.5,
        "seeds": (7, 8),
        "concurrency": 9,
        "as_json": True,
        "is_agreed": True,
    }


@pytest.mark.parametrize("options", [("--minutes", "0"), ("--concurrency", "0"), ("--seed", "x")])
def test_values_out_of_bounds_are_usage_errors(options):
    """Exit code 2, and no drill."""
    drill = Recorder()

    assert doctor("--drill", "-A", "shop.app", *options, drill=drill).exit_code == 2
    assert drill.given is None
