"""The servers that the end-to-end tests are given."""

from __future__ import annotations

import signal
import subprocess
import sys

import kombu
import pytest
import redis

from z4j_otel.cli.brain_api import ApiError, wait_until
from z4j_otel.cli.real_brain import RealBrain


def test_the_redis_database_works(redis_url):
    """What is written to the run's database can be read back."""
    with redis.Redis.from_url(redis_url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"


def test_the_rabbitmq_virtual_host_works(rabbitmq_url, queue_name):
    """What is put into a queue can be taken out again."""
    with kombu.Connection(rabbitmq_url) as connection:
        queue = connection.SimpleQueue(queue_name)
        queue.put({"a": 1})
        message = queue.get(timeout=10)
        message.ack()
        queue.close()
        connection.default_channel.queue_delete(queue_name)
    assert message.payload == {"a": 1}


def test_the_brain_mints_agents_and_answers(real_brain):
    """A brain comes with a project in which agents can be made, and lists what it has."""
    agent = real_brain.mint_agent("services")

    assert agent.environment()["Z4J_BRAIN_URL"] == real_brain.base_url
    assert agent.agent_id in {each["id"] for each in real_brain.api.list_all("agents")}
    assert real_brain.api.list_all("tasks", state="failure", limit=500) is not None
    assert real_brain.api.task("no-such-task") is None
    assert real_brain.api.events("no-such-task") == []


def test_a_command_for_an_absent_agent_is_refused(real_brain):
    """The API's error carries the status and the brain's reason."""
    agent = real_brain.mint_agent("absent")

    with pytest.raises(ApiError, match="503") as caught:
        real_brain.api.run_command(
            "cancel-task", agent_id=agent.agent_id, engine="celery", task_id="x"
        )
    assert caught.value.status == 503


def test_the_brain_survives_stop_and_crash(brain_program):
    """A brain that was stopped or killed starts again with its data, port and account."""
    with RealBrain(brain_program) as brain:
        agent = brain.mint_agent("survivor")
        for end in (brain.stop, brain.kill):
            end()
            assert not brain.is_running
            brain.start()
            assert agent.agent_id in {each["id"] for each in brain.api.list_all("agents")}
    assert not brain.directory.exists()


def test_no_brain_outlives_a_killed_starter(brain_program):
    """A starter that dies by SIGKILL takes its brain along."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from z4j_otel.cli.real_brain import RealBrain\n"
        "brain = RealBrain(Path(sys.argv[1]))\n"
        "brain.start()\n"
        "print(brain.directory, flush=True)\n"
        "sys.stdin.read()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(brain_program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with starter:
        directory = starter.stdout.readline().strip()
        starter.send_signal(signal.SIGKILL)
    leftover = wait_gone(directory)
    subprocess.run(["rm", "-rf", directory], check=True)
    assert not leftover


def wait_gone(directory):
    """Wait until no process works in the directory; return what is left after 20 s."""

    def working():
        listing = subprocess.run(
            ["find", "/proc", "-maxdepth", "2", "-name", "cwd", "-lname", f"{directory}*"],
            capture_output=True,
            text=True,
            check=False,
        )
        return listing.stdout.split()

    try:
        wait_until(lambda: not working(), "end of the brain", timeout_s=20)
    except TimeoutError:
        return working()
    return []
