"""``z4j-otel status`` and ``buffer`` beside a real worker, alive and dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.devbrain.server import BrainThread

pytestmark = pytest.mark.timeout(180)

MANY = """
from z4j_otel.cli.workload.app import app
print(*[app.tasks["shop.add"].delay(n, 1).id for n in range(20)])
"""


class Command:
    """The command line, in the environment of a worker's agent."""

    def __init__(self, folder, brain):
        own = {name: text for name, text in os.environ.items() if not name.startswith("Z4J_")}
        self.env = {**own, **brain.env(), "Z4J_HOME": str(folder / "home"), "COLUMNS": "200"}

    def run(self, *arguments):
        """Run it and return what it printed, and its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "z4j_otel", *arguments],
            env=self.env, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout, done.returncode

    def status(self):
        """Return what the status shows of each agent, and the exit code."""
        printed, code = self.run("status", "--json")
        return json.loads(printed)["agents"], code


def is_told(command, count):
    """Whether the status is that of one connected agent that has delivered so much."""
    agents, code = command.status()
    if code or len(agents) != 1 or agents[0]["state"] != "connected":
        return False
    return agents[0]["status"]["ledger"]["acked"] >= count


def test_worker_is_shown_and_what_it_leaves_is_delivered(tmp_path):
    """A running worker is healthy; a killed one's events are shown, exported and drained."""
    with BrainThread() as thread:
        command = Command(tmp_path, thread)
        assert command.status() == ([], 2)
        with Stage(tmp_path, thread.env()) as stage:
            wait_until(stage.is_ready, "start of the worker", timeout_s=40)
            ids = stage.run("-c", MANY).split()
            wait_until(lambda: is_told(command, 60), "a status of health", timeout_s=30)
            printed, code = command.run("status", "--processes")
            assert (code, "shop" in printed or "buffer-" in printed) == (0, True)
            (agent,), _ = command.status()
            assert agent["status"]["ledger"]["closes"] is True
            assert agent["status"]["role"] == "task"

            thread.__exit__(None, None, None)
            more = stage.run("-c", MANY).split()
            wait_until(
                lambda: command.run("buffer", "export")[0].count('"task.succeeded"') >= 20,
                "tasks in the buffer",
                timeout_s=30,
            )
            wait_until(lambda: command.status()[1] == 1, "a status of trouble", timeout_s=30)
            os.killpg(stage.worker_pid, signal.SIGKILL)
            wait_until(
                lambda: not command.status()[0][0]["alive"], "end of the worker", timeout_s=10
            )
        agents, code = command.status()
        assert code == 1
        assert all("buffer drain" in agent["problems"][0] for agent in agents)
        assert more[0] in command.run("buffer", "show", "--limit", "1000")[0]

        thread.__enter__()
        printed, code = command.run("buffer", "drain", "--timeout", "60")
        assert code == 0, printed
        assert list((tmp_path / "home").iterdir()) == []
        states = {task.task_id: task.state for task in thread.brain.tasks()}
        assert states == dict.fromkeys(ids + more, "success")
