"""The list of subcommands, and how a command fails."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from z4j_otel.cli.failure import Failure
from z4j_otel.cli.main import SUBCOMMANDS, cli
from z4j_otel.errors import BufferFull, ConfigError, EngineUnavailable


def available():
    """Return the subcommands that are there."""
    return cli.list_commands(click.Context(cli))


def test_the_help_lists_every_subcommand():
    """One line for each, from the table."""
    result = CliRunner().invoke(cli, ["--help"])

    assert result.exit_code == 0
    for name in available():
        assert f"{name}  " in result.output


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_every_subcommand_has_the_tables_help_and_an_example(name):
    """The table's line is the first of the command's own help, which shows how to call it."""
    if name not in available():
        return
    command = cli.get_command(click.Context(cli), name)
    output = CliRunner().invoke(cli, [name, "--help"]).output

    assert SUBCOMMANDS[name] == (command.help or "").split("\n\n")[0].replace("\n", " ")
    assert f"z4j-otel {name}" in output.replace("\n", " ").partition("xample")[2]


def test_listing_subcommands_imports_none_of_them():
    """The help is quick: no rich, no network, no OpenTelemetry."""
    code = (
        "import sys; from click.testing import CliRunner; from z4j_otel.cli.main import cli;"
        "CliRunner().invoke(cli, ['--help']); "
        "print([m for m in ('rich', 'httpx', 'websockets', 'opentelemetry', 'msgspec')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


def test_a_misspelt_subcommand_gets_the_nearest():
    """The error ends in the command to type."""
    result = CliRunner().invoke(cli, ["version1"])

    assert result.exit_code == 2
    assert result.output == "Error: there is no command 'version1'\n  z4j-otel version\n"
    assert CliRunner().invoke(cli, ["xyzzy"]).output.endswith("\n  z4j-otel --help\n")


def test_an_unknown_option_is_a_usage_error():
    """Click's own message and exit code stay."""
    assert CliRunner().invoke(cli, ["--nonsense"]).exit_code == 2


def test_the_version_is_an_option_too():
    """Everybody tries --version first."""
    assert (
        CliRunner().invoke(cli, ["--version"], prog_name="z4j-otel").output.startswith("z4j-otel ")
    )


@pytest.mark.parametrize(
    ("error", "exit_code", "then"),
    [
        (ConfigError("token", "not set", "token is required"), 2, "z4j-otel config"),
        (EngineUnavailable("rq"), 2, "pip install 'z4j-otel[rq]'"),
        (BufferFull("no space"), 1, "z4j-otel config"),
    ],
)
def test_an_error_of_ours_becomes_a_failure(error, exit_code, then):
    """Whatever a subcommand raises, the user gets one line and a command to type."""

    @click.command()
    def broken():
        raise error

    group = type(cli)("z4j-otel", commands={"version": broken}, callback=cli.callback)
    group.get_command = lambda ctx, name: broken

    result = CliRunner().invoke(group, ["version"])
    assert result.exit_code == exit_code
    assert result.output.endswith(f"\n  {then}\n")


def test_the_module_runs_the_same_command():
    """``python -m z4j_otel`` and ``z4j-otel`` are one."""
    done = subprocess.run(
        [sys.executable, "-m", "z4j_otel", "--help"], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("Usage: python -m z4j_otel [OPTIONS] COMMAND")


def test_a_failure_carries_its_exit_code():
    """1 unless said otherwise."""
    assert Failure("x", then="y").exit_code == 1


def test_a_package_that_a_subcommand_lacks_is_told_with_the_way_to_get_it(monkeypatch):
    """The demo's modules are those of a Celery application."""

    def lack(_module):
        raise ModuleNotFoundError("No module named 'celery'", name="celery")

    monkeypatch.setattr("z4j_otel.cli.main.import_module", lack)
    result = CliRunner().invoke(cli, ["demo"])
    assert result.exit_code == 2
    assert "demo needs celery, which is not installed\n" in result.output
    assert "pip install 'z4j-otel[celery]'\n" in result.output


def test_a_module_of_our_own_that_is_missing_is_no_package_to_install(monkeypatch):
    """It is an error in z4j-otel, and looks like one."""

    def lack(_module):
        raise ModuleNotFoundError("No module named 'z4j_otel.x'", name="z4j_otel.x")

    monkeypatch.setattr("z4j_otel.cli.main.import_module", lack)
    with pytest.raises(ModuleNotFoundError):
        cli.get_command(click.Context(cli), "demo")
