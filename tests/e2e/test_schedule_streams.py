"""Sequences, digests and epochs of schedule streams, by the real brain's own judgement.

The agents run in this process, on a scheduler in memory, so each case takes seconds.
"""

from __future__ import annotations

import uuid

import pytest
from tests.unit.agent.schedules.scripted import OWNER, Adapter, MemoryScheduler, schedule

from z4j_otel.agent.agent import AgentRuntime
from z4j_otel.buffer.memory import MemoryBuffer
from z4j_otel.cli.brain_api import BrainApi, wait_until
from z4j_otel.config import load_config
from z4j_otel.redaction import Redactor

pytestmark = pytest.mark.timeout(300)


class NoJournal:
    """Nothing is captured here."""

    def import_pending(self, now_ns):
        """Import nothing."""
        return 0

    def close(self):
        """Have nothing to close."""


class Engine(Adapter):
    """An engine with schedules and nothing else."""

    def queue_depths(self):
        """Measure nothing."""
        return {}

    def worker_details(self):
        """Have no worker."""
        return {}


class Agent:
    """One agent with a scheduler of its own."""

    def __init__(self, api, home, *entries, credentials=None):
        self.api = api
        self.credentials = credentials or api.mint_agent(f"agent-{uuid.uuid4().hex[:8]}")
        self.scheduler = MemoryScheduler(*entries)
        known = self.credentials
        settings = {
            "brain_url": known.brain_url,
            "token": known.token,
            "hmac_secret": known.hmac_secret,
            "project_id": known.project_id,
        }
        self.runtime = AgentRuntime(
            load_config(settings, {}),
            [Engine(self.scheduler)],
            buffer=MemoryBuffer(),
            importer=NoJournal(),
            redactor=Redactor(),
            home=home,
        )
        self.runtime.start()

    def stream(self):
        """Return what the agent says of its stream."""
        return self.runtime.status()["schedules"]["streams"][OWNER]

    def stop(self):
        """End it."""
        self.runtime.shutdown(2)


class Project:
    """A project of its own at a real brain."""

    def __init__(self, brain, folder):
        slug = f"p-{uuid.uuid4().hex[:8]}"
        self.api = BrainApi(brain.base_url, brain.email, brain.password, project=slug)
        self.api.create_project()
        self.folder = folder
        self.agents = []

    def agent(self, *entries, home="home", credentials=None):
        """Start an agent in one of the machines of the project."""
        folder = self.folder / home
        folder.mkdir(exist_ok=True)
        self.agents.append(Agent(self.api, folder, *entries, credentials=credentials))
        return self.agents[-1]

    def rows(self):
        """Return the brain's schedules by key."""
        return {row["external_id"]: row for row in self.api.list_all("schedules")}

    def wait(self, *keys, **members):
        """Wait until the brain has exactly these schedules, the first one with these members."""

        def fits():
            rows = self.rows()
            return set(rows) == set(keys) and all(
                rows[keys[0]][name] == value for name, value in members.items()
            )

        wait_until(fits, f"schedules {keys} with {members}", timeout_s=60)


@pytest.fixture
def project(real_brain, tmp_path):
    """A project, whose agents end with the test."""
    project = Project(real_brain, tmp_path)
    yield project
    for agent in project.agents:
        agent.stop()
    project.api.close()


def test_differences_are_taken_one_after_the_other(project):
    """Created, changed and deleted rows, several times, without a gap or a wrong digest."""
    agent = project.agent(schedule("a"), schedule("b", args=[1e-7, "ü", {"n": 2.0}]))
    project.wait("a", "b")
    for number in range(3):
        agent.scheduler.put(schedule("a", expression=str(number)))
        agent.scheduler.put(schedule(f"c{number}"))
        agent.scheduler.entries.pop(f"c{number - 1}", None)
        project.wait("a", "b", f"c{number}", expression=str(number))
    assert agent.stream()["sequence"] >= 8


def test_rows_that_the_brain_redacts_keep_their_digest(project):
    """Addresses, tokens, secret keys and long strings; nothing is lost with an ack."""
    agent = project.agent(
        schedule("a", name="mail jane.doe@example.com", kwargs={"password": {"a": [1]}}),
        schedule("b", args=["Bearer abcdefghijklmnop0123", "x" * 20_000]),
        schedule("c", kwargs={"postgres://bob:hunter2@db/x": "4111 1111 1111 1111"}),
        schedule("d", name="mail john.doe@example.com", args=["\ud800 \x00"]),
    )
    project.wait("a", "b", "c", "d")
    agent.scheduler.put(schedule("b", kwargs={"to": "jane.doe@example.com"}))
    project.wait("b", "a", "c", "d", kwargs={"to": "[REDACTED]"})
    assert "jane" not in str(project.rows())


def test_large_inventory_comes_in_frames(project):
    """More than one frame holds, and all of it is there."""
    rows = [schedule(f"k{number:03}", args=["x" * 7000]) for number in range(120)]
    project.agent(*rows)
    wait_until(lambda: len(project.rows()) == 120, "all schedules", timeout_s=120)


def test_empty_inventory_is_told(project):
    """A lone terminal frame."""
    agent = project.agent(schedule("a"))
    project.wait("a")
    del agent.scheduler.entries["a"]
    agent.scheduler.changes += 1
    wait_until(lambda: not project.rows(), "an empty inventory", timeout_s=60)
    agent.stop()
    again = project.agent()
    wait_until(lambda: again.stream()["mirrored"], "the next epoch", timeout_s=60)
    again.scheduler.put(schedule("b"))
    project.wait("b")


def test_what_went_while_no_agent_was_there_is_deleted(project):
    """Also where another schedule has its name by now; and the stream works afterwards."""
    first = project.agent(schedule("a"), schedule("b"))
    project.wait("a", "b")
    first.stop()
    second = project.agent(schedule("c", name="name of a"), credentials=first.credentials)
    project.wait("c", name="name of a")
    second.scheduler.put(schedule("c", expression="5"))
    project.wait("c", expression="5")


def test_agent_of_another_machine_waits_for_the_stream(project):
    """One stream, one session: the second agent tries again until the first has gone."""
    first = project.agent(schedule("a"), home="one")
    project.wait("a")
    second = project.agent(schedule("a"), schedule("b"), home="two")
    assert second.runtime.wait_connected(30)
    first.scheduler.put(schedule("a", expression="5"))
    project.wait("a", expression="5")
    assert second.stream()["mirrored"] is False
    first.stop()
    project.wait("a", "b")
    assert second.stream()["mirrored"] is True


def test_agent_of_the_same_machine_takes_over(project):
    """It gets the lock, and offers its schedules by connecting again."""
    first = project.agent(schedule("a"))
    project.wait("a")
    second = project.agent(schedule("b"))
    assert second.runtime.wait_connected(30)
    first.stop()
    project.wait("b")
