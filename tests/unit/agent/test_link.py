"""The line between a process and its agent process."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from z4j_otel.agent.link import Link, LinkBroken


def fail(_value):
    """Fail as an engine may."""
    raise KeyError("secret")


class Ends:
    """Two connected ends, each served by a thread."""

    def __init__(self):
        self.heard = []
        self.go_on = threading.Event()
        one, other = socket.socketpair()
        handlers = {
            "double": lambda value: value * 2,
            "fail": fail,
            "note": self.heard.append,
            "wait": lambda _: self.go_on.wait(5),
        }
        self.near = Link(one, {"name": lambda _: "near"})
        self.far = Link(other, handlers, quick={"note"})
        self.threads = [
            threading.Thread(target=end.serve, daemon=True) for end in (self.near, self.far)
        ]
        for thread in self.threads:
            thread.start()

    def close(self):
        """End both."""
        self.go_on.set()
        self.near.hang_up()
        for thread in self.threads:
            thread.join(5)
        self.near.close()
        self.far.close()


@pytest.fixture
def ends():
    """Give two ends of a line."""
    ends = Ends()
    yield ends
    ends.close()


def test_both_ends_ask_and_answer(ends):
    """A question is answered with a JSON value, in either direction."""
    assert ends.near.ask("double", [1], timeout_s=5) == [1, 1]
    assert ends.far.ask("name", timeout_s=5) == "near"


def test_what_is_told_arrives_in_order(ends):
    """Tells need no answer; a quick question is answered after the tells before it."""
    for number in range(3):
        assert ends.near.tell("note", number)
    ends.near.ask("note", 3, timeout_s=5)
    assert ends.heard == [0, 1, 2, 3]


def test_a_failure_reaches_the_other_end_as_its_name(ends):
    """Texts of exceptions may hold anything; unknown questions fail alike."""
    with pytest.raises(LinkBroken, match=r"^KeyError$"):
        ends.near.ask("fail", timeout_s=5)
    with pytest.raises(LinkBroken, match=r"^KeyError$"):
        ends.near.ask("nonsense", timeout_s=5)


def test_a_slow_answer_delays_no_other(ends):
    """Each question has a thread of its own; who asks waits only so long."""
    with pytest.raises(LinkBroken, match="no answer within"):
        ends.near.ask("wait", timeout_s=0.01)
    assert ends.near.ask("double", 2, timeout_s=5) == 4


def test_too_many_questions_at_a_time_are_refused(ends):
    """The other end cannot make this one start threads without end."""
    ends.far._free = threading.Semaphore(0)
    with pytest.raises(LinkBroken, match="too busy"):
        ends.near.ask("double", 2, timeout_s=5)


def test_the_end_of_an_interpreter_is_an_answer(ends, monkeypatch):
    """Where no thread can be started any more, the one who asks is told so."""

    def refuse(_thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(LinkBroken, match="the interpreter ends"):
        ends.near.ask("double", 2, timeout_s=5)


def test_the_end_of_the_other_process_is_noticed_at_once(ends):
    """Whoever waits for an answer is woken, and nothing can be said any more."""
    found = []

    def ask():
        with pytest.raises(LinkBroken, match="has ended"):
            ends.near.ask("wait", timeout_s=60)
        found.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    ends.far.hang_up()
    ends.far.hang_up()
    asking.join(5)
    assert found == [True]
    ends.threads[0].join(5)
    assert not ends.near.tell("note")
    with pytest.raises(LinkBroken, match="has ended"):
        ends.near.ask("double", 1, timeout_s=5)


def test_a_line_that_is_no_json_ends_it():
    """Nothing else speaks on this line, so what cannot be read is a broken line."""
    one, other = socket.socketpair()
    other.sendall(b"not json\n")
    link = Link(one, {})
    link.serve()
    other.close()
    link.close()


def test_an_answer_that_comes_too_late_is_dropped():
    """Nobody waits for it any more."""
    one, other = socket.socketpair()
    other.sendall(b'{"answer": 7, "value": 1}\n')
    other.close()
    link = Link(one, {})
    link.serve()
    link.close()


def test_a_forked_child_lets_go_of_the_line(ends):
    """Its copy would hide the end of the parent from the agent process."""
    number = ends.near._sock.fileno()
    pid = os.fork()
    if pid == 0:
        try:
            os.fstat(number)
        except OSError:
            os._exit(0 if not ends.near.tell("note") else 2)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert ends.near.ask("double", 1, timeout_s=5) == 2
