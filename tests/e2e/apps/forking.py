"""A server that forks after its agent was started: ``python forking.py MODE FOLDER``.

Every process appends what it did to ``FOLDER/ids``, a task id and a word per line: ``sent``
for a task it published, ``eager`` for one that it ran in place.

``lives``: the parent waits for its children, and for a file named ``go``.
``dies``: the parent is killed when its child has captured something; the child goes on.
``leaves``: the parent is killed before its child has captured anything.
"""

import os
import signal
import sys
import time
from pathlib import Path

from z4j_otel.cli.workload.app import app

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
ADD = app.tasks["shop.add"]


def note(task_id, word):
    """Write down what was done."""
    with (FOLDER / "ids").open("a") as ids:
        ids.write(f"{task_id} {word}\n")


def work():
    """Publish one task and run one in place."""
    note(ADD.delay(1, 1).id, "sent")
    note(ADD.apply((2, 2)).id, "eager")


def wait_until(is_true):
    """Look until something is true, at most 20 seconds."""
    deadline = time.monotonic() + 20
    while not is_true():
        if time.monotonic() > deadline:
            sys.exit("it did not happen in time")
        time.sleep(0.02)


def child(parent):
    """Do the work of one forked child, and leave as pre-fork servers do or in order."""
    if MODE != "leaves":
        work()
    if MODE != "lives":
        (FOLDER / "kill").touch()
        wait_until(lambda: os.getppid() != parent)
        work()
    (FOLDER / f"done-{os.getpid()}").touch()
    if MODE != "leaves":
        os._exit(0)


def main():
    """Capture, fork, and live on or not."""
    work()
    parent, pids = os.getpid(), []
    for _ in range(2 if MODE == "lives" else 1):
        pid = os.fork()
        if not pid:
            child(parent)
            return
        pids.append(pid)
    if MODE != "lives":
        wait_until((FOLDER / "kill").exists)
        os.kill(parent, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    work()
    wait_until((FOLDER / "go").exists)


main()
