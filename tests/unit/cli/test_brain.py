"""``z4j-otel brain``."""

from __future__ import annotations

import io
import json
import socket
from contextlib import closing
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

from z4j_otel.cli.brain import command, print_events, show_table
from z4j_otel.cli.stopping import StopRequest
from z4j_otel.config import load_config
from z4j_otel.devbrain.brain import DevBrain


@pytest.fixture
def ended():
    """Make a request that has already asked the command to end."""
    with closing(StopRequest()) as request:
        request.set()
        yield request


def test_the_brain_prints_what_an_agent_needs(ended):
    """The lines can be pasted into a shell, and make a valid configuration."""
    result = CliRunner().invoke(command, ["--port", "0"], obj=ended)

    assert result.exit_code == 0
    lines = [line.removeprefix("export ") for line in result.output.splitlines()]
    environ = dict(line.split("=", 1) for line in lines)
    assert load_config(environ=environ).brain_url.startswith("http://127.0.0.1:")


def test_the_brain_prints_json_when_asked(ended):
    """The first line names the environment."""
    result = CliRunner().invoke(command, ["--port", "0", "--json"], obj=ended)

    ready = json.loads(result.output.splitlines()[0])
    assert ready["kind"] == "brain.ready"
    assert "Z4J_TOKEN" in ready["environment"]


def test_a_port_that_is_taken_is_a_failure(ended):
    """The error ends in the command that works."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(command, ["--port", port], obj=ended)

    assert result.exit_code == 1
    assert result.output.startswith(
        f"Error: no brain on port {port}: another program listens there\n"
    )
    assert result.output.endswith("\n  z4j-otel brain --port 0\n")


def test_the_table_is_drawn_until_the_end_is_asked_for(ended):
    """On a terminal the brain shows its tasks as a table."""
    console = Console(force_terminal=True, width=120, height=20, file=io.StringIO())
    show_table(DevBrain(), console, ended)

    assert "0 tasks" in console.file.getvalue()


def test_events_are_printed_as_they_are_written(ended, capsys):
    """Every event once, in order of arrival."""
    brain = SimpleNamespace(events=lambda: ["one", "two"])
    print_events(brain, str.upper, ended)

    assert capsys.readouterr().out == "ONE\nTWO\n"
