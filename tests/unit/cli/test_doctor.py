"""``z4j-otel doctor``: what it prints, and what it hands to the drill."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from z4j_otel.cli.main import cli
from z4j_otel.devbrain.server import BrainThread
from z4j_otel.doctor import conversation
from z4j_otel.instrumentors.celery import instances


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


@pytest.fixture
def brain(tmp_path, monkeypatch):
    """Run a brain, and be the environment of its agent."""
    monkeypatch.setenv("Z4J_HOME", str(tmp_path))
    monkeypatch.setattr(conversation, "_KNOCK_S", 0.2)
    # Other tests of this process leave apps behind.
    monkeypatch.setattr(instances, "app_of_process", lambda: None)
    with BrainThread() as thread:
        for name, text in thread.env().items():
            monkeypatch.setenv(name, text)
        yield thread


def test_a_drill_without_an_app_is_a_usage_error():
    """One line of what is wrong, one to try, exit code 2."""
    result = doctor("--drill")

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert "z4j-otel doctor --drill -A shop.app" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--minutes", "2"), "--minutes is an option of the drill"),
        (("--yes",), "--yes is an option of the drill"),
        (("--drill", "-A", "shop.app", "--token", "x"), "--token is no option of the drill"),
        (("--drill", "--fix-hints"), "--fix-hints is no option of the drill"),
    ],
)
def test_an_option_of_the_other_mode_is_a_usage_error(options, words):
    """It would do nothing."""
    result = doctor(*options)

    assert result.exit_code == 2
    assert words in result.stderr


def test_findings_are_printed_as_they_come(brain):
    """Heading, findings, engines, what to do; exit code 0 when nothing is broken."""
    result = doctor()

    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stdout
    assert lines[0] == "z4j-doctor (bare)"
    assert "[OK] signed_frame OK: " in result.stdout
    assert "Nothing is broken" in lines[-1]


def test_json_is_one_object(brain):
    """With everything that scripts know."""
    result = doctor("--json", "--no-websocket")

    told = json.loads(result.stdout)
    assert told["ok"] is True
    assert {"config", "engines", "probes"} <= set(told)


def test_options_beat_the_environment_and_problems_end_in_exit_code_1(brain):
    """With hints at the end when they are asked for."""
    result = doctor("--token", "somebody-elses", "--fix-hints")

    assert result.exit_code == 1
    assert "[FAIL] hello FAIL: the brain does not accept the token" in result.stdout
    assert "what comes from argument is no agent's token" in result.stdout
    assert "What to type:" in result.stdout
    assert "somebody-elses" not in result.stdout


def test_a_file_with_settings_is_read(tmp_path, monkeypatch):
    """As by the agent."""
    monkeypatch.setenv("Z4J_HOME", str(tmp_path))
    path = tmp_path / "z4j.toml"
    path.write_text('project_id = "from-the-file"')

    result = doctor("--config", str(path))

    assert "project_id:  from-the-file" in result.stdout


def test_marks_have_colours_on_a_terminal_only(brain):
    """A file gets plain text."""
    coloured = CliRunner().invoke(cli, ["doctor", "--no-websocket"], color=True)

    assert "\x1b[32m[OK]\x1b[0m config OK" in coloured.stdout
    assert "\x1b" not in doctor("--no-websocket").stdout


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


def test_marks_have_no_colours_with_no_color(brain, monkeypatch):
    """As in every other command."""
    monkeypatch.setenv("NO_COLOR", "1")
    result = CliRunner().invoke(cli, ["doctor", "--no-websocket"], color=True)
    assert "[OK] config OK" in result.stdout
    assert "\x1b" not in result.stdout
