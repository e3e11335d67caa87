"""The workload's application with tasks that start processes of their own.

``Z4J_OTEL_TEST_START`` names the start method of pool children. With
``Z4J_OTEL_TEST_HOOK=1`` the application hooks itself: no ``opentelemetry-instrument``.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from z4j_otel.cli.workload.app import app

app.conf.worker_pool_start_method = os.environ.get("Z4J_OTEL_TEST_START", "fork")

if os.environ.get("Z4J_OTEL_TEST_HOOK"):
    from z4j_otel.instrumentors.celery import Z4JCeleryInstrumentor

    Z4JCeleryInstrumentor().instrument()


@app.task(name="shop.executes")
def executes():
    """Publish a task from a Python program of its own, and return its id."""
    code = "from z4j_otel.cli.workload.app import app; print(app.tasks['shop.add'].delay(1, 1).id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@app.task(name="shop.multiplies")
def multiplies():
    """Publish a task, and run one in place, from a forked process; return both ids."""
    # Celery's children count as daemons, which multiprocessing lets have no children.
    multiprocessing.current_process()._config["daemon"] = False
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(sending,))
    process.start()
    ids = receiving.recv()
    process.join()
    return ids


def _in_child(sending):
    add = app.tasks["shop.add"]
    sending.send([add.delay(2, 2).id, add.apply((3, 3)).id])
    sending.close()


@app.task(name="shop.naps")
def naps(folder, seconds):
    """Say that it runs, sleep, and return the process it ran in."""
    Path(folder, f"nap-{os.getpid()}").touch()
    time.sleep(seconds)
    return os.getpid()


@app.task(name="shop.naps_late", acks_late=True)
def naps_late(folder, seconds):
    """Sleep at the first delivery only; the broker delivers it again when the worker dies."""
    is_first = not list(Path(folder).glob("nap-*"))
    Path(folder, f"nap-{os.getpid()}").touch()
    time.sleep(seconds if is_first else 0)
    return os.getpid()


@app.task(name="shop.launches")
def launches(folder, seconds, task_id):
    """Start a program that outlives this worker and runs a task in place."""
    code = (
        "import sys, process_app as a; folder, seconds, task_id = sys.argv[1:]\n"
        "a.naps.apply((folder, float(seconds)), task_id=task_id)\n"
    )
    command = [sys.executable, "-c", code, folder, str(seconds), task_id]
    return subprocess.Popen(command, start_new_session=True).pid
