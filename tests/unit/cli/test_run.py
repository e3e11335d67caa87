"""``z4j-otel run``."""

from __future__ import annotations

import logging
import os
import signal
import sys

import pytest
from click.testing import CliRunner

from z4j_otel.cli.failure import Failure
from z4j_otel.cli.main import cli
from z4j_otel.cli.run import command, load_app

KEY_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ENVIRON = {
    "Z4J_BRAIN_URL": "http://localhost",
    "Z4J_TOKEN": "t",
    "Z4J_HMAC_SECRET": KEY_TEXT,
    "Z4J_CONFIG": None,
}


@pytest.fixture(autouse=True)
def _own_log():
    """Give the package's logger back as it was."""
    logger = logging.getLogger("z4j_otel")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.level, logger.propagate, logger.handlers[:] = before
    logger.manager._clear_cache()


class FakeHost:
    """A host that runs no agent and asks the command to end."""

    def __init__(self, *, is_free=True):
        self.is_free = is_free
        self.settings = None
        self.engines = None
        self.is_stopped = False

    def configure(self, settings):
        """Remember the settings."""
        self.settings = dict(settings)
        return object()

    def start_agent(self, *, engines):
        """Remember the adapters, and ask the command to end."""
        self.engines = list(engines)
        os.kill(os.getpid(), signal.SIGTERM)
        return object() if self.is_free else None

    def stop(self):
        """Remember that it was called."""
        self.is_stopped = True


@pytest.fixture
def app_module(tmp_path, monkeypatch):
    """Make a module with a Celery app in the current directory; return its name."""
    (tmp_path / "shop_for_run.py").write_text("from celery import Celery\napp = Celery('shop')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "shop_for_run"
    sys.modules.pop("shop_for_run", None)


def invoke(host, *arguments, **environ):
    """Run the command with a host, as the whole program would."""
    group = type(cli)("z4j-otel", callback=lambda: None)
    group.get_command = lambda ctx, name: command
    return CliRunner().invoke(group, ["run", *arguments], obj=host, env={**ENVIRON, **environ})


def test_the_agent_runs_until_a_signal(app_module):
    """The adapter is built on the app named, and the agent is stopped in order."""
    host = FakeHost()
    result = invoke(host, "--engine", "celery", "--celery-app", f"{app_module}:app")

    assert result.exit_code == 0, result.output
    assert host.engines[0].app.main == "shop"
    assert host.is_stopped
    assert result.output.splitlines()[-1] == "agent has ended"


def test_options_beat_the_environment(app_module):
    """What was typed is handed on; autostart would make no sense to switch off here."""
    host = FakeHost()
    invoke(host, "--app", app_module, "--project-id", "typed", Z4J_AUTOSTART="0")

    assert host.settings == {"project_id": "typed", "autostart": True}


def test_secrets_can_be_named_by_file(app_module, tmp_path):
    """Neither secret has to stand on the command line."""
    (tmp_path / "key").write_text(KEY_TEXT)
    host = FakeHost()
    result = invoke(
        host,
        *("--app", app_module, "--hmac-secret-file", str(tmp_path / "key")),
        Z4J_HMAC_SECRET="",
    )
    assert result.exit_code == 0, result.output
    assert host.settings["hmac_secret_file"] == str(tmp_path / "key")


def test_settings_can_come_from_a_file(app_module, tmp_path):
    """The file named on the command line is the one the host reads as well."""
    (tmp_path / "z4j.toml").write_text('heartbeat_seconds = "often"\n')
    result = invoke(FakeHost(), "--app", app_module, "--config", "z4j.toml")

    assert result.exit_code == 2
    assert "heartbeat_seconds (file z4j.toml)" in result.output


def test_a_missing_setting_is_a_configuration_error():
    """The setting is named, and exit code 2 says whose turn it is."""
    result = invoke(FakeHost(), Z4J_TOKEN="")

    assert result.exit_code == 2
    assert "token is required; set Z4J_TOKEN" in result.output


def test_a_disabled_agent_does_not_run():
    """Being switched off is told, not ignored."""
    result = invoke(FakeHost(), Z4J_DISABLED="1")

    assert result.exit_code == 2
    assert result.output.endswith("\n  unset Z4J_DISABLED\n")


def test_an_engine_nobody_knows_is_a_usage_error():
    """The error names the engines there are."""
    result = invoke(FakeHost(), "--engine", "nonsense")

    assert result.exit_code == 2
    assert "no engine 'nonsense'; this version knows: celery" in result.output


def test_a_process_with_another_agent_is_refused(app_module):
    """Where the host gives no agent, the command fails."""
    result = invoke(FakeHost(is_free=False), "--app", app_module)

    assert result.exit_code == 1


@pytest.mark.parametrize("where", ["no_such_module_x", "os:no_such_attribute"])
def test_an_app_that_cannot_be_imported_is_named(where, app_module):
    """The error says what went wrong and how to see it."""
    with pytest.raises(Failure, match="cannot be imported") as caught:
        load_app(where)
    assert caught.value.then.startswith("python -c 'import ")


def test_an_app_is_found_with_a_dot_for_the_colon(app_module):
    """As by celery -A, and by the doctor."""
    assert load_app(f"{app_module}.app").main == "shop"


def test_an_app_is_found_by_its_usual_names(app_module):
    """A module alone is enough, as for celery -A."""
    assert load_app(app_module).main == "shop"
