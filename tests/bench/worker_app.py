"""The application of the measured workers: one task that does nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    broker_transport_options={"global_keyprefix": os.environ["BENCH_PREFIX"]},
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task(name="bench.nothing")
def nothing(x: int, y: int, note: str = "") -> None:
    """Take small arguments and return."""
    del x, y, note
