"""The workload's application with tasks that start processes of their own.

``Z4J_OTEL_TEST_START`` names the start method of pool children. With
``Z4J_OTEL_TEST_HOOK=1`` the application hooks itself: no ``opentelemetry-instrument``.
"""

import multiprocessing
import os
import subprocess
import sys

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
