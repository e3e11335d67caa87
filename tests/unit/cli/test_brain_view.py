"""What ``z4j-otel brain`` shows."""

from __future__ import annotations

import io
import json

from rich.console import Console

from z4j_otel.cli.brain_view import build_table, event_json, event_line, printable
from z4j_otel.devbrain.rows import EventRow, TaskRow

EVENT = EventRow(
    project_id="p",
    agent_id="a",
    engine="celery",
    task_id="0123456789abcdef",
    kind="task.failed",
    occurred_at_ns=1_700_000_000_000_000_000,
    data={"task_name": "shop.pay", "exception": "Boom: no\x1b[31m money"},
    sent_id="s",
)


def task(**changes):
    """Make a row of a task."""
    empty = dict.fromkeys(TaskRow.__struct_fields__)
    known = {"task_id": "0123456789", "name": "shop.pay", "state": "success", "retry_count": 0}
    return TaskRow(**{**empty, **known, **changes})


def rendered(tasks, limit=50):
    """Draw the table and return its text."""
    console = Console(width=140, file=io.StringIO())
    console.print(build_table(tasks, [], limit=limit))
    return console.file.getvalue()


def test_a_task_is_one_row():
    """Name, start of the id, state, worker, duration and what went wrong."""
    text = rendered([task(state="failure", runtime_ms=12, exception="Boom", worker_name="w1")])

    for expected in ("1 tasks", "shop.pay", "01234567", "failure", "w1", "12", "Boom"):
        assert expected in text


def test_only_the_latest_tasks_are_shown():
    """A long list keeps its end."""
    text = rendered([task(name=f"task-{number}") for number in range(9)], limit=2)

    assert "9 tasks" in text
    assert "task-8" in text
    assert "task-6" not in text


def test_what_an_agent_sent_cannot_steer_the_terminal():
    """Control characters are replaced, markup is shown as it is."""
    assert printable("a\x1b[2Jb\n") == "a\ufffd[2Jb\ufffd"
    assert "[bold]x" in rendered([task(name="[bold]x")])
    assert "\x1b" not in event_line(EVENT)


def test_an_event_is_one_line():
    """Time, kind, start of the id, name and what went wrong."""
    assert event_line(EVENT).startswith("22:13:20  task.failed      01234567  shop.pay  Boom: no")


def test_an_event_is_one_line_of_json():
    """All of the event, for programs."""
    text = event_json(EVENT)

    assert "\n" not in text
    assert json.loads(text)["data"] == EVENT.data
    assert json.loads(text)["kind"] == "task.failed"
