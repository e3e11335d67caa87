"""What an owner does for its agent process."""

from __future__ import annotations

import logging

import msgspec
import pytest

from z4j_otel.agent import service as module
from z4j_otel.agent.execution import allow_all
from z4j_otel.agent.service import OwnerService
from z4j_otel.commands import Command
from z4j_otel.events import LostSpan
from z4j_otel.ids import CommandId
from z4j_otel.redaction import RedactionPolicy, Redactor

from .schedules.scripted import Adapter, MemoryScheduler, schedule


class Engine:
    """An engine that answers."""

    name = "celery"

    def capabilities(self):
        """Tell what it can."""
        return ["retry_task"]

    def execute(self, command):
        """Do what is asked."""
        return {"did": command.action, "password": "x"}

    def queue_depths(self):
        """Tell its depths."""
        return {"orders": 1}

    def worker_details(self):
        """Tell of its worker."""
        return {"w@h": {"stats": {}}}


@pytest.fixture
def released():
    """Collect the releases."""
    return []


@pytest.fixture
def ask(released):
    """Give the handlers by name."""
    return OwnerService(
        {"celery": Engine()},
        redactor=Redactor(RedactionPolicy()),
        policy=allow_all,
        release=lambda: released.append(True),
    ).handlers()


def test_a_command_is_carried_out_and_its_result_redacted(ask):
    """The answer is what the wire takes."""
    command = Command(CommandId("c"), "retry_task")
    answer = ask["run"](msgspec.to_builtins(command))
    assert answer["status"] == "success"
    assert answer["result"]["did"] == "retry_task"
    assert answer["result"]["password"] == "[REDACTED]"


def test_engines_are_described(ask):
    """Depths, worker and tasks by the engine's name; some engines have no list of tasks."""
    assert ask["queue_depths"]("celery") == {"orders": 1}
    assert ask["worker_details"]("celery") == {"w@h": {"stats": {}}}
    assert ask["task_registry"]("celery") is None


def test_the_journal_is_let_go(ask, released):
    """Right before the agent process removes it."""
    ask["release"](None)
    assert released == [True]


def test_log_lines_are_the_owners(ask, caplog):
    """With level, logger and action of the agent process."""
    with caplog.at_level(logging.INFO):
        ask["log"]([logging.INFO, "z4j_otel.agent.news", "100 % up", "connected"])
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("z4j_otel.agent.news", "100 % up")
    assert record.action == "connected"


def test_lost_spans_reach_the_applications_exporters(ask, monkeypatch):
    """The agent process has no exporters."""
    seen = []
    monkeypatch.setattr(module, "export_lost_span", seen.append)
    lost = LostSpan("t", "n", None, "w", 0, "a", "b", "", True, 1, 2, "worker_lost", "E")
    ask["lost_span"](msgspec.to_builtins(lost))
    assert seen == [lost]


def test_schedules_are_told_redacted_or_why_not(ask):
    """An engine without a scheduler has none to tell."""
    assert ask["schedules"]("celery-beat") == {"error": "this agent has no scheduler 'celery-beat'"}
    scheduler = MemoryScheduler(schedule("a", kwargs={"password": "hunter2"}))
    handlers = OwnerService(
        {"celery": Adapter(scheduler)},
        redactor=Redactor(RedactionPolicy()),
        policy=allow_all,
        release=lambda: None,
    ).handlers()
    assert handlers["schedules_version"]("celery-beat") == {"value": "0"}
    (row,) = handlers["schedules"]("celery-beat")["value"]
    assert row["kwargs"] == {"password": "[REDACTED]"}
