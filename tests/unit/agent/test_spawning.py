"""Starting the agent process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from z4j_otel.agent import spawning


@pytest.fixture
def lock(tmp_path):
    """Give a descriptor of a lock file."""
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


def test_it_ends_with_a_line_that_ends(lock):
    """An agent process whose owner is gone before it began has nothing to do."""
    ours, theirs = socket.socketpair()
    pid = spawning.spawn_agent(theirs, lock)
    theirs.close()
    assert os.getpgid(pid) == pid
    assert spawning.reap(pid) is None
    ours.close()
    assert spawning.reap(pid, is_to_wait=True) == 0
    assert spawning.reap(pid) == 0


def test_an_end_by_signal_is_told():
    """The number is negative, as everywhere in Python."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    child.send_signal(signal.SIGKILL)
    assert spawning.reap(child.pid, is_to_wait=True) == -signal.SIGKILL
    child.stdin.close()
    child.wait()


def test_the_interpreter_is_found_where_a_server_embeds_it(monkeypatch, lock):
    """uWSGI, for one, says that it is the executable."""
    assert spawning.can_spawn()
    assert spawning._interpreter() == sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert spawning._interpreter() == os.path.join(sys.prefix, "bin", "python")  # noqa: PTH118 -- what is compared is a text
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert not spawning.can_spawn()
    with socket.socket() as line, pytest.raises(FileNotFoundError):
        spawning.spawn_agent(line, lock)


def test_the_environment_has_no_secrets_and_no_wrappers(tmp_path, monkeypatch):
    """Settings come over the line; what instruments this process is not to run there."""
    wrapper, library = tmp_path / "wrapper", tmp_path / "library"
    for folder in (wrapper, library):
        folder.mkdir()
    (wrapper / "sitecustomize.py").touch()
    paths = [str(wrapper), str(library)]
    monkeypatch.setattr(sys, "path", ["", *paths, "/usr/lib/python"])
    given = {
        "PYTHONPATH": os.pathsep.join(paths),
        "Z4J_TOKEN": "secret",
        "Z4J_OTEL_JOURNAL": "/tmp/journal",
        "Z4J_OTEL_REPORT": "/tmp/report",
        "SSL_CERT_FILE": "/tmp/ca",
    }
    assert spawning._environment(given) == {
        "PYTHONPATH": os.pathsep.join([str(library), "/usr/lib/python"]),
        "PYTHONSAFEPATH": "1",
        "Z4J_OTEL_REPORT": "/tmp/report",
        "SSL_CERT_FILE": "/tmp/ca",
    }
