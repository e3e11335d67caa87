"""The application whose workers the commands are carried out on."""

from __future__ import annotations

import os
import time

from celery import Celery
from kombu import Queue

from .names import IDLE, LETTERS, QUEUE

app = Celery("shop", broker=os.environ["COMMANDS_BROKER"], backend=os.environ["COMMANDS_RESULTS"])
app.conf.update(
    task_default_queue=QUEUE,
    result_extended=True,
    worker_pool_restarts=os.environ.get("COMMANDS_POOL_RESTARTS") == "1",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_queues=[Queue(QUEUE), Queue(IDLE), *LETTERS],
)


@app.task(name="shop.add")
def add(x, y):
    """Return the sum."""
    return x + y


@app.task(name="shop.nap")
def nap(seconds):
    """Take time."""
    time.sleep(seconds)
    return seconds


@app.task(name="shop.repaired", bind=True)
def repaired(self):
    """Fail the first time, and succeed when it is run again under another id."""
    if self.request.parent_id is None:
        raise ValueError("not repaired yet")
    return "repaired"
