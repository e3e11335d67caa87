"""The workload's application with the tasks of a drill, and more ways to die in a task."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

from celery import signals

from z4j_otel.cli.drill.tasks import is_first_run, note
from z4j_otel.cli.workload.app import app

__all__ = ["app"]

_NOTES: Final = os.environ["Z4J_OTEL_DRILL_NOTES"]
_CGROUP: Final = os.environ.get("LOSS_CGROUP", "")
_MIB: Final = 1 << 20

app.conf.update(
    task_acks_late=bool(os.environ.get("LOSS_ACKS_LATE")),
    task_reject_on_worker_lost=bool(os.environ.get("LOSS_ACKS_LATE")),
    worker_proc_alive_timeout=30.0,
)
if app.conf.broker_url.startswith("redis:"):
    # Redis hands out again what a dead worker had taken, after this time.
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ.get("LOSS_VISIBILITY_S", "3600")),
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,
    }


@app.task(name="loss.endless", bind=True)
def endless(self: Any) -> None:
    """Work until somebody ends it, and be gone at once then."""
    # A child that says good-bye may be killed while it holds the embedded broker's lock.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    note("begin", self)
    time.sleep(60)
    note("end", self)


@app.task(name="loss.memory_error", bind=True)
def memory_error(self: Any) -> int:
    """Want more memory than the process may have, in the first run: a ``MemoryError``."""
    note("begin", self)
    if not is_first_run(self):
        note("end", self)
        return 1
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (512 * _MIB, limits[1]))
    try:
        bytearray(1024 * _MIB)
    except MemoryError:
        note("raise", self)
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    return 0


@app.task(name="loss.out_of_memory", bind=True)
def out_of_memory(self: Any) -> int:
    """Be killed by the kernel's OOM killer, in a cgroup; by SIGKILL where there is none."""
    note("begin", self)
    if is_first_run(self):
        if _CGROUP:
            Path(_CGROUP, "cgroup.procs").write_text(str(os.getpid()), "ascii")
            hoard = [b"x" * _MIB for _ in range(512)]
            time.sleep(len(hoard))
        os.kill(os.getpid(), signal.SIGKILL)
    note("end", self)
    return 1


@app.task(name="loss.grows", bind=True)
def grows(self: Any) -> int:
    """Take more memory than ``--max-memory-per-child`` allows, and keep it."""
    note("begin", self)
    _hoard.append(b"x" * (16 * _MIB))
    note("end", self)
    return 1


@app.task(name="loss.leaves_a_thread", bind=True)
def leaves_a_thread(self: Any) -> int:
    """Leave a daemon thread that publishes while this task and its process end."""
    note("begin", self)
    threading.Thread(target=_publish_on, daemon=True).start()
    _has_left.append(True)
    note("end", self)
    return 1


def _publish_on() -> None:
    for _ in range(_PUBLISHES):
        _publish()


def _publish() -> None:
    sent = app.tasks["z4j.drill.quick"].delay()
    with Path(f"{_NOTES}-sent").open("a", encoding="ascii") as file:
        file.write(f"{sent.id}\n")


@signals.worker_process_shutdown.connect
def _child_leaves(**_kwargs: Any) -> None:
    """Publish from a child's last signal, where a thread was left."""
    if _has_left:
        _publish()


_PUBLISHES: Final = 5
_has_left: list[bool] = []
_hoard: list[bytes] = []
