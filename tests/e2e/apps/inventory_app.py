"""A worker full of secrets, which writes down every frame that its agent sends."""

import os
import time
from pathlib import Path

from celery import Celery
from inventory_tasks import register
from kombu import Queue

from z4j_otel.wire.session import Session

FOLDER = Path(os.environ["INVENTORY_FOLDER"])
SECRET_QUEUE = os.environ["INVENTORY_SECRET_QUEUE"]
JOBS = os.environ["INVENTORY_JOBS"]

app = Celery("shop", broker=os.environ["INVENTORY_BROKER"], backend=os.environ["INVENTORY_BACKEND"])
arguments = {"x-queue-type": "quorum"} if os.environ.get("INVENTORY_QUORUM") else None
app.conf.update(
    task_queues=[Queue(JOBS, queue_arguments=arguments), Queue(SECRET_QUEUE)],
    task_default_queue=SECRET_QUEUE,
    worker_prefetch_multiplier=1,
    result_backend_transport_options={"token": "planted-option"},
    security_key_password=b"planted-key-password",
    my_own_secret="planted-own",
    broker_pool_limit=int(os.environ.get("INVENTORY_POOL", "10")),
    result_expires=60,
)
register(app)


@app.task(name="inventory.hold", shared=False)
def hold(password, card=""):
    """Run until the test says so."""
    while not (FOLDER / "go").exists():
        time.sleep(0.05)


_seal = Session._send


def _send(self, role, kind, frame_id, *payload, now_ns):
    data = _seal(self, role, kind, frame_id, *payload, now_ns=now_ns)
    with (FOLDER / "frames.jsonl").open("ab") as file:
        file.write(data + b"\n")
    return data


Session._send = _send
