"""Calls in forked children, and the gate that a fork waits for."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from z4j_otel import forks


class Holder:
    """Counts the forks it sees."""

    def __init__(self) -> None:
        self.forks = 0

    def note(self) -> None:
        """Count one."""
        self.forks += 1


def test_living_objects_are_called_and_dead_ones_are_forgotten() -> None:
    """The hook calls what is alive and does not keep anything alive."""
    kept, gone = Holder(), Holder()
    for holder in (gone, kept):
        forks.call_in_child(holder.note)
    del holder, gone
    forks._after_fork_in_child()
    assert kept.forks == 1
    known = len(forks._methods)
    forks.call_in_child(kept.note)
    assert len(forks._methods) <= known


class Failing(Holder):
    """Cannot do what it is asked to."""

    def note(self) -> None:
        """Fail."""
        raise OSError(9, "Bad file descriptor")


def test_one_that_fails_keeps_no_other_from_being_called() -> None:
    """What a child must let go of, it lets go of."""
    failing, kept = Failing(), Holder()
    for holder in (failing, kept):
        forks.call_in_child(holder.note)
    forks._after_fork_in_child()
    assert kept.forks == 1


@pytest.fixture
def gate() -> forks._Gate:
    """Return a gate that no fork of this process knows."""
    return forks._Gate()


def test_a_fork_waits_until_the_gate_is_left(gate: forks._Gate) -> None:
    """Nobody is inside when the fork happens."""
    inside, leave, forked = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with gate:
            inside.set()
            leave.wait(10)

    def fork() -> None:
        gate.before_fork()
        forked.set()
        gate.after_fork_in_parent()

    threads = [threading.Thread(target=work), threading.Thread(target=fork)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    assert not forked.is_set()
    leave.set()
    assert forked.wait(10)
    for thread in threads:
        thread.join(10)


def test_a_fork_waits_no_longer_than_the_limit(
    gate: forks._Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's fork goes on although a thread of ours stays inside."""
    monkeypatch.setattr(forks, "_MOST_S", 0.0)
    thread = threading.Thread(target=gate.__enter__)
    thread.start()
    thread.join()
    gate.before_fork()
    gate.after_fork_in_parent()
    assert not gate._lock.acquire(blocking=False)


def test_the_gate_is_open_in_a_child_whatever_held_it(gate: forks._Gate) -> None:
    """A child has a gate of its own."""
    thread = threading.Thread(target=gate.__enter__)
    thread.start()
    thread.join()
    gate.after_fork_in_child()
    with gate:
        pass


def test_a_loop_is_inside_the_gate_only_while_it_works() -> None:
    """A fork never meets the loop's thread in the middle of its work."""
    is_working, seen = threading.Event(), []

    async def work() -> None:
        is_working.set()
        for _ in range(200):
            seen.append(forks.fork_gate._forking_thread)
            await asyncio.sleep(0)

    def live() -> None:
        loop = asyncio.SelectorEventLoop(forks.GatedSelector())
        with forks.fork_gate:
            loop.run_until_complete(work())
        loop.close()

    thread = threading.Thread(target=live)
    thread.start()
    assert is_working.wait(10)
    child = os.fork()
    if child == 0:
        with forks.fork_gate:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join(10)
    assert seen == [0] * 200
