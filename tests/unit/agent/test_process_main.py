"""What the agent process does, here on a thread; see also test_process."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading

import msgspec
import pytest

from z4j_otel.agent import process_main as module
from z4j_otel.agent.engines import introduce
from z4j_otel.agent.handover import Handover, pack_settings
from z4j_otel.agent.link import Link, LinkBroken
from z4j_otel.agent.process_main import Delivery
from z4j_otel.agent.seat import Seat
from z4j_otel.config import load_config
from z4j_otel.events import EventKind, LifecycleRecord, TaskFacts

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
RECORD = LifecycleRecord(EventKind.TASK_STARTED, TaskFacts("celery", "t1", "n"), 1)


class Owner:
    """The owner's end, with files, and the agent process on a thread."""

    def __init__(self, folder):
        given = {"brain_url": "http://127.0.0.1:1", "token": "t", "hmac_secret": SECRET}
        given |= {"home": str(folder), "flush_timeout_seconds": "0"}
        self.seat = Seat.owner(load_config(given, {}))
        self.told = []
        ours, theirs = socket.socketpair()
        handlers = {
            "release": lambda _: self.seat.journal.close(),
            "ended": self.told.append,
            "log": self.told.append,
            "worker_details": lambda _: {},
            "queue_depths": lambda _: {},
            "task_registry": lambda _: None,
        }
        self.link = Link(ours, handlers, quick={"release"})
        lock = fcntl.fcntl(self.seat.files.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)
        self.delivery = Delivery(theirs, lock_fd=lock)
        self.threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self.link.serve, self.delivery.run)
        ]
        for thread in self.threads:
            thread.start()

    def begin(self, **changes):
        """Hand over."""
        config = self.seat.config
        given = Handover(
            lock=str(self.seat.files.lock_path),
            settings=pack_settings(config),
            engines={"celery": []},
            hello=introduce(config, is_worker=True).facts(),
            log_level=logging.INFO,
        )
        self.link.tell("begin", {**msgspec.to_builtins(given), **changes})

    def join(self):
        """Wait for the end of the agent process."""
        self.threads[1].join(10)
        assert not self.threads[1].is_alive()

    def close(self):
        """End everything."""
        self.link.hang_up()
        self.join()
        self.threads[0].join(5)
        self.link.close()
        self.delivery._link.close()
        self.seat.files.close()


@pytest.fixture
def owner(tmp_path):
    """Give an owner; its log lines stay out of the tests' logger."""
    before, level = list(logging.getLogger().handlers), logging.getLogger("z4j_otel").level
    owner = Owner(tmp_path / "home")
    yield owner
    owner.close()
    logging.getLogger().handlers[:] = before
    logging.getLogger("z4j_otel").setLevel(level)


def test_it_begins_answers_and_ends_as_told(owner, tmp_path):
    """Questions are answered by the agent itself; the end is told with what came of it."""
    owner.begin()
    assert owner.link.ask("is_connected", timeout_s=5) is False
    assert owner.link.ask("wait_connected", 0.01, timeout_s=5) is False
    assert owner.link.ask("flush", 0, timeout_s=5) in (True, False)
    assert owner.link.ask("status", timeout_s=5)["engines"] == ["celery"]
    owner.link.tell("end", {"timeout_s": 0, "is_leaving": True})
    owner.join()
    owner.threads[0].join(5)
    assert {"is_delivered": True, "has_left": True} in owner.told
    assert list((tmp_path / "home").iterdir()) == []


def test_it_ends_and_keeps_the_files(owner):
    """An owner that goes on without an agent needs them."""
    owner.begin()
    owner.link.tell("end", {"timeout_s": 0, "is_leaving": False})
    owner.join()
    assert owner.seat.files.lock_path.exists()


def test_an_owner_that_is_gone_leaves_it_to_deliver(owner, tmp_path):
    """What cannot be delivered waits in the files for the next agent."""
    owner.begin()
    owner.link.ask("status", timeout_s=5)
    owner.seat.sink.emit(RECORD)
    owner.link.hang_up()
    owner.join()
    assert (tmp_path / "home").glob("*.sqlite")


def test_an_owner_that_is_gone_before_it_began_leaves_nothing_to_do(owner):
    """The files are none of its business yet."""
    owner.link.hang_up()
    owner.join()
    assert owner.seat.files.lock_path.exists()


def test_what_it_logs_is_written_by_the_owner(owner):
    """Its own log leads nowhere; the line's own trouble is not sent over the line."""
    owner.begin()
    owner.link.ask("status", timeout_s=5)
    logging.getLogger(Link.__module__).warning("about the line")
    logging.getLogger("z4j_otel.x").warning("%d events", 3, extra={"action": "a"})
    owner.link.tell("end", {"timeout_s": 0, "is_leaving": False})
    owner.join()
    owner.threads[0].join(5)
    assert [logging.WARNING, "z4j_otel.x", "3 events", "a"] in owner.told
    assert "about the line" not in str(owner.told)


def test_one_that_cannot_begin_ends(owner, monkeypatch, capsys):
    """The owner tells it, with the status, and tries again later."""
    ended = threading.Event()
    monkeypatch.setattr(module.os, "_exit", lambda _code: ended.set())
    owner.begin(lock="/nowhere")
    assert ended.wait(5)
    assert capsys.readouterr().err == "z4j-otel: FileNotFoundError\n"
    with pytest.raises(LinkBroken):
        owner.link.ask("status", timeout_s=5)


def test_nobody_else_can_start_it():
    """Without a line it ends with an error, and touches nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "z4j_otel.agent.process_main"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 1


def test_an_owner_whose_line_lives_on_is_missed(monkeypatch):
    """Whoever inherited a copy of its end must not keep the agent process waiting."""
    for pidfd_open in (lambda _pid: os.open(os.devnull, os.O_RDONLY), None, refuse):
        if pidfd_open is None:
            monkeypatch.delattr(os, "pidfd_open")
        else:
            monkeypatch.setattr(os, "pidfd_open", pidfd_open, raising=False)
        ours, theirs = socket.socketpair()
        module._watch(os.getppid() if pidfd_open not in (None, refuse) else -1, theirs)
        assert theirs.recv(1) == b""
        ours.close()
        theirs.close()


def refuse(_pid):
    """Fail as on a kernel that is too old."""
    raise OSError
