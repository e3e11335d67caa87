"""What all subcommands have in common; a new one is tested by being in the table."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from z4j_otel.cli.failure import EXIT_USAGE
from z4j_otel.cli.main import SUBCOMMANDS, cli

ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;5)")
# They run until they are stopped, or print lines for people or a file for a shell; what they
# found is in z4j-otel status --json and in z4j-otel buffer export, which is JSON.
WITHOUT_JSON = {"run", "demo", "completion", "buffer export", "buffer drain"}
# What can be asked anywhere, without a brain, a worker or settings, with its exit code.
ASKED = {
    "version": (["--json"], 0),
    "status": (["--json"], 2),
    "config": (["--json"], 2),
}


def leaves():
    """Return every command that does something, by the words to type."""
    context = click.Context(cli)
    found = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            found |= {f"{name} {below}": each for below, each in command.commands.items()}
        else:
            found[name] = command
    return found


LEAVES = leaves()
each_command = pytest.mark.parametrize("words", sorted(LEAVES))
each_asked = pytest.mark.parametrize("words", sorted(set(ASKED) & set(LEAVES)))


@pytest.fixture
def environ(tmp_path):
    """Return an environment of nobody: no settings, an empty home."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "TERM": "xterm-256color"}


def run(words, environ, *, program=("-m", "z4j_otel")):
    """Run a command as users do, its output not on a terminal."""
    return subprocess.run(
        [sys.executable, *program, *words],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_of_the_table_are_all_there():
    """And no module has one that the table does not name."""
    names = {words.split()[0] for words in LEAVES}
    assert names == {name for name in SUBCOMMANDS if name in cli.list_commands(click.Context(cli))}


@each_command
def test_help_shows_how_to_call_it_and_what_its_exit_codes_mean(words):
    """Enough to use it without a browser."""
    result = CliRunner().invoke(cli, [*words.split(), "--help"], prog_name="z4j-otel")

    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: z4j-otel {words}")
    examples = re.split(r"Examples?:", result.output)
    assert len(examples) == 2
    assert f"z4j-otel {words}" in " ".join(examples[1].split())
    assert re.search(r"Exit (codes|status): 0", result.output)


@each_command
def test_every_option_says_what_it_does(words):
    """No option without a line of help."""
    options = [each for each in LEAVES[words].params if isinstance(each, click.Option)]
    assert [option.name for option in options if not (option.help or "").endswith(".")] == []


@each_command
def test_it_can_speak_json(words):
    """What prints something that a program may want has ``--json``."""
    has_json = any("--json" in each.opts for each in LEAVES[words].params)
    assert has_json is (words not in WITHOUT_JSON)


@each_command
def test_an_unknown_option_is_wrong_usage(words):
    """Exit code 2, told on the standard error alone."""
    result = CliRunner().invoke(cli, [*words.split(), "--no-such-option"])

    assert result.exit_code == EXIT_USAGE
    assert "--no-such-option" in result.stderr
    assert result.stdout == ""


@each_asked
def test_json_is_one_object_without_colours(words, environ):
    """Whatever the outcome, and also when it is not healthy."""
    arguments, code = ASKED[words]
    done = run([*words.split(), *arguments], environ)

    assert isinstance(json.loads(done.stdout), dict)
    assert ESCAPE not in done.stdout
    assert done.returncode == code, done.stderr


@each_asked
def test_nothing_is_coloured_in_a_pipe(words, environ):
    """A file or another program gets plain text."""
    done = run(words.split(), environ)
    assert ESCAPE not in done.stdout + done.stderr


def test_no_color_is_honoured_on_a_terminal(environ):
    """A failure, which is red elsewhere, has no colour there."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "z4j_otel", "status"],
        env={**environ, "NO_COLOR": "1"},
        stdout=theirs,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    told = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "no agent" in told
    assert not COLOUR.search(told)


def test_the_module_and_the_program_are_one(environ):
    """The same text for every command, apart from the program's own name."""
    program = (
        "-c",
        "import sys; sys.argv[0] = 'z4j-otel'; import z4j_otel.cli.main as m; m.main()",
    )
    for words in (["--help"], ["version", "--json"], ["nonsense"]):
        module, script = run(words, environ), run(words, environ, program=program)
        assert module.returncode == script.returncode
        assert module.stdout.replace("python -m z4j_otel", "z4j-otel") == script.stdout
        assert module.stderr == script.stderr
