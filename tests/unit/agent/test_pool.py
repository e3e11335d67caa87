"""Daemon threads for what may block."""

from __future__ import annotations

import queue
import threading

from z4j_otel.agent.pool import WorkerPool

WAIT_S = 10


def test_jobs_run_beside_each_other_up_to_the_size():
    """As many jobs run at a time as the pool has threads; the next one waits."""
    pool, gate, started = WorkerPool(2), threading.Event(), queue.Queue()
    for number in range(3):
        pool.submit(lambda n=number: (started.put(n), gate.wait(WAIT_S)))
    assert {started.get(timeout=WAIT_S), started.get(timeout=WAIT_S)} == {0, 1}
    assert started.empty()
    gate.set()
    assert started.get(timeout=WAIT_S) == 2
    pool.close()


def test_threads_are_daemons_and_reused():
    """A free thread takes the next job; none of them keeps the process alive."""
    pool, seen = WorkerPool(4), queue.Queue()
    pool.submit(lambda: seen.put(threading.current_thread()))
    thread = seen.get(timeout=WAIT_S)
    assert thread.daemon
    assert thread.name == "z4j-command"
    pool.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_failing_job_costs_no_thread():
    """Even SystemExit in a job leaves its thread to the next one."""
    pool, seen = WorkerPool(1), queue.Queue()

    def fail():
        raise SystemExit

    pool.submit(fail)
    pool.submit(lambda: seen.put("served"))
    assert seen.get(timeout=WAIT_S) == "served"
    pool.close()


def test_stuck_thread_is_made_up_for():
    """A job waiting behind a stuck one runs once a thread is added."""
    pool, gate, seen = WorkerPool(1), threading.Event(), queue.Queue()
    pool.submit(lambda: (seen.put("stuck"), gate.wait(WAIT_S)))
    assert seen.get(timeout=WAIT_S) == "stuck"
    pool.submit(lambda: seen.put("next"))
    assert pool.replace_stuck()
    assert seen.get(timeout=WAIT_S) == "next"
    gate.set()
    pool.close()


def test_replacements_are_bounded():
    """Threads are not added without end."""
    pool = WorkerPool(1)
    assert [pool.replace_stuck() for _ in range(13)] == [True] * 12 + [False]


def test_pool_outlives_a_time_without_threads(monkeypatch):
    """Jobs that found no thread run as soon as one can be started."""
    pool, seen = WorkerPool(1), queue.Queue()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool.submit(lambda: seen.put(1))
        assert pool.replace_stuck()
    pool.submit(lambda: seen.put(2))
    assert [seen.get(timeout=WAIT_S), seen.get(timeout=WAIT_S)] == [1, 2]
    pool.close()
