"""The application: its tasks take each plant along on its way.

``CANARY_BROKER`` and ``CANARY_RESULTS`` are its URLs, ``CANARY_FOLDER`` is where its files are.
"""

from __future__ import annotations

import builtins
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

from celery import Celery, Task
from celery.exceptions import Reject
from celery.signals import after_task_publish, worker_ready
from kombu import Exchange, Queue
from kombu.transport import filesystem

from z4j_otel.cli.workload.app import WholeFiles

from . import database, project
from .places import DEAD, QUEUE, READY, SENT, plant
from .plants import PLANTS

__all__ = ["app"]

_FOLDER = os.environ["CANARY_FOLDER"]


class OutOfStock(Exception):
    """An application's own error."""


class ChattyTask(Task):
    """A task that tells its state."""

    told = ""

    def __repr__(self) -> str:
        return self.told


def _queues() -> list[Queue]:
    named = Queue(plant("queue name").content())
    if not os.environ["CANARY_BROKER"].startswith("amqp"):
        return [Queue(QUEUE), named]
    to_dead = {"x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": QUEUE}
    return [
        Queue(QUEUE, queue_arguments=to_dead),
        named,
        Queue(DEAD, Exchange(DEAD), routing_key=QUEUE),
    ]


def _broker() -> dict[str, object]:
    url = os.environ["CANARY_BROKER"]
    options = {"client_password": plant("transport option").secret}
    if url.startswith("filesystem:"):
        messages, control = f"{_FOLDER}/messages", f"{_FOLDER}/control"
        for each in (messages, control):
            Path(each).mkdir(parents=True, exist_ok=True)
        options |= {"data_folder_in": messages, "data_folder_out": messages}
        options |= {"control_folder": control}
        # Kombu's own channel shows messages before they are written.
        filesystem.Transport.Channel = WholeFiles
    return {"broker_url": url, "broker_transport_options": options if "file" in url else {}}


project.set_up()
project.check_reprs()
app = Celery("shop")
app.conf.update(
    _broker(),
    result_backend=os.environ["CANARY_RESULTS"],
    result_extended=True,
    task_default_queue=QUEUE,
    task_queues=_queues(),
    task_serializer="pickle",
    result_serializer="pickle",
    accept_content=["json", "pickle"],
    broker_connection_retry_on_startup=True,
    worker_lost_wait=2.0,
    worker_hijack_root_logger=False,
    stripe_api_key=plant("value of the configuration").secret,
    payment={"password": plant("key of the configuration").secret},
    security_key_password=plant("security key").secret.encode(),
    beat_schedule={
        plant("name of a schedule").content(): {
            "task": "store.keep",
            "schedule": 1.0,
            "args": (plant("argument of a schedule").content(),),
            "kwargs": {"password": plant("keyword of a schedule").content(), "shop": "north"},
            "options": {
                "headers": {"x-api-key": plant("header of a schedule").content()},
                "expires": 600,
            },
        }
    }
    if os.environ.get("CANARY_BEAT")
    else {},
    beat_scheduler=database.SCHEDULER,
)
# Celery's own lines hold what the tasks take and raise: they are not ours to judge.
for noisy in ("celery", "kombu", "amqp"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL + 1)

_ours = logging.getLogger("z4j_otel")
_ours.setLevel(logging.DEBUG)
_ours.addHandler(logging.StreamHandler())


@worker_ready.connect
def _say_ready(**_kwargs):
    os.write(1, READY.encode())  # Celery takes what is printed for its own log


@after_task_publish.connect
def _say_sent(**_kwargs):
    if os.environ.get("CANARY_BEAT"):
        os.write(1, SENT.encode())


def _content(number):
    return PLANTS[number].content()


@app.task(name="store.keep", serializer="pickle")
def keep(value=None, **_kwargs):
    """Take what must not be seen."""


@app.task(name="store.return")
def return_(value):
    """Return what may be seen."""
    return value


@app.task(name="store.give")
def give(number):
    """Return what must not be seen."""
    return _content(number)


@app.task(name="store.fail")
def fail(number):
    """Say it in an error."""
    raise OutOfStock(_content(number))


@app.task(name="store.fail_with")
def fail_with(number):
    """Give it to an error along with more."""
    raise OutOfStock(7, _content(number))


@app.task(name="store.fail_from")
def fail_from(number):
    """Say it in the error that caused another."""
    try:
        fail(number)
    except OutOfStock as error:
        raise LookupError(f"order {number} has no stock") from error


@app.task(name="store.fail_within")
def fail_within(number):
    """Say it in the error that was handled when another came."""
    try:
        fail(number)
    except OutOfStock:
        raise LookupError(f"order {number} has no stock")  # noqa: B904 -- as users write it


@app.task(name="store.fail_noted")
def fail_noted(number):
    """Say it in an error's note."""
    error = LookupError(f"order {number} has no stock")
    error.add_note(_content(number))
    raise error


@app.task(name="store.fail_group")
def fail_group(number):
    """Say it in one error of several."""
    raise builtins.ExceptionGroup(
        f"orders of day {number}", [OutOfStock(_content(number)), ValueError("late")]
    )


@app.task(name="store.line")
def line(number):
    """Fail in a line of code that holds it."""
    sys.path.insert(0, _FOLDER)
    importlib.import_module("canary_lines").LINES[number]()


@app.task(name="store.local")
def local(number):
    """Fail beside a variable that holds it."""
    password = _content(number)
    raise LookupError(f"order {number} of {len(password)} pieces has no stock")


@app.task(name="store.again", bind=True, max_retries=1)
def again(self, number):
    """Say it in the reason of a retry."""
    if not self.request.retries:
        raise self.retry(exc=OutOfStock(_content(number)), countdown=0)


@app.task(name="store.reject", acks_late=True)
def reject(number):
    """Say it in the reason of a rejection."""
    raise Reject(_content(number), requeue=False)


@app.task(name="store.tell_request", bind=True)
def tell_request(self, number, **_kwargs):
    """Fail with all that is known of the request."""
    raise OutOfStock(f"{self.request!r}")


@app.task(name="store.tell_task", bind=True, base=ChattyTask)
def tell_task(self, number):
    """Fail with what the task says of itself."""
    self.told = _content(number)
    raise OutOfStock(f"{self!r}")


@app.task(name=plant("name of a task that runs").content())
def named():
    """Have a name that must not be seen."""


@app.task(name=plant("name of a task that is rejected").content(), acks_late=True)
def deny():
    """Refuse the message for good, and have a name that must not be seen."""
    raise Reject("no stock", requeue=False)


@app.task(name=plant("name of a task that dies").content())
def die():
    """Die as under the out-of-memory killer, and have a name that must not be seen."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


@app.task(name="store.parent")
def parent():
    """Send another task."""
    keep.delay()


@app.task(name="store.pay", bind=True)
def pay(self, how="card", *_args, **_kwargs):
    """Fail at first; when it is run again, tell what must not be seen."""
    if self.request.parent_id is None:
        raise OutOfStock("not paid yet")
    if how == "fail":
        raise OutOfStock(plant("error of a retry").content())
    return plant("result of a retry").content()
