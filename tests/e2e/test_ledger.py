"""The ledger of real processes: what they recorded, against what tasks ran and what arrived."""

from __future__ import annotations

import json
from functools import partial

import pytest

from z4j_otel.cli import brain_api
from z4j_otel.cli.demo.brains import EmbeddedBrain
from z4j_otel.cli.demo.stage import Stage

pytestmark = pytest.mark.timeout(180)

TASKS = 400
CAP = 1000
EVENTS_A_TASK = 4
WORKERS = 2
"""Each announces itself with one event."""
PUBLISH = """
import sys
from z4j_otel.cli.workload.app import app
app.tasks["shop.killed"].delay()
for number in range(int(sys.argv[1])):
    app.tasks["shop.add"].delay(number, 1)
"""


wait_until = partial(brain_api.wait_until, what="another process", timeout_s=60.0)


def last_report(report):
    """Return what the agent that ended last has reported."""
    return json.loads(report.read_text().splitlines()[-1])


def test_the_ledger_closes_over_kills_a_full_buffer_and_a_successor(tmp_path):
    """A child is killed, the buffer overflows, the worker goes, and the next one has it all."""
    report = tmp_path / "report.jsonl"
    variables = {
        "Z4J_BUFFER_MAX_EVENTS": str(CAP),
        "Z4J_OTEL_REPORT": str(report),
        "Z4J_FLUSH_TIMEOUT_SECONDS": "2",
    }
    with EmbeddedBrain() as brain:
        environment = brain.environment()
        brain.__exit__(None, None, None)
        with Stage(tmp_path, environment, variables=variables) as stage:
            wait_until(stage.is_ready)
            stage.run("-c", PUBLISH, str(TASKS))
            wait_until(lambda: stage.log_path.read_bytes().count(b" succeeded in ") >= TASKS)
            wait_until(lambda: b"WorkerLostError" in stage.log_path.read_bytes())
        alone = last_report(report)
        brain.__enter__()
        with Stage(tmp_path, environment, variables=variables) as stage:
            wait_until(lambda: b"took over" in stage.log_path.read_bytes())
            wait_until(stage.is_ready)
        together = last_report(report)
        events = brain._thread.brain.events()
    check_without_brain(alone)
    account = together["account"]
    assert (account["closes"], account["pending"], together["waiting"]) == (True, 0, 0)
    assert account["acked"] == len(events)
    recorded = account["captured"] - account["told_twice"]
    assert recorded == EVENTS_A_TASK * (TASKS + 1) + WORKERS
    assert account["dropped_by_reason"].keys() == {"event.buffer_full"}
    assert account["dropped"] == recorded - len(events) > 0


def check_without_brain(report):
    """The agent that had no brain kept what it could, and lists its processes."""
    account = report["account"]
    assert (account["closes"], account["acked"]) == (True, 0)
    assert account["pending"] == report["waiting"] <= CAP
    assert account["dropped"] > 0
    processes = report["processes"]
    assert len(processes) >= 4  # the main process, the killed child, two that ran tasks
    assert sum(each["captured"] for each in processes) == account["captured"]
    assert all(each["missing"] == 0 for each in processes)
