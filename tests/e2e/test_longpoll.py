"""Where no WebSocket comes through: the fallback, against both brains, with a real worker."""

from __future__ import annotations

import contextlib
from collections import Counter

import pytest

from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.demo.stage import Stage
from z4j_otel.devbrain.server import BrainThread

from .upgrade_blocker import UpgradeBlocker

pytestmark = pytest.mark.timeout(300)

ONCE = {"task.sent": 1, "task.received": 1, "task.started": 1, "task.succeeded": 1}
MANY = """
from z4j_otel.cli.workload.app import app
print(*[app.tasks["shop.add"].delay(n, 1).id for n in range(60)])
"""
LARGE = """
from z4j_otel.cli.workload.app import app
print(app.tasks["shop.add"].delay("a lot " * 1300, "of words " * 850).id)
"""


@contextlib.contextmanager
def worker(folder, agent, **variables):
    """Run a worker; the variables go before what the agent was given."""
    stage = Stage(folder, agent, variables=variables)
    with stage:
        wait_until(stage.is_ready, "start of the worker", timeout_s=40)
        yield stage


def told_by_real(brain, ids):
    """Count how often each story was told by tasks."""
    kinds = (Counter(event["kind"] for event in brain.api.events(task_id)) for task_id in ids)
    return Counter(str(dict(sorted(each.items()))) for each in kinds)


def told_by_embedded(brain, ids):
    """Count how often each story was told by tasks."""
    kinds = (Counter(event.kind for event in brain.events(task_id)) for task_id in ids)
    return Counter(str(dict(sorted(each.items()))) for each in kinds)


def expected(ids):
    """Return the count when each task's whole story was told once."""
    return {str(dict(sorted(ONCE.items()))): len(ids)}


def test_tasks_and_commands_while_upgrades_are_refused(real_brain, tmp_path):
    """Everything works over long-poll, and the WebSocket is back when the block is lifted."""
    agent = real_brain.mint_agent("behind-a-proxy")
    api = real_brain.api
    with (
        UpgradeBlocker(real_brain.port) as proxy,
        worker(tmp_path, agent.environment(), Z4J_BRAIN_URL=proxy.url) as stage,
    ):
        ids = stage.run("-c", MANY).split()
        wait_until(lambda: proxy.counts["forwarded"], "change to long-poll", timeout_s=60)
        for task_id in ids:
            api.wait_task(task_id, "success", timeout_s=60)
        assert proxy.counts["upgraded"] == 0

        large = stage.run("-c", LARGE).strip()
        api.wait_task(large, "success", timeout_s=30)
        reduced = {event["kind"]: event["payload"].get("reduced") for event in api.events(large)}
        assert (reduced["task.received"], reduced["task.started"]) == (["args"], None)

        failed = stage.publish("raises")["raises"]
        api.wait_task(failed, "failure", timeout_s=30)
        retry = api.run_command(
            "retry-task", agent_id=agent.agent_id, engine="celery", task_id=failed
        )
        assert (retry["status"], retry["error"]) == ("completed", None)
        api.wait_task(retry["result"]["new_task_id"], "failure", timeout_s=30)

        proxy.is_blocking = False
        wait_until(lambda: proxy.open_sockets, "return of the WebSocket", timeout_s=150)
        later = stage.run("-c", MANY).split()
        for task_id in later:
            api.wait_task(task_id, "success", timeout_s=60)
        retry = api.run_command(
            "retry-task", agent_id=agent.agent_id, engine="celery", task_id=failed
        )
        assert retry["status"] == "completed"
        assert told_by_real(real_brain, ids + later) == expected(ids + later)
    text = stage.log_path.read_text()
    assert text.count("using HTTPS long-poll") == 1
    assert text.count("long-poll ends") == 1
    assert text.count("Z4J_MAX_PAYLOAD_SIZE_BYTES") == 1


def test_longpoll_by_setting_survives_a_restart(tmp_path):
    """With ``transport=longpoll`` no socket is opened, and a brain that was away gets it all."""
    with BrainThread() as thread:
        brain = thread.brain
        with worker(tmp_path, thread.env(), Z4J_TRANSPORT="longpoll") as stage:
            ids = stage.run("-c", MANY).split()
            assert brain.wait_for(lambda: len(brain.tasks()) > 20, 30)
            thread.__exit__(None, None, None)
            ids += stage.run("-c", MANY).split()
            thread.__enter__()
            wait_until(
                lambda: told_by_embedded(brain, ids) == expected(ids), "all stories", timeout_s=60
            )
            command = brain.issue("cancel_task", engine="celery", task_id="no-such-task")
            assert command.wait(20).is_done
            assert brain.counts["connections"] == 0
    assert thread.brain.counts["longpoll_sessions"] >= 2


def test_change_under_load_loses_and_doubles_nothing(tmp_path):
    """Sockets are cut and blocked, then let through again, while tasks run on and on."""
    with BrainThread() as thread:
        port = int(thread.url.rpartition(":")[2])
        brain = thread.brain
        with UpgradeBlocker(port) as proxy:
            proxy.is_blocking = False
            with worker(tmp_path, thread.env(), Z4J_BRAIN_URL=proxy.url) as stage:
                ids = stage.run("-c", MANY).split()
                assert brain.wait_for(lambda: len(brain.tasks()) > 20, 30)
                proxy.is_blocking = True
                proxy.cut_sockets()
                ids += stage.run("-c", MANY).split()
                assert brain.wait_for(lambda: brain.counts["longpoll_sessions"], 60)
                proxy.is_blocking = False
                ids += stage.run("-c", MANY).split()
                wait_until(lambda: proxy.open_sockets, "return of the WebSocket", timeout_s=90)
                ids += stage.run("-c", MANY).split()
                wait_until(
                    lambda: told_by_embedded(brain, ids) == expected(ids),
                    "all stories",
                    timeout_s=60,
                )
