"""``z4j-otel redact``."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner

from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.cli.main import cli

pytestmark = pytest.mark.usefixtures("policies")

APP = """
from celery import Celery
from z4j_otel import z4j_task

app = Celery("shop", broker="memory://", set_as_current=False)

@app.task(name="shop.pay", shared=False)
@z4j_task(redact=["card"])
def pay(card, amount=0): ...

@app.task(name="shop.hushed", shared=False)
@z4j_task(skip=True)
def hushed(): ...
"""


def redact(*arguments, given=None, **environ):
    """Run the command."""
    variables = {"COLUMNS": "200", "Z4J_CONFIG": "", **environ}
    return CliRunner().invoke(cli, ["redact", *arguments], input=given, env=variables)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Go where an application is."""
    (tmp_path / "redact_shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "redact_shop", raising=False)


@pytest.fixture
def home(tmp_path):
    """Return a home where events of two agents wait."""
    for pid in (7, 8):
        files = AgentFiles.claim(tmp_path, pid, "shop")
        buffer = SqliteBuffer(files.buffer_path)
        for number in range(3):
            event = {
                "kind": "task.sent",
                "task_id": f"t-{pid}-{number}",
                "data": {"args": ["[REDACTED]"], "kwargs": {"patient": "Jane Doe"}},
            }
            body = json.dumps(event).encode()
            entries = [(EntryKind.EVENT, body), (EntryKind.COMMAND_RESULT, b"{}")]
            buffer.append([*entries, (EntryKind.EVENT, b"{")], now_ns=pid * 1000 + number)
        buffer.close()
        files.close()
    return tmp_path


def test_a_document_from_a_pipe_is_previewed():
    """The value as it would leave, and the rule that took each part."""
    result = redact("--preview", given='{"user": {"password": "hunter2", "id": 7}}')
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert '"id": 7' in result.output
    assert "user.password" in result.output
    assert "key:password" in result.output


def test_a_file_is_previewed_as_json_for_machines(tmp_path):
    """One object, with everything that is told."""
    path = tmp_path / "order.json"
    path.write_text('["a@b.example"]')
    (line,) = redact(str(path), "--json").output.splitlines()
    assert json.loads(line) == {
        "title": "document",
        "redacted": ["[REDACTED]"],
        "findings": [{"path": "[0]", "rule": "value:email", "count": 1}],
        "notes": [],
        "clean": True,
    }


def test_a_text_is_previewed():
    """A log or a traceback."""
    result = redact("--text", "-", given="Boom: password=hunter2 at 3")
    assert "Boom: password=[REDACTED] at 3" in result.output
    assert "no rule took anything" in redact("--text", "-", given="all is well").output


def test_the_settings_rules_count(tmp_path):
    """Of the environment, and of a file."""
    given = '{"patient": "Jane"}'
    assert "Jane" in redact(given=given).output
    assert "Jane" not in redact(given=given, Z4J_REDACTION_EXTRA_KEY_PATTERNS="patient").output
    config = tmp_path / "z4j.toml"
    config.write_text('redaction_extra_key_patterns = ["patient"]\n')
    assert "Jane" not in redact("--config", str(config), given=given).output


@pytest.mark.usefixtures("shop")
def test_a_call_of_a_task_obeys_its_policy():
    """With its real signature: a positional argument has a name."""
    options = ["--result", '{"paid by": "4111-ab"}', "--exception", "ValueError: no 4111-ab"]
    result = redact(
        *("-A", "redact_shop", "--task", "shop.pay", "--args", '["4111-ab", 5]', *options)
    )
    assert result.exit_code == 0
    assert "4111-ab" not in result.output
    assert "task:redact " in result.output
    assert "task:repeated" in result.output
    assert "ValueError: no [REDACTED]" in result.output


@pytest.mark.usefixtures("shop")
def test_a_skipped_task_shows_nothing_but_that():
    """And a task that the app does not have is guessed."""
    result = redact("-A", "redact_shop", "--task", "shop.hushed")
    assert "skip: nothing of this task's runs leaves" in result.output
    result = redact("-A", "redact_shop", "--task", "shop.pya")
    assert result.exit_code == 2
    assert "did you mean shop.pay?" in result.output
    assert "has no task x\n" in redact("-A", "redact_shop", "--task", "x").output


def test_the_last_events_of_the_buffers_are_previewed(home):
    """The newest at the end, of all agents; unreadable ones are passed over."""
    result = redact("--buffer", "--last", "2", "--home", str(home), "--json")
    assert result.exit_code == 0
    previews = [json.loads(line) for line in result.output.splitlines()]
    assert [each["title"] for each in previews] == ["task.sent t-8-1", "task.sent t-8-2"]
    assert previews[0]["findings"] == [
        {"path": "data.args[0]", "rule": "taken before it was written", "count": 1}
    ]


def test_an_event_that_todays_rules_would_change_fails(home):
    """It was written under other settings."""
    result = redact(
        *("--buffer", "--task-id", "t-7-1", "--home", str(home)),
        Z4J_REDACTION_EXTRA_KEY_PATTERNS="patient",
    )
    assert result.exit_code == 1
    assert "would be taken now" in result.output
    assert "Jane" not in result.output


def test_no_such_event_is_told(home):
    """With what to type next."""
    result = redact("--buffer", "--task-id", "nosuch", "--home", str(home))
    assert result.exit_code == 2
    assert "no such event waits in" in result.output
    assert "z4j-otel status" in result.output


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        ((), '{"password": hunter2', "the document is no JSON, line 1"),
        ((), "[" * 200_000, "the document is nested too deeply"),
        (("-A", "x"), "", "a call needs both --app and --task"),
        (("--args", "[]"), "[]", "--args is of a call, which needs both --app and --task"),
        (("--buffer", "--task", "x", "-A", "x"), "", "choose one of a file, --task and --buffer"),
    ],
)
def test_wrong_usage_is_told_without_a_value(arguments, given, told):
    """Exit code 2, and the command that helps."""
    result = redact(*arguments, given=given)
    assert result.exit_code == 2
    assert told in result.output
    assert "z4j-otel redact --help" in result.output
    assert "hunter2" not in result.output


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--args", "{}", "--args takes a JSON list, and --kwargs a JSON object"),
        ("--kwargs", "hunter2", "--kwargs is no JSON"),
    ],
)
def test_wrong_arguments_of_a_call_are_told(option, value, told):
    """Not their text."""
    result = redact("-A", "redact_shop", "--task", "shop.pay", option, value)
    assert result.exit_code == 2
    assert told in result.output
    assert "hunter2" not in result.output


def test_a_terminal_without_a_source_is_told_what_to_do(monkeypatch):
    """Instead of waiting for somebody to type JSON."""
    monkeypatch.setattr("z4j_otel.cli.redact.is_terminal", lambda _: True)
    result = redact()
    assert result.exit_code == 2
    assert "name a file, a task or --buffer, or pipe JSON in" in result.output
