"""``z4j-otel status``."""

from __future__ import annotations

import json
import os
import re

import pytest
from click.testing import CliRunner

from z4j_otel.agent.status_file import StatusFile
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.cli.agents import age_of, homes_of, size_of
from z4j_otel.cli.main import cli
from z4j_otel.clock import SystemClock, iso_utc

NS = 1_000_000_000


class Home:
    """A home directory with agents that do not run."""

    def __init__(self, path):
        self.path = path
        self.open = []

    def agent(self, pid, *, deployment="shop", is_alive=True, entries=0, journal=b"", **shown):
        """Make the files of an agent; what is shown goes into its status file."""
        files = AgentFiles.claim(self.path, pid, deployment)
        if journal:
            (files.journal_dir / "1.seg").write_bytes(journal)
        if entries:
            buffer = SqliteBuffer(files.buffer_path)
            buffer.append([(EntryKind.EVENT, b"{}")] * entries, now_ns=SystemClock().now_ns())
            buffer.close()
        if shown:
            facts = {"started_at": iso_utc(SystemClock().now_ns() - 60 * NS), "role": "task"}
            StatusFile(files.status_path, facts, SystemClock()).show(
                {"last_error": None, "ledger": {"closes": True}, **shown}
            )
        if is_alive:
            self.open.append(files)
        else:
            files.close()
        return files

    def status(self, *options, columns="200"):
        """Run the command."""
        environ = {"Z4J_HOME": str(self.path), "TMPDIR": str(self.path), "COLUMNS": columns}
        return CliRunner().invoke(cli, ["status", *options], env=environ)


@pytest.fixture
def home(tmp_path):
    """Return a home without agents."""
    home = Home(tmp_path)
    yield home
    for files in home.open:
        files.close()


def told(result):
    """Return the one agent of the JSON output."""
    found = json.loads(result.stdout)
    (agent,) = found["agents"]
    assert found["healthy"] is agent["healthy"]
    return agent


def test_connected_agent_is_healthy(home):
    """Its figures are shown, in a table and as JSON, and the exit code is 0."""
    home.agent(
        7,
        state="connected",
        transport="longpoll",
        brain="https://z4j.example",
        buffer={"entries": 3, "bytes": 5000, "oldest_ns": SystemClock().now_ns() - 90 * NS},
        ledger={"captured": 10, "acked": 7, "dropped": 0, "closes": True},
        processes=[
            {"process": "7-ab", "captured": 10, "imported": 9, "missing": 0, "dropped": {"x": 1}}
        ],
    )
    result = home.status("--processes")
    assert result.exit_code == 0
    for text in ("buffer-7", "connected (long-poll)", "3 (4 KiB)", "7-ab", "µs"):
        assert text in result.output
    assert re.search(r"\b9\d s\b", result.output)
    result = home.status("--json")
    agent = told(result)
    assert (result.exit_code, agent["pid"], agent["state"]) == (0, 7, "connected")
    assert agent["waiting"]["entries"] == 3
    assert 89 < agent["waiting"]["oldest_age_s"] < 100
    assert agent["status"]["ledger"]["captured"] == 10


def test_last_error_of_a_healthy_agent_is_told(home):
    """A failure that is over is worth a line, and no alarm."""
    error = {"text": "the brain restarted", "kind": "connection", "ago_s": 5}
    home.agent(7, state="connected", last_error=error)
    result = home.status()
    assert result.exit_code == 0
    assert "the brain restarted" in result.output


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"state": "waiting", "problem": "the token is wrong"}, "the token is wrong"),
        ({"state": "connecting", "problem": None}, "connecting, not connected"),
        (
            {"state": "connected", "ledger": {"closes": False, "unaccounted": 3}},
            "3 events are unaccounted for",
        ),
    ],
)
def test_agent_in_trouble_is_not_healthy(home, shown, words):
    """The reason is told, and the exit code is 1."""
    home.agent(7, **shown)
    result = home.status()
    assert result.exit_code == 1
    assert words in result.output


def test_agent_that_just_started_is_healthy(home):
    """Without a word from it yet, there is nothing to complain about."""
    home.agent(7)
    result = home.status("--json")
    assert (result.exit_code, told(result)["state"]) == (0, "starting")


def test_silent_agent_is_not_healthy(home):
    """A process that is stopped keeps its lock, and gives no sign of life."""
    files = home.agent(7, state="connected")
    os.utime(files.lock_path, (1, 1))
    result = home.status()
    assert result.exit_code == 1
    assert "no sign of life" in result.output


def test_what_an_ended_agent_left_is_told(home):
    """Events that nobody will deliver are a reason to act, and the text says how."""
    home.agent(7, is_alive=False, entries=4, journal=b"x" * 10)
    result = home.status()
    assert result.exit_code == 1
    assert "left 4 events and 10 B of journal" in result.output
    assert "z4j-otel buffer drain" in result.output


@pytest.mark.parametrize(("deployment", "code"), [("other.shop", 0), ("other", 1)])
def test_another_agent_of_the_project_takes_over(home, deployment, code):
    """What is left is no problem while a running agent of the same project will take it."""
    home.agent(7, is_alive=False, entries=4)
    home.agent(8, deployment=deployment, state="connected")
    assert home.status().exit_code == code


def test_ended_agent_that_left_nothing_is_no_problem(home):
    """Files without content are only litter."""
    home.agent(7, is_alive=False)
    assert home.status().exit_code == 0


def test_damaged_buffer_is_told(home):
    """A database that cannot be read is named, and the others are shown."""
    files = home.agent(7, is_alive=False)
    files.buffer_path.write_bytes(b"no database" * 100)
    result = home.status()
    assert result.exit_code == 1
    assert "cannot be read" in result.output


def test_no_agent(home):
    """Finding nothing is neither health nor illness: exit code 2."""
    result = home.status()
    assert result.exit_code == 2
    assert "no agent has files in" in result.output
    result = home.status("--json", "--home", str(home.path / "else"))
    assert result.exit_code == 2
    assert json.loads(result.stdout)["healthy"] is False


def test_units():
    """Ages and sizes are written for people."""
    assert [age_of(s) for s in (5, 119, 600, 90_000, 9e5)] == [
        "5 s",
        "119 s",
        "10 min",
        "25 h",
        "10 days",
    ]
    assert [size_of(n) for n in (5, 5000, 5_000_000, 5 * 2**30)] == [
        "5 B",
        "4 KiB",
        "4 MiB",
        "5 GiB",
    ]


def test_homes(tmp_path, monkeypatch):
    """The directory that was named, or those that an agent may have chosen."""
    monkeypatch.chdir(tmp_path)
    assert homes_of(tmp_path / "x") == (tmp_path / "x",)
    environ = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    assert homes_of(None, environ) == (tmp_path / ".z4j", tmp_path / "tmp" / f"z4j-{os.getuid()}")


@pytest.mark.parametrize(("columns", "is_shown"), [("80", False), ("200", True)])
def test_an_agents_name_is_whole_and_the_brain_is_told_where_there_is_room(home, columns, is_shown):
    """The name is what other commands take."""
    home.agent(1234567, state="connected", brain="https://z4j.example.com")
    output = home.status(columns=columns).output
    assert "buffer-1234567" in output
    assert ("https://z4j.example.com" in output) is is_shown
