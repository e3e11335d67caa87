"""What an operator sees when the real brain refuses, forgets or restarts; and how it ends.

Each test prints the lines of the log, which is what an operator has.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import uuid

import pytest

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.cli.brain_api import wait_until
from z4j_otel.cli.real_brain import RealBrain
from z4j_otel.clock import iso_utc
from z4j_otel.config import AgentConfig
from z4j_otel.config.secret import Secret
from z4j_otel.redaction import Redactor
from z4j_otel.transport.websocket import WebSocketTransport

pytestmark = pytest.mark.timeout(300)


class Journal:
    """Wakes the agent for what a test appended to its buffer."""

    def __init__(self):
        self.fresh = 0

    def import_pending(self, now_ns):
        """Tell how many there are."""
        fresh, self.fresh = self.fresh, 0
        return fresh

    def close(self):
        """Do nothing."""


class Agent:
    """An agent in this process, whose token can be replaced while it runs."""

    def __init__(self, agent, **replaced):
        self.token = replaced.get("token", agent.token)
        self.buffer, self.journal, self.ids = MemoryBuffer(), Journal(), []
        config = AgentConfig(
            brain_url=agent.brain_url,
            token=Secret(self.token),
            hmac_secret=Secret(replaced.get("secret", agent.hmac_secret)),
            project_id=agent.project_id,
        )
        self.runtime = AgentRuntime(
            config,
            transport=WebSocketTransport(agent.brain_url, lambda: self.token),
            buffer=self.buffer,
            importer=self.journal,
            redactor=Redactor(),
            random=lambda: 0.0,
        )

    def __enter__(self):
        self.runtime.start()
        return self

    def __exit__(self, *_):
        self.runtime.shutdown(0.5)

    def add(self, count=1):
        """Let tasks be received, and return their ids."""
        ids = [f"t-{secrets.token_hex(6)}" for _ in range(count)]
        for task_id in ids:
            event = {
                "data": {"task_name": "shop.pay"},
                "engine": "celery",
                "id": str(uuid.uuid4()),
                "kind": "task.received",
                "occurred_at": iso_utc(time.time_ns()),
                "task_id": task_id,
            }
            body = json.dumps(event, separators=(",", ":"), sort_keys=True).encode()
            self.buffer.append([(EntryKind.EVENT, body)], now_ns=time.time_ns())
        self.journal.fresh += count
        return ids

    def wait_connected(self, timeout_s=10):
        """Wait until the brain takes its frames."""
        wait_until(lambda: self.runtime.is_connected, "connection", timeout_s=timeout_s)


class Log:
    """The lines an operator sees."""

    def __init__(self, caplog):
        self.caplog = caplog

    @property
    def lines(self):
        """Return the lines told so far."""
        return [
            f"{record.levelname} {record.getMessage()}"
            for record in self.caplog.get_records("call")
            if record.name.startswith("z4j_otel.agent") and record.levelno >= logging.INFO
        ]

    def wait(self, words, timeout_s=15):
        """Wait for a line that holds these words, and return it."""

        def found():
            return next((line for line in self.lines if words in line), None)

        return wait_until(found, f"log line {words!r}", timeout_s=timeout_s)

    def count(self, words):
        """Return how many lines hold these words."""
        return sum(words in line for line in self.lines)


@pytest.fixture
def log(caplog, capsys):
    """Record the log, and print it at the end."""
    caplog.set_level(logging.INFO, "z4j_otel")
    log = Log(caplog)
    yield log
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(log.lines) + "\n")


@pytest.fixture(scope="module")
def own_brain(brain_program):
    """Run a brain that has room for one worker, and may be restarted."""
    with RealBrain(brain_program, settings={"ws_per_agent_concurrency_cap": "1"}) as brain:
        yield brain


def arrived(brain, ids):
    """Wait until the brain has these tasks, each with one event."""
    for task_id in ids:
        wait_until(lambda at=task_id: brain.api.task(at), f"task {task_id}", timeout_s=30)
        assert [event["kind"] for event in brain.api.events(task_id)] == ["task.received"]


def test_wrong_token(real_brain, log):
    """One line names the setting; ten seconds later the right token is taken."""
    agent = real_brain.mint_agent("wrong-token")
    with Agent(agent, token=secrets.token_urlsafe(32)) as process:
        ids = process.add(3)
        line = log.wait("does not accept the token")
        assert "check Z4J_TOKEN" in line
        assert line.endswith("next attempt in 10 s")
        process.token = agent.token
        log.wait("connected to the brain", timeout_s=20)
        arrived(real_brain, ids)
    assert log.count("WARNING") == 1


def test_wrong_secret(real_brain, log):
    """The brain says hello and refuses the first frame; two attempts are one line."""
    agent = real_brain.mint_agent("wrong-secret")
    with Agent(agent, secret="A" * 43 + "=") as process:
        process.add(3)
        line = log.wait("refused our signature")
        assert "Z4J_HMAC_SECRET does not belong to this token's project" in line
        assert line.endswith("next attempt in 10 s")
        again = wait_until(
            lambda: process.runtime.status()["failures_in_a_row"].get("auth") == 2,
            "second attempt",
            timeout_s=20,
        )
        assert again
        assert process.buffer.stats().entries == 3
    assert log.count("refused our signature") == 1
    assert log.count("connected to the brain") == log.count("not connected to the brain")


def test_token_revoked_in_mid_session_and_minted_anew(real_brain, log):
    """Revoked: one line. With a new token the same process goes on, and loses nothing."""
    agent = real_brain.mint_agent("to-be-revoked")
    with Agent(agent) as process:
        process.wait_connected()
        arrived(real_brain, process.add(3))
        real_brain.api.request("DELETE", f"agents/{agent.agent_id}")
        ids = process.add(3)
        line = log.wait("revoked this agent's token")
        assert "(close code 4003)" in line
        process.token = real_brain.mint_agent("minted-anew").token
        log.wait("connected to the brain again", timeout_s=30)
        arrived(real_brain, ids)
    assert log.count("WARNING") == 1


def test_worker_cap_and_recovery(own_brain, log):
    """The second process waits a minute and says why; it is let in when the first has gone."""
    agent = own_brain.mint_agent("one-worker-only")
    with Agent(agent) as first:
        first.wait_connected()
        with Agent(agent) as second:
            ids = second.add(3)
            line = log.wait("no room for another connection")
            assert "ws_per_agent_concurrency_cap" in line
            assert line.endswith("next attempt in 60 s")
            first.runtime.shutdown(1)
            second.wait_connected(90)
            arrived(own_brain, ids)


def test_two_processes_with_one_worker_id(own_brain, log):
    """The older connection is closed and its process waits half a minute; nothing is lost."""
    agent = own_brain.mint_agent("twins")
    with Agent(agent) as first:
        first.wait_connected()
        twin = Agent(agent)
        twin.runtime._hello.worker_id = first.runtime._hello.worker_id
        with twin:
            twin.wait_connected()
            line = log.wait("two processes use one worker_id")
            assert line.endswith("next attempt in 30 s")
            ids = first.add(2) + twin.add(2)
            first.wait_connected(40)
            arrived(own_brain, ids[:2])
        assert log.count("two processes use one worker_id") >= 1
    arrived(own_brain, ids)


def test_project_archived(brain_program, log):
    """An archived project closes the agent out with one line; what waits stays."""
    # The project does not come back: nobody else can use this brain.
    with RealBrain(brain_program) as brain, Agent(brain.mint_agent("archived")) as process:
        process.wait_connected()
        brain.api.request("POST", "/projects", {"slug": "other", "name": "other"})
        brain.api.request("DELETE", f"/projects/{brain.project}")
        process.add(3)
        log.wait("the project was archived")
        wait_until(
            lambda: process.runtime.status()["failures_in_a_row"].get("auth") == 2,
            "second attempt",
            timeout_s=30,
        )
        assert process.buffer.stats().entries == 3
    assert log.count("WARNING [z4j] not connected") == 1


def test_brain_restarted_with_events_pending(brain_program, log):
    """What was captured while the brain was down arrives when it is back."""
    with RealBrain(brain_program) as brain:
        agent = brain.mint_agent("patient")
        with Agent(agent) as process:
            process.wait_connected()
            before = process.add(20)
            arrived(brain, before)
            brain.stop()
            log.wait("not connected to the brain")
            during = process.add(200)
            brain.start()
            after = process.add(20)
            log.wait("connected to the brain again", timeout_s=40)
            wait_until(lambda: not process.buffer.stats().entries, "delivery", timeout_s=60)
            arrived(brain, [*before, *during[::20], *after])
    assert process.runtime.ledger.acked == 240
