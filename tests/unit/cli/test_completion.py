"""``z4j-otel completion``."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from z4j_otel.cli.completion import SHELLS
from z4j_otel.cli.main import SUBCOMMANDS, cli


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_every_shell(shell):
    """It calls the program back in the way that click understands."""
    result = CliRunner().invoke(cli, ["completion", shell])

    assert result.exit_code == 0
    assert "_Z4J_OTEL_COMPLETE" in result.output
    assert "z4j-otel" in result.output


def test_an_unknown_shell_is_a_usage_error():
    """The message names the shells there are."""
    result = CliRunner().invoke(cli, ["completion", "tcsh"])

    assert result.exit_code == 2
    assert all(shell in result.output for shell in SHELLS)


def complete(*words, last=""):
    """Return what a shell would be offered."""
    asked = ShellComplete(cli, {}, "z4j-otel", "_Z4J_OTEL_COMPLETE")
    return [each.value for each in asked.get_completions(list(words), last)]


def test_commands_and_options_are_completed():
    """Subcommands, commands below them, options, and the values of a choice."""
    assert complete() == list(SUBCOMMANDS)
    assert complete(last="ver") == ["version"]
    assert complete("buffer", last="d") == ["drain"]
    assert complete("status", last="--j") == ["--json"]
    assert complete("completion", last="z") == ["zsh"]


def test_a_word_that_is_no_command_completes_to_nothing():
    """No message may end up between the words that the user types."""
    assert complete("nonsense", last="x") == []
