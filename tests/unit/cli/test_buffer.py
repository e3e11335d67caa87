"""``z4j-otel buffer show`` and ``export``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.cli.main import cli
from z4j_otel.clock import SystemClock

EVENT = b'{"data":{"task_name":"shop.pay"},"engine":"celery","kind":"task.started","task_id":"t-1"}'
WORKER = b'{"data":null,"engine":"celery","kind":"worker.online","task_id":""}'
RESULT = b'{"command_id":"c-1","payload":{"status":"success"}}'


@pytest.fixture
def home(tmp_path):
    """Return a home where a living and an ended agent have something waiting."""
    entries = [
        (EntryKind.EVENT, EVENT),
        (EntryKind.EVENT, WORKER),
        (EntryKind.COMMAND_RESULT, RESULT),
        (EntryKind.EVENT, b"{"),
    ]
    open_files = []
    for pid, its in ((7, entries), (8, entries[:1])):
        files = AgentFiles.claim(tmp_path, pid, "shop")
        buffer = SqliteBuffer(files.buffer_path)
        buffer.append(its, now_ns=SystemClock().now_ns())
        open_files.append((files, buffer))
    open_files[1][1].close()
    open_files[1][0].close()
    yield tmp_path
    open_files[0][1].close()
    open_files[0][0].close()


def buffer(home, *arguments):
    """Run the command."""
    environ = {"Z4J_HOME": str(home), "TMPDIR": str(home), "COLUMNS": "200"}
    return CliRunner().invoke(cli, ["buffer", *arguments], env=environ)


def test_what_waits_is_listed(home):
    """Each entry is one row, of the living and the dead; unreadable ones are rows, too."""
    result = buffer(home, "show")
    assert result.exit_code == 0
    lines = result.output.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["buffer-7"] * 4 + ["buffer-8"]
    for line, words in zip(
        lines,
        (("task.started", "shop.pay", "t-1"), ("worker.online",), ("command result", "c-1")),
        strict=False,
    ):
        assert all(word in line for word in words)
    assert "unreadable" in lines[3]


def test_the_list_is_limited_and_filtered(home):
    """As many as were asked for, of the agent named by its name or its process."""
    assert len(buffer(home, "show", "--limit", "1").output.splitlines()) == 3
    assert len(buffer(home, "show", "--agent", "8").output.splitlines()) == 2
    assert len(buffer(home, "show", "--agent", "buffer-7").output.splitlines()) == 5


def test_nothing_waits(tmp_path):
    """An empty buffer is told in words."""
    files = AgentFiles.claim(tmp_path, 7, "shop")
    assert buffer(tmp_path, "show").output == "nothing waits\n"
    files.close()


def test_unknown_agent(home):
    """A wrong name costs exit code 2 and names where was looked."""
    result = buffer(home, "show", "--agent", "nobody")
    assert result.exit_code == 2
    assert str(home) in result.output


def test_export_writes_lines(home, tmp_path):
    """Each line holds the body as it is; the file is for its owner only."""
    output = tmp_path / "out.jsonl"
    result = buffer(home, "export", "--agent", "8", "--output", str(output))
    assert (result.exit_code, result.output) == (0, "1 entries written\n")
    assert output.stat().st_mode & 0o777 == 0o600
    line = json.loads(output.read_bytes())
    assert (line["agent"], line["kind"], line["body"]) == ("buffer-8", "event", json.loads(EVENT))
    assert set(line) == {"agent", "sequence", "stored_at", "kind", "body"}
    assert EVENT in output.read_bytes()


def test_export_to_standard_output(home):
    """Without a file the lines can be piped; nothing is taken out of the buffer."""
    for _ in range(2):
        result = buffer(home, "export", "--agent", "8")
        assert json.loads(result.stdout)["body"]["task_id"] == "t-1"


def test_export_overwrites_nothing(home, tmp_path):
    """A file that is there is left alone."""
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    result = buffer(home, "export", "--output", str(output))
    assert result.exit_code == 1
    assert output.read_text() == "mine"


def test_unreadable_buffer_is_a_failure(tmp_path):
    """A damaged database is named."""
    files = AgentFiles.claim(tmp_path, 7, "shop")
    files.buffer_path.write_bytes(b"no database" * 100)
    result = buffer(tmp_path, "show")
    assert result.exit_code == 1
    assert "buffer-7.sqlite" in result.output
    files.close()


def test_a_body_nested_without_end_is_unreadable(tmp_path):
    """It is listed all the same."""
    files = AgentFiles.claim(tmp_path, 7, "shop")
    buffer = SqliteBuffer(files.buffer_path)
    buffer.append([(EntryKind.EVENT, b"[" * 20_000)], now_ns=1)
    buffer.close()
    files.close()
    result = CliRunner().invoke(cli, ["buffer", "show", "--json", "--home", str(tmp_path)])
    (entry,) = json.loads(result.output)["waiting"]
    assert (entry["what"], entry["bytes"]) == ("unreadable", 20_000)


def test_a_name_cannot_command_the_terminal(tmp_path):
    """Control characters and half characters of a task's name are shown as what they are."""
    files = AgentFiles.claim(tmp_path, 7, "shop")
    buffer = SqliteBuffer(files.buffer_path)
    body = {"kind": "task.sent", "task_id": "\ud800", "data": {"task_name": "a\x1b[2J[red]b"}}
    buffer.append([(EntryKind.EVENT, json.dumps(body).encode())], now_ns=1)
    buffer.close()
    files.close()
    result = CliRunner().invoke(cli, ["buffer", "show", "--home", str(tmp_path)])
    assert result.exit_code == 0
    assert "a\ufffd[2J[red]b" in result.output.replace("\n", "")
