"""``z4j-otel buffer drain``, with the embedded brain."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from click.testing import CliRunner

from z4j_otel.agent.status_file import StatusFile
from z4j_otel.buffer.base import EntryKind
from z4j_otel.buffer.files import AgentFiles
from z4j_otel.buffer.sqlite import SqliteBuffer
from z4j_otel.cli.drain import Drain
from z4j_otel.cli.main import cli
from z4j_otel.cli.stopping import StopRequest
from z4j_otel.clock import SystemClock
from z4j_otel.config import load_config
from z4j_otel.devbrain.server import BrainThread


@pytest.fixture
def brain():
    """Run a brain."""
    with BrainThread() as thread:
        yield thread


class Home:
    """A home where an agent of the brain's project ended with events undelivered."""

    def __init__(self, path, brain, entries=3):
        self.path, self.brain = path, brain
        self.environ = {**brain.env(), "Z4J_HOME": str(path), "Z4J_CONFIG": None}
        config = load_config({}, {name: value for name, value in self.environ.items() if value})
        self.deployment = config.deployment
        files = AgentFiles.claim(path, 7, self.deployment)
        buffer = SqliteBuffer(files.buffer_path)
        bodies = [
            b'{"data":{"task_name":"a"},"engine":"celery","id":"%d","kind":"task.received"'
            b',"task_id":"t-%d"}' % (number, number)
            for number in range(entries)
        ]
        buffer.append([(EntryKind.EVENT, body) for body in bodies], now_ns=SystemClock().now_ns())
        buffer.close()
        status = {"capabilities": {"celery": ["cancel_task"]}, "last_error": None}
        StatusFile(files.status_path, {}, SystemClock()).show(status)
        files.close()

    def drain(self, *options):
        """Run the command."""
        return CliRunner().invoke(cli, ["buffer", "drain", *options], env=self.environ)

    def names(self):
        """Return what lies in the directory."""
        return sorted(path.name for path in self.path.iterdir())


def test_what_was_left_is_delivered(tmp_path, brain):
    """Everything arrives, nothing is left behind, and the agent's row keeps what it can do."""
    home = Home(tmp_path, brain)
    result = home.drain("--timeout", "20")
    assert (result.exit_code, home.names()) == (0, []), result.output
    assert "1 ended agents left 3 entries" in result.output
    assert "3 events delivered" in result.output
    assert [task.task_id for task in brain.brain.tasks()] == ["t-0", "t-1", "t-2"]
    assert brain.brain.agents()[0].capabilities == {"celery": ["cancel_task"]}


def test_nothing_to_do(tmp_path, brain):
    """Where nothing was left no connection is made."""
    home = Home(tmp_path, brain)
    home.drain()
    result = home.drain()
    assert (result.exit_code, result.output) == (0, "nothing waits\n")
    assert brain.brain.counts["connections"] == 1


def test_commands_are_refused_meanwhile(tmp_path, brain):
    """A command that comes to the draining process is answered, and not carried out."""
    home = Home(tmp_path, brain)
    brain.brain.faults.delay_acks(1.5)
    agent_id = brain.credentials.agent_id
    order = brain.brain.issue(
        "cancel_task", agent_id=agent_id, engine="celery", task_id="t-1", unchecked=True
    )
    assert home.drain().exit_code == 0
    assert order.error == "refused: this process only delivers events: cancel_task is for workers"


def test_brain_that_is_away_leaves_all_where_it_is(tmp_path, brain):
    """What cannot be delivered in time is kept for the next agent, and the reason is told."""
    home = Home(tmp_path, brain)
    home.environ["Z4J_BRAIN_URL"] = "http://127.0.0.1:9"
    result = home.drain("--timeout", "1")
    assert result.exit_code == 1
    assert "127.0.0.1:9" in result.output
    home.environ |= brain.env()
    assert home.drain().exit_code == 0
    assert len(brain.brain.tasks()) == 3


def test_running_agent_takes_over_by_itself(tmp_path, brain):
    """Where an agent of the project runs, the command waits for it, and ends in time."""
    home = Home(tmp_path, brain)
    heir = AgentFiles.claim(tmp_path, 8, home.deployment)
    result = home.drain("--timeout", "0")
    assert result.exit_code == 1
    assert "has not taken them over yet" in result.output

    def take_over():
        for name in ("buffer-7.sqlite", "buffer-7.lock"):
            (tmp_path / name).unlink()

    timer = threading.Timer(0.3, take_over)
    timer.start()
    result = home.drain("--timeout", "20")
    timer.join()
    assert result.exit_code == 0
    assert "taken over" in result.output
    heir.close()


def test_settings_are_needed(tmp_path):
    """Without a brain to deliver to the command says what is missing."""
    result = CliRunner().invoke(
        cli, ["buffer", "drain", "--home", str(tmp_path)], env={"Z4J_CONFIG": None}
    )
    assert result.exit_code == 2


def test_settings_can_come_from_a_file(tmp_path, brain):
    """A file names the brain as for ``z4j-otel run``."""
    (tmp_path / "home").mkdir(mode=0o700)
    home = Home(tmp_path / "home", brain)
    names = {"brain_url": "BRAIN_URL", "token": "TOKEN", "hmac_secret": "HMAC_SECRET"}
    names["project_id"] = "PROJECT_ID"
    lines = [f'{key} = "{home.environ[f"Z4J_{name}"]}"' for key, name in names.items()]
    config = tmp_path / "z4j.toml"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    home.environ = {"Z4J_CONFIG": None}
    result = home.drain("--config", str(config), "--home", str(tmp_path / "home"))
    assert result.exit_code == 0, result.output
    assert len(brain.brain.tasks()) == 3


def test_the_same_line_is_not_told_twice(tmp_path, brain, monkeypatch):
    """A brain that is away for minutes is one line."""
    lines = []
    monkeypatch.setattr("z4j_otel.cli.drain._TELL_S", 0.0)
    home = Home(tmp_path, brain)
    config = load_config({}, {name: text for name, text in home.environ.items() if text})
    with closing(StopRequest()) as asked:
        drain = Drain(config, asked, timeout_s=0, echo=lines.append)
        for text in ("1 to go", "1 to go", "0 to go", "1 to go"):
            drain._tell(text)
    assert lines == ["1 to go", "0 to go", "1 to go"]
